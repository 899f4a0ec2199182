"""vqlab: discrete and structured representation learning as pure functions in JAX."""
