"""Frames to come: drawn in latent space, decoded, and compared with those that came."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train.codes.tokenizer import Coder, Tokenizer
from train.errors import BadInput
from train.task import Batch, Report
from train.video import pictures
from train.video.episodes import Episodes
from vqlab import metrics, priors

if TYPE_CHECKING:
  from train.video.prior import FramePriorStage

_AT_ONCE = 32  # clips
_SHOWN = 8


class Oracle(NamedTuple):
  """A tokenizer, and a prior over its codes."""

  coder: Coder
  trained: Tokenizer
  model: priors.VideoPixelCNN
  params: Any
  conditions: Callable[[Batch], priors.VideoConditions]  # of a batch's label and action


class Foretold(NamedTuple):
  clips: np.ndarray  # u8[N, T, H, W, C]  decoded codes, those of the given frames as well
  codes: np.ndarray  # i32[N, T, h, w]


def foretell(
  oracle: Oracle, batch: dict[str, np.ndarray], given: int, *, seed: int, **options: Any
) -> Foretold:
  """Draws the codes of frames from `given` on, some clips at a time, whatever their number.

  Args:
    batch: clips of all frames, of which those from `given` on are not looked at, and all actions.
    options: temperature, top_k, top_p.
  """
  count, parts = len(batch["clip"]), []
  encode, decode = (jax.jit(f) for f in (oracle.coder.encode, oracle.coder.decode))
  for first in range(0, count, _AT_ONCE):
    rows = np.minimum(np.arange(first, first + _AT_ONCE), count - 1)  # one compiled shape
    part = {name: np.array(x[rows]) for name, x in batch.items()}
    part["clip"][:, given:] = 0
    (codes,) = encode(oracle.trained, oracle.coder.inputs(part))
    known = jnp.broadcast_to((jnp.arange(codes.shape[1]) < given)[:, None, None], codes.shape)
    codes = priors.sample(
      jax.random.key(seed),
      oracle.model,
      oracle.params,
      codes.shape,
      cond=oracle.conditions(jax.tree.map(jnp.asarray, part)),
      given=(codes, known),
      first_index=first,
      **options,
    )
    parts.append((oracle.coder.outputs(decode(oracle.trained, (codes,))), np.asarray(codes)))
  return Foretold(*(np.concatenate(x)[:count] for x in zip(*parts, strict=True)))


def report(stage: "FramePriorStage", oracle: Oracle, examples: Episodes, *, seed: int) -> Report:
  """How near predicted frames come to the true ones, and what they look like.

  Files: predictions.csv, a line a clip, and true clips over predicted ones as a sheet and moving.
  """
  indices = np.linspace(0, len(examples) - 1, min(stage.judged, len(examples)), dtype=int)
  read = examples.read(indices, None)
  names = np.array(examples.videos.names)[indices][read["whole"]]
  batch = whole(read, examples.name)
  options = {"seed": seed, "temperature": stage.temperature}
  drawn = foretell(oracle, batch, stage.given, **options)
  true, given = batch["clip"], stage.given
  last = np.repeat(true[:, given - 1 : given], true.shape[1] - given, axis=1)
  copies = reconstructed(oracle, true)
  later = {"predicted": drawn.clips[:, given:], "last": last, "reconstructed": copies[:, given:]}
  errors = {name: squared_errors(x, true[:, given:]) for name, x in later.items()}
  figures = {f"psnr_{name}": psnr(error.mean()) for name, error in errors.items()}
  gain = psnr(errors["predicted"]) - psnr(errors["last"])
  spread = metrics.paired_difference(
    jnp.asarray(gain)[None], jnp.zeros((1, len(gain))), key=jax.random.key(seed)
  )
  figures["psnr_gain"], figures["psnr_gain_low"], figures["psnr_gain_high"] = map(float, spread)
  shifts = displacement(drawn.clips[:, given:], true[:, given:])  # [N, T']
  figures["in_place"] = float(np.mean(shifts.max(1) <= 1))
  if oracle.model.action_dim:
    # The same draws, told of what was done in another clip.
    other = batch | {"action": np.roll(batch["action"], 1, axis=0)}
    others = foretell(oracle, other, given, **options)
    figures["changed_by_actions"] = float(
      np.mean(others.codes[:, given:] != drawn.codes[:, given:])
    )
    wrong = squared_errors(others.clips[:, given:], true[:, given:])
    figures["psnr_other_actions"] = psnr(wrong.mean())
  table = [("video", "PSNR predicted", "PSNR of the last given frame", "farthest from its place")]
  table += [
    (name, f"{psnr(a):.2f}", f"{psnr(b):.2f}", f"{shift:.0f}")
    for name, a, b, shift in zip(
      names, errors["predicted"], errors["last"], shifts.max(1), strict=True
    )
  ]
  shown = np.linspace(0, len(true) - 1, min(_SHOWN, len(true)), dtype=int)
  files = pictures.side_by_side("predictions", true[shown], drawn.clips[shown])
  return Report(figures, files | {"predictions.csv": table})


def whole(batch: dict[str, Any], name: str) -> dict[str, np.ndarray]:
  """Those of a batch that could be read; raises BadInput where there are none."""
  batch = {key: np.asarray(x) for key, x in batch.items()}
  if not batch["whole"].any():
    raise BadInput(f"{name}: {len(batch['whole'])} videos were tried, and none can be read")
  return {key: x[batch["whole"]] for key, x in batch.items()}


def reconstructed(oracle: Oracle, clips: np.ndarray) -> np.ndarray:
  """Clips u8[N, ...] as their own codes give them back, some at a time."""

  @jax.jit
  def copy(trained: Tokenizer, clips: jax.Array) -> jax.Array:
    x = oracle.coder.inputs({"clip": clips})
    return oracle.coder.decode(trained, oracle.coder.encode(trained, x))

  parts = (clips[i : i + _AT_ONCE] for i in range(0, len(clips), _AT_ONCE))
  return np.concatenate([oracle.coder.outputs(copy(oracle.trained, part)) for part in parts])


def squared_errors(clips: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Mean squared errors of clips u8[N, ...] with pixels brought to [0, 1]: f64[N]."""
  difference = (clips.astype(np.float32) - true) / 255
  return np.square(difference).reshape(len(clips), -1).mean(1, dtype=np.float64)


def psnr(error: np.ndarray | float) -> Any:
  """In dB; of what is exact, that of rounding to bytes, 58.9 dB."""
  return -10 * np.log10(np.maximum(error, 1 / (12 * 255**2)))


def displacement(clips: np.ndarray, true: np.ndarray) -> np.ndarray:
  """How far what is seen is from its place, in pixels: f64[N, T] of u8[N, T, H, W, C].

  The shift, around the borders, at which a frame and the true one correlate best; infinite where
  the frame shows nothing and the true one something.
  """
  grey = [x.mean(-1, dtype=np.float64) for x in (clips, true)]
  centred = [x - x.mean((-2, -1), keepdims=True) for x in grey]
  shows = [np.abs(x).max((-2, -1)) > 0.5 for x in centred]
  a, b = map(np.fft.rfft2, centred)
  height, width = clips.shape[2:4]
  match = np.fft.irfft2(a * b.conj(), s=(height, width))
  best = match.reshape(*match.shape[:2], -1).argmax(-1)
  rows, columns = np.unravel_index(best, (height, width))
  nearest = [np.minimum(x, size - x) for x, size in ((rows, height), (columns, width))]
  return np.where(shows[1] & ~shows[0], np.inf, np.hypot(*nearest))
