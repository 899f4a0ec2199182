"""What the tests of generation share: a hierarchy of small priors in double precision."""

import jax
import jax.numpy as jnp
import pytest

from vqlab import generation, priors

K = (5, 6)
SHAPES = ((2, 2), (4, 4))


@pytest.fixture(scope="session")
def levels():
  """Two levels with generic parameters, class-conditional."""
  with jax.enable_x64(True):
    made = []
    for l, (k, shape) in enumerate(zip(K, SHAPES, strict=True)):
      model = priors.PixelSNAIL(
        num_codes=k,
        num_classes=3,
        channels=8,
        res_channels=8,
        num_blocks=1,
        num_res_blocks=1,
        kernel_size=3,
        num_heads=2,
        attention=l == 0,
        upper_codes=K[:l],
        num_cond_blocks=1,
        cond_channels=4,
        param_dtype=jnp.float64,
      )
      blank = [jnp.zeros((1, *s), jnp.int32) for s in SHAPES[: l + 1]]
      cond = priors.Conditions(jnp.zeros(1, jnp.int32), tuple(blank[:-1]))
      shapes = jax.eval_shape(model.init, jax.random.key(0), blank[-1], cond)["params"]
      leaves, treedef = jax.tree.flatten(shapes)
      keys = jax.random.split(jax.random.key(l), len(leaves))
      params = [
        2 * jax.random.normal(key, x.shape, x.dtype) / max(1, x.size / x.shape[-1]) ** 0.5
        for key, x in zip(keys, leaves, strict=True)
      ]
      made.append(generation.Level(model, treedef.unflatten(params), shape))
    return tuple(made)
