"""Networks that name the action in a clip."""
