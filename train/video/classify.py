"""Trains a network to name what happens in videos, and judges it by views, as the papers do."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train import learn
from train.config import Optimizer, TrainingStage
from train.fields import field
from train.learn import Learned, State
from train.optimizer import SGD
from train.task import Batch, Report, Run, Settle, Splits, Task, reported
from train.video import tuning
from train.video.clips import Clips
from train.video.crops import COUNTS, Crops, Jitter
from train.video.multigrid import Grid, MultigridClips
from train.video.networks import Named, Network
from train.video.sampling import Sampling, Window
from vqlab import metrics
from vqlab.video import views
from vqlab.video.views import Kind


@dataclasses.dataclass(frozen=True)
class VideoStage(TrainingStage):
  """A network for clips, trained on one clip of each video an epoch."""

  network: Network = field(Named())
  sampling: Sampling = field(Window())
  crops: Crops = field(Jitter())
  optimizer: Optimizer = field(SGD(momentum=0.9, nesterov=True, weight_decay=1e-4))
  label_smoothing: float = field(0.0, least=0, most=0.999)
  """Part of a label that all classes share."""
  mixup: float = field(0.0, least=0)
  """Alpha of the Beta distribution by which clips are mixed (arXiv 1710.09412); 0: none."""
  multigrid: int = field(0, least=0)
  """Rounds from large batches of coarse clips to batch_size of fine ones (arXiv 1912.00998), each
  over equal parts of the steps; 0: none."""
  precise_norm: int = field(0, least=0, may_vary=True)
  """Batches over which norms' statistics are taken anew before an evaluation; 0: as they ran."""
  norms: Literal["all", "first", "none"] = field("all")
  """Which norms go on learning, by the batch's statistics: the others keep theirs, their scales and
  biases (first: TSN's partial batch norm)."""
  freeze: str = field("")
  """Parameters that stay as they are, norms' statistics with them: a regular expression, such as
  ^(stem|res[23]), of paths such as res2_0/a/conv/kernel; empty: none."""
  start_from: str = field("", may_vary=True)
  """Folder of a run, of `fit` or `import`, whose network this one begins as; empty: at random."""
  new_head: bool = field(True)
  """Whether the classifier is new then, or that of start_from."""
  views: int = field(1, least=1, may_vary=True)
  """Clips of a video in evaluations while training; each by a centre crop."""
  test_views: int = field(10, least=1, may_vary=True)
  """Clips of a video when the stage is finished."""
  test_crops: Kind = field("three", may_vary=True)
  """Crops of each of them."""
  scores: Literal["softmax", "logits"] = field("softmax", may_vary=True)
  """What is averaged over clips and crops."""

  def make(self, run: Run) -> Task:
    num_classes, shape = run.about["num_classes"], tuple(run.about["frame_shape"])
    if num_classes < 2:
      raise ValueError(f"the videos have {num_classes} classes; at least 2 are needed")
    self._check_crops(shape)
    types = {"dtype": jnp.dtype(self.dtype), "param_dtype": jnp.dtype(self.param_dtype)}
    model = self.network.make(num_classes, **types)
    judge = self.network.make(num_classes, head=self.network.head, **types)
    size = (self.sampling.frames, self.crops.size, self.crops.size)
    clip = jax.ShapeDtypeStruct((1, *size, shape[-1]), jnp.dtype(self.param_dtype))
    still = tuning.still(self, model, clip)
    precise = self.precise_norm and still.has_norms
    grid = Grid(self.multigrid, self.steps) if self.multigrid else None
    if grid:  # a network may refuse its coarsest clips: now rather than at the first step
      side, frames = self.crops.smaller(8**-0.5).size, self.sampling.fewer(4).frames
      coarse = jnp.zeros((1, frames, side, side, shape[-1]), clip.dtype)
      shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
      jax.eval_shape(lambda variables: model.apply(variables, coarse), shapes)
    frozen = still.params if still.any else None
    optimizer = learn.optimizer_of(self, frozen=frozen, rate=grid and grid.rate())

    def init(key: jax.Array, context: Any, start: Any = None) -> State:
      made = model.init(key, jnp.zeros(clip.shape, clip.dtype))
      if start is not None:
        made = tuning.merged(made, start, new_head=self.new_head)
      return learn.initial(optimizer, made["params"], made.get("batch_stats", {}))

    def start() -> tuning.Variables:
      network, found = tuning.network_of(self.start_from)
      tuning.check_same(model, network, new_head=self.new_head)
      return found

    def trained_on(model, params, rest, clips, batch, key, axis_name):
      """(logits, statistics of norms) as training has them."""
      with still.normalizing():
        logits, new = model.apply(
          {"params": params, "batch_stats": rest},
          clips,
          train=True,
          axis_name=axis_name,
          rows=batch["index"],
          rngs={"dropout": jax.random.fold_in(key, 2)},
          mutable=["batch_stats"],
        )
      return logits, new.get("batch_stats", {})

    def seen(batch: Batch, key: jax.Array, parts: int) -> jax.Array:
      """What is trained on of a batch, or a part of one: of a grid crops as its shape says."""
      rows, frames = batch["clip"].shape[:2]
      work = rows * parts * frames / (self.batch_size * self.sampling.frames)
      crops = self.crops.smaller(work**-0.5) if grid else self.crops
      return crops.train(batch["clip"], batch["size"], learn.keys_of(key, batch))

    def loss(params, rest, context, batch, key, *, axis_name):
      parts = self.accumulate * (jax.lax.axis_size(axis_name) if axis_name else 1)
      clips = seen(batch, key, parts)
      targets = optax.smooth_labels(
        jax.nn.one_hot(batch["label"], num_classes), self.label_smoothing
      )
      if self.mixup:
        key_share = jax.random.fold_in(key, 1)
        clips, targets = mixed((clips, targets), key_share, self.mixup, axis_name=axis_name)
      params = still.stopped(params)
      logits, rest = trained_on(model, params, rest, clips, batch, key, axis_name)
      nats = metrics.total(optax.softmax_cross_entropy(logits, targets.astype(logits.dtype)))
      top1 = metrics.accuracy(logits, batch["label"])
      return nats, (rest, {"top1": top1})

    def measure(learned: Learned, context: Any, batch: Batch, key: jax.Array) -> Any:
      clips = seen(batch, key, 1)
      alone = self.network.make(num_classes, **types | {"momentum": 0.0})  # this batch's statistics
      of_batch = trained_on(alone, learned.params, learned.rest, clips, batch, key, None)[1]
      return tuning.moments(of_batch)

    def settle(state: State, sums: Any) -> State:
      rest = tuning.settled(state.rest, sums, still, self.precise_norm)
      return state._replace(rest=rest)

    def scores_of(learned: Learned, batch: Batch, kind: Kind) -> jax.Array:
      """f32[B, classes] of clips u8[B, V, T, H, W, C] by crops of a kind, view after view."""
      variables = {"params": learned.params, "batch_stats": learned.rest}
      boxes = jax.vmap(lambda size: self.crops.boxes(size, kind))(batch["size"])
      clips, count = batch["clip"], COUNTS[kind]

      def logits_of(view: jax.Array) -> jax.Array:
        box = jax.tree.map(lambda x: x[:, view % count], boxes)
        clip = jax.lax.dynamic_index_in_dim(clips, view // count, 1, keepdims=False)
        return judge.apply(variables, self.crops.test(clip, box))

      return views.mean_scores(logits_of, jnp.arange(clips.shape[1] * count), average=self.scores)

    # A network may refuse the size that it is judged by: now rather than after an epoch.
    if self.crops.judged != self.crops.size:
      learned = jax.eval_shape(lambda: learn.learned(init(jax.random.key(0), ())))
      given = {"clip": jnp.zeros((1, 1, self.sampling.frames, *shape), jnp.uint8)}
      given |= {"size": jnp.array([shape[:2]], jnp.int32)}
      jax.eval_shape(lambda l: scores_of(l, given, self.test_crops), learned)

    def evaluate(learned: Learned, context: Any, batch: Batch) -> Sums:
      return sums_of(scores_of(learned, batch, "centre"), batch, self.scores)

    def report(learned: Learned, examples: Splits) -> Report:
      from train.video import judging

      clips = Clips(reported(examples).videos, self.sampling, self.test_views)
      rows = (self.eval_batch_size or self.batch_size) // self.test_views
      return judging.report(self, scores_of, learned, clips, rows)

    def examples() -> Splits:
      counts = {name: 1 if name == "train" else self.views for name in run.splits}
      found = {name: Clips(run.splits[name], self.sampling, n) for name, n in counts.items()}
      return found | ({"train": MultigridClips(found["train"], grid)} if grid else {})

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=figures_of,
      best="+top1",
      examples=examples,
      spec={
        "clip": jax.ShapeDtypeStruct((self.sampling.frames, *shape), np.uint8),
        "size": jax.ShapeDtypeStruct((2,), np.int32),
        "label": jax.ShapeDtypeStruct((), np.int32),
        "whole": jax.ShapeDtypeStruct((), np.bool_),
      },
      report=report,
      start=start if self.start_from else None,
      settle=Settle(self.precise_norm, measure, settle) if precise else None,
      model=Classifier(model, scores_of),
    )

  def _check_crops(self, shape: tuple[int, ...]) -> None:
    """Raises ValueError where frames can't be cut as the fields say."""
    self.crops.check(channels=shape[-1])
    clips = jax.ShapeDtypeStruct((1, self.sampling.frames, *shape), np.uint8)
    sizes, keys = jnp.zeros((1, 2), jnp.int32), jax.random.split(jax.random.key(0), 1)
    jax.eval_shape(self.crops.train, clips, sizes, keys)
    jax.eval_shape(lambda size: self.crops.boxes(size, self.test_crops), sizes[0])


