"""What every margin loss is: a function L of the agreement a = target * output, and its traits.

A loss is its formulas of order 0, 1 and 2 and its traits. Differentiation uses these formulas and
nothing else: jax.grad of L is L', and of L' is L'', at the kinks as well, where both are one-sided
values by the convention of LossFunctions.jl.
"""

from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vqlab.losses import targets as checks
from vqlab.nn.dtypes import at_least_float32


class Traits:
  """What follows from `kinks`, `kinks2` and `clip_at`, of whatever has them."""

  @property
  def differentiable(self) -> bool:
    return not self.kinks

  @property
  def twice_differentiable(self) -> bool:
    return not self.kinks2

  @property
  def clipable(self) -> bool:
    return self.clip_at is not None

  def is_differentiable(self, at: float | None = None) -> bool:
    """Whether L has a derivative at an agreement; everywhere if none is given."""
    return not self.kinks if at is None else at not in self.kinks

  def is_twice_differentiable(self, at: float | None = None) -> bool:
    """Whether L' has a derivative at an agreement; everywhere if none is given."""
    return not self.kinks2 if at is None else at not in self.kinks2

  @property
  def name(self) -> str:
    """How error lines begin."""
    return type(self).__name__


class MarginLoss(Traits):
  """A loss of the agreement a = target * output; see `vqlab.losses.margin` for the eleven.

  A frozen dataclass of Python floats: it hashes, compares by its parameters, and is static under
  jit, closed over or as a static argument. Everything is elementwise over any shape. Outputs may be
  float16, bfloat16, float32 or float64, and the result's dtype is theirs; float16 and bfloat16 are
  computed in float32 and rounded once; integers become the default float. NaN gives NaN in every
  derivative, an infinite agreement the limit.

  The traits, with their definitions, are below; docs/margin_losses.md tables them.
  """

  # L(sa + (1-s)b) <= s L(a) + (1-s) L(b) for 0 < s < 1 (Boyd & Vandenberghe, 3.1).
  convex: ClassVar[bool] = True
  # The same with < wherever a != b.
  strictly_convex: ClassVar[bool] = False
  # L(a) - m a^2 / 2 is convex for some m > 0 (Boyd & Vandenberghe, 9.1.2).
  strongly_convex: ClassVar[bool] = False
  # The least C with |L(a) - L(b)| <= C |a - b|; None where there is none.
  lipschitz: float | None = None
  # Some such C on every bounded interval (Steinwart & Christmann 2008, definition 2.18).
  locally_lipschitz: ClassVar[bool] = True
  # Agreements at which L has no derivative, in increasing order.
  kinks: tuple[float, ...] = ()
  # Agreements at which L' has none, those among `kinks` included.
  kinks2: tuple[float, ...] = ()
  # The least M (if 0, then any M > 0) for which clipping outputs to [-M, M] never adds to the loss;
  # None where there is none (Steinwart & Christmann 2008, definition 2.22).
  clip_at: float | None = None
  # Where P(target = 1) = p != 1/2, outputs whose sign is not that of 2p - 1 (0 has none) have risks
  # above the infimum by a positive amount (Bartlett, Jordan & McAuliffe 2006, definition 1).
  classification_calibrated: ClassVar[bool] = True
  # A function of target * output alone; `WeightedLoss` is none.
  margin_based: ClassVar[bool] = True

  @property
  def fisher_consistent(self) -> bool:
    """Outputs of least risk have the sign of 2p - 1, in the limit if none is least (Lin 2004).

    For losses of the agreement this is classification calibration (Bartlett et al. 2006).
    """
    return self.classification_calibrated

  def __call__(self, output: Any, target: Any, *, where: jax.Array | None = None) -> jax.Array:
    """The loss of each output.

    Args:
      output: float[...], scores whose sign is the prediction.
      target: [...] or a scalar, -1 or 1, of any integer or float dtype.
      where: bool[...]; where it is False the loss and its gradient are 0, NaN and targets outside
        the set included. (To mask values afterwards, as `reduce` does, leaves gradients NaN.)

    Raises:
      ValueError: shapes do not agree (nothing broadcasts but scalars), or a target is neither -1
        nor 1, as far as it is known: while tracing it is not.
    """
    if where is None:
      return self.value(output, target)
    output = checks.outputs(self.name, output)
    checks.mask(self.name, where, output.shape)
    target = checks.targets(self.name, target, output, where=where)
    kept = self.value(jnp.where(where, output, 0) * jnp.where(where, target, 1))
    return jnp.where(where, kept, 0)

  def value(self, output: Any, target: Any = None) -> jax.Array:
    """L(target * output); without a target, L at agreements. Raises as a call does."""
    agreement, _ = self._agreement(output, target)
    return _derivative(self, 0, agreement)

  def deriv(self, output: Any, target: Any = None) -> jax.Array:
    """The derivative by the output, target * L'(target * output); L' without a target."""
    agreement, target = self._agreement(output, target)
    slope = _derivative(self, 1, agreement)
    return slope if target is None else target * slope

  def deriv2(self, output: Any, target: Any = None) -> jax.Array:
    """The second derivative by the output, target^2 L''(target * output); L'' without a target."""
    agreement, target = self._agreement(output, target)
    curvature = _derivative(self, 2, agreement)
    return curvature if target is None else target * target * curvature

  def __mul__(self, factor: float) -> "ScaledLoss":
    return ScaledLoss(self, factor)

  __rmul__ = __mul__

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    """L, L' or L'' at agreements, float32 or float64, of any value; need not be differentiable."""
    raise NotImplementedError

  def third(self, a: jax.Array) -> jax.Array:
    """What differentiates L''; 0 where it is piecewise constant."""
    return jnp.zeros_like(a)

  def _agreement(self, output: Any, target: Any) -> tuple[jax.Array, jax.Array | None]:
    output = checks.outputs(self.name, output)
    if target is None:
      return output, None
    target = checks.targets(self.name, target, output)
    return output * target, target


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
@partial(jax.jit, static_argnums=(0, 1))  # the same bits and one kernel outside of jit as well
def _derivative(loss: MarginLoss, order: int, a: jax.Array) -> jax.Array:
  """The derivative of an order from 0 to 2, at any agreements."""
  x = a.astype(at_least_float32(a.dtype))
  return loss.formula(order, x).astype(a.dtype)


