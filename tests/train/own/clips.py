"""A stranger's config: digits that move, and a 3D network that says where to. All of it is here."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

from train import learn
from train.config import Experiment, Log, Source, TrainingStage
from train.data import Examples
from train.fields import field
from train.optimizer import SGD
from train.task import Run, Task
from vqlab import metrics
from vqlab.nn import BatchNorm


class Clips(Examples):
  """Clips of a random start in training, of `views` starts when evaluated."""

  def __init__(self, videos: np.ndarray, labels: np.ndarray, frames: int, views: int):
    self.videos, self.labels, self.frames, self.views = videos, labels, frames, views

  def __len__(self) -> int:
    return len(self.videos)

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    last = self.videos.shape[1] - self.frames
    starts = np.linspace(0, last, self.views).astype(int)[None].repeat(len(indices), 0)
    if draws is not None:
      starts = (draws % np.uint64(last + 1)).astype(int)[:, None]
    times = starts[..., None] + np.arange(self.frames)  # [N, V or 1, frames]
    clips = self.videos[indices[:, None, None], times]
    return {"clip": clips if draws is None else clips[:, 0], "label": self.labels[indices]}


@dataclasses.dataclass(frozen=True)
class MovingDigits(Source):
  """scikit-learn's digits, each moving over a frame of 12x12 in one of four directions."""

  frames: int = field(6, least=1, most=12)
  """Frames of a clip, of the video's 12."""
  views: int = field(3, least=1)
  """Clips that are averaged when evaluated."""

  def open(self) -> dict[str, Clips]:
    digits = np.pad(np.uint8(load_digits().images * 15.9), ((0, 0), (2, 2), (2, 2)))
    labels, to = np.arange(len(digits), dtype=np.int32) % 4, ((0, 1), (1, 0), (0, -1), (-1, 0))
    step = lambda frame, label, t: np.roll(frame, np.multiply(to[label], t), (0, 1))
    move = lambda frame, label: [step(frame, label, t) for t in range(12)]
    videos = np.array([move(*of) for of in zip(digits, labels, strict=True)])[..., None]
    make = lambda part: Clips(videos[part], labels[part], self.frames, self.views)
    return {"train": make(slice(0, 1400)), "eval": make(slice(1400, None))}


class Network(nn.Module):
  """[B, T, H, W, 1] -> logits [B, 4]."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool, axis_name: str | None = None) -> jax.Array:
    dtype = x.dtype
    for i in (1, 2):
      x = nn.Conv(i * self.width, (3, 3, 3), (1, 2, 2), dtype=dtype, param_dtype=dtype)(x)
      x = nn.relu(BatchNorm(dtype=dtype, param_dtype=dtype)(x, train=train, axis_name=axis_name))
    return nn.Dense(4, dtype=dtype, param_dtype=dtype)(jnp.mean(x, axis=(1, 2, 3)))


@dataclasses.dataclass(frozen=True)
class ClipStage(TrainingStage):
  """A small 3D network with batch norm."""

  width: int = field(8, least=1)

  def make(self, run: Run) -> Task:
    model, optimizer = Network(self.width), learn.optimizer_of(self)
    example = run.splits["train"].read(np.arange(1), np.zeros(1, np.uint64))
    inputs = lambda clips: clips.astype(self.dtype) / 255

    def init(key: jax.Array, context: Any) -> learn.State:
      made = model.init(key, inputs(jnp.asarray(example["clip"])), train=False)
      return learn.initial(optimizer, made["params"], made["batch_stats"])

    def loss(params, rest, context, batch, key, *, axis_name):
      variables, how = {"params": params, "batch_stats": rest}, {"axis_name": axis_name}
      x, label = inputs(batch["clip"]), batch["label"]
      logits, new = model.apply(variables, x, train=True, mutable=["batch_stats"], **how)
      nats = metrics.total(optax.softmax_cross_entropy_with_integer_labels(logits, label))
      return nats, (new["batch_stats"], {"accuracy": metrics.accuracy(logits, label)})

    def evaluate(learned: learn.Learned, context: Any, batch: dict) -> metrics.Total:
      variables = {"params": learned.params, "batch_stats": learned.rest}
      of_view = lambda x: jax.nn.softmax(model.apply(variables, inputs(x), train=False))
      of_all = jnp.mean(jax.vmap(of_view, in_axes=1)(batch["clip"]), axis=0)
      return metrics.accuracy(of_all, batch["label"], mask=batch["mask"])

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=lambda sums: {"accuracy": float(metrics.mean(sums))},
      best="+accuracy",
      examples=lambda: run.splits,
      spec={k: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for k, x in example.items()},
      model=model,
    )


def get_config() -> Experiment:
  optimizer = SGD(learning_rate=0.2, schedule="linear")
  stage = ClipStage(steps=60, batch_size=32, eval_every=20, optimizer=optimizer)
  return Experiment("clips", data=MovingDigits(), stages={"classify": stage}, log=Log(every=10))