class Classifier(NamedTuple):
  """What a finished stage is to those who load it."""

  network: Any  # a Linen module
  scores_of: Any  # (learned, {"clip", "size"}, kind of crops) -> f32[B, classes], see `Clips`


class Sums(NamedTuple):
  """What an evaluation adds up."""

  nats: metrics.Total  # cross entropy
  top1: metrics.Total
  top5: metrics.Total
  missed: jax.Array  # f32[], videos that could not be read


def sums_of(scores: jax.Array, batch: Batch, kind: str) -> Sums:
  """Of the scores [B, classes] of videos, those that could be read."""
  label, mask = batch["label"], batch["mask"] & batch["whole"]
  least = jnp.finfo(scores.dtype).tiny
  log_p = jnp.log(scores + least) if kind == "softmax" else jax.nn.log_softmax(scores)
  nats = -jnp.take_along_axis(log_p, label[:, None], axis=1)[:, 0]
  right = lambda k: metrics.accuracy(scores, label, k=min(k, scores.shape[1]), mask=mask)
  missed = jnp.sum(batch["mask"] & ~batch["whole"], dtype=jnp.float32)
  return Sums(metrics.total(nats, mask=mask), right(1), right(5), missed)


def figures_of(sums: Sums) -> dict[str, float]:
  figures = {"cross_entropy": sums.nats, "top1": sums.top1, "top5": sums.top5}
  found = {name: float(metrics.mean(total)) for name, total in figures.items()}
  return found | ({"unreadable": float(sums.missed)} if sums.missed else {})


def mixed(pairs: Any, key: jax.Array, alpha: float, *, axis_name: str | None) -> Any:
  """Arrays [B, ...] mixed with those half the whole batch away, by one share of Beta(alpha, alpha).

  Raises:
    ValueError: an odd number of devices, more than one, under pmap.
  """
  share = jax.random.beta(key, alpha, alpha)
  devices = jax.lax.axis_size(axis_name) if axis_name else 1
  if devices > 1 and devices % 2:
    raise ValueError(f"mixup pairs examples of two halves; pmap over {devices} devices has none")

  def other(x: jax.Array) -> jax.Array:
    if devices == 1:
      return jnp.roll(x, len(x) // 2, axis=0)
    across = [(i, (i + devices // 2) % devices) for i in range(devices)]
    return jax.lax.ppermute(x, axis_name, across)

  mix = lambda x: share.astype(x.dtype) * x + (1 - share).astype(x.dtype) * other(x)
  return jax.tree.map(mix, pairs)