@_derivative.defjvp
def _derivative_jvp(loss, order, primals, tangents):
  (a,), (tangent,) = primals, tangents
  if order < 2:
    slope = _derivative(loss, order + 1, a)
  else:
    x = a.astype(at_least_float32(a.dtype))
    slope = jnp.where(jnp.isnan(x), x, loss.third(x)).astype(a.dtype)
  return _derivative(loss, order, a), slope * tangent


class TraitsOfLoss(Traits):
  """The traits that a positive factor, or one for each target, leaves as those of `loss`."""

  convex = property(lambda self: self.loss.convex)
  strictly_convex = property(lambda self: self.loss.strictly_convex)
  strongly_convex = property(lambda self: self.loss.strongly_convex)
  locally_lipschitz = property(lambda self: self.loss.locally_lipschitz)
  kinks = property(lambda self: self.loss.kinks)
  kinks2 = property(lambda self: self.loss.kinks2)
  clip_at = property(lambda self: self.loss.clip_at)


@dataclass(frozen=True)
class ScaledLoss(TraitsOfLoss, MarginLoss):
  """factor * L, written `2.0 * loss`: its traits are those of L, its Lipschitz constant scaled.

  Adds the two roundings of the factor and of the product to the errors of L, where L itself is a
  normal number of the dtype it is computed in. Elsewhere the factor comes too late: in float32
  1e10 * ExpLoss() is 0 above 87.3, where e^-a is flushed, and 1e-10 * ExpLoss() infinite below
  -88.7, whatever the products are.

  Raises:
    ValueError: the factor is no positive number; a negative one would invert convexity.
  """

  loss: MarginLoss
  factor: float

  def __post_init__(self):
    object.__setattr__(self, "factor", positive_number("ScaledLoss: factor", self.factor))

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return self.factor * self.loss.formula(order, a)

  def third(self, a: jax.Array) -> jax.Array:
    return self.factor * self.loss.third(a)

  classification_calibrated = property(lambda self: self.loss.classification_calibrated)

  @property
  def lipschitz(self) -> float | None:
    constant = self.loss.lipschitz
    return None if constant is None else self.factor * constant


def positive_number(name: str, value: Any) -> float:
  """A parameter as a float; raises ValueError unless it is a positive number within [1e-37, 1e37].

  Args:
    name: how the line begins.
  """
  # Comparisons of Real numbers alone: a NaN fails them, and an array would have to be one number.
  if not isinstance(value, Real) or not 1e-37 <= value <= 1e37:
    raise ValueError(f"{name} is {value!r}; it must be a positive Python number, in [1e-37, 1e37]")
  return float(value)
