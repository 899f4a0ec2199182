"""What a computation costs: multiply-adds, counted on its jaxpr.

Video papers call FLOPs what are multiply-adds of convolutions and matrix products, padded positions
counted. (XLA's counter counts two a multiply-add and leaves out those with padding, as does Flax's
`tabulate`, so that neither gives the published figures.)

`vqlab.nn` chooses by platform how a convolution is computed (`lax.platform_dependent`); what is
counted is the plain one that is the default there, whatever runs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax


def macs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
  """Multiply-adds of a function's convolutions and matrix products.

      macs(model.apply, variables, clip)

  Nothing is computed: arguments may be `jax.ShapeDtypeStruct`s. A loop's body counts as often as it
  runs; of `cond` the dearest branch counts; the body of a `while_loop` counts once.
  """
  return _count(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def _count(jaxpr: Any) -> int:
  return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn: Any) -> int:
  name, params = eqn.primitive.name, eqn.params
  if name == "conv_general_dilated":
    out, kernel = eqn.outvars[0].aval.shape, eqn.invars[1].aval.shape
    outputs = params["dimension_numbers"].rhs_spec[0]
    return math.prod(out) * math.prod(kernel) // kernel[outputs]
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    lhs = eqn.invars[0].aval.shape
    return math.prod(eqn.outvars[0].aval.shape) * math.prod(lhs[axis] for axis in contracted)
  if name == "cond":
    return _branches(eqn)
  if name == "scan":
    return params["length"] * _count(params["jaxpr"].jaxpr)
  return sum(_count(inner) for value in params.values() for inner in _jaxprs(value))


def _branches(eqn: Any) -> int:
  counts = [_count(branch.jaxpr) for branch in eqn.params["branches"]]
  platforms = eqn.params.get("branches_platforms") or ()
  return counts[platforms.index(None)] if None in platforms else max(counts)


def _jaxprs(value: Any) -> list[Any]:
  """The jaxprs among an equation's parameters."""
  if isinstance(value, tuple | list):
    return [inner for item in value for inner in _jaxprs(item)]
  inner = getattr(value, "jaxpr", value)
  return [inner] if hasattr(inner, "eqns") else []
