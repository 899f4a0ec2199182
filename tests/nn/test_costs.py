"""The counter of multiply-adds, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from vqlab.nn.conv3d import conv3d
from vqlab.nn.costs import macs


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_count_padded_positions(groups):
  function = lambda x, k: conv3d(
    x, k, stride=(1, 2, 2), padding=((1, 1), (1, 1), (0, 1)), groups=groups
  )
  found = macs(function, shape(2, 3, 6, 8, 4), shape(3, 3, 2, 4 // groups, 8))
  assert found == 2 * (3 * 3 * 4) * (3 * 3 * 2) * (4 // groups) * 8


def test_products_count_wherever_they_stand():
  step = lambda carry, row: (carry @ row, None)
  a = shape(3, 3)
  assert macs(lambda a: jnp.einsum("ij,jk->ik", a, a), a) == 27
  assert macs(lambda a: jax.jit(lambda a: a @ a)(a) + a @ a, a) == 54
  assert macs(lambda a, rows: lax.scan(step, a, rows)[0], a, shape(5, 3, 3)) == 5 * 27
  assert macs(jax.vmap(lambda a: a @ a), shape(7, 3, 3)) == 7 * 27
  assert macs(jax.checkpoint(lambda a: jnp.sin(a @ a)), a) == 27
  branches = lambda p, a: lax.cond(p, lambda a: a @ a @ a, lambda a: a @ a, a)
  assert macs(branches, jax.ShapeDtypeStruct((), bool), a) == 54


def test_of_lowerings_by_platform_the_default_counts():
  function = lambda a: lax.platform_dependent(a, cpu=lambda a: a + a, default=lambda a: a @ a)
  assert macs(function, shape(3, 3)) == 27
