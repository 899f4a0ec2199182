"""The task of clips: the same on any devices, resumed bit for bit, judged view by view."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.conftest import (
  assert_same,
  lines,
  one_device,
  replaced,
  states_of,
  steps_of,
  survives_being_killed,
  untrained,
)  # fmt: skip
from tests.train.video import tiny_videos
from train import learn, parallel, run
from train.config import Parallel
from train.data import batch
from train.video import judging
from train.video.classify import VideoStage, mixed
from train.video.clips import Clips
from train.video.small import SmallX3D
from vqlab.video import views

CONFIG = tiny_videos.__file__
ROWS = 8


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def task_of(**fields):
  return untrained(replaced(tiny_videos.get_config(), classify=fields))["classify"]


def test_every_device_the_same():
  """Random clips, crops, mixing, dropout and statistics: by jit and pmap, and in parts."""
  types = {"dtype": "float64", "param_dtype": "float64"}
  with jax.enable_x64(True):
    task = task_of(**types)
    many = parallel.make_mesh(Parallel(devices=min(4, jax.device_count())))
    ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
    alone, *others = (steps_of(task, *way, steps=3, batch_size=ROWS)[1] for way in ways)
  assert alone.params["res2_0"]["a"]["conv"]["kernel"].dtype == np.float64
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


def test_the_same_clips_on_any_devices_and_processes():
  examples = task_of().examples()["train"]
  whole = batch(examples, 0, 3, ROWS)
  for count in (2, 4):
    parts = [batch(examples, 0, 3, ROWS, process=(i, count)) for i in range(count)]
    for name, x in whole.items():
      np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), x)


def test_it_survives_being_killed(train, environment, tmp_path):
  whole, killed = survives_being_killed(CONFIG, (), train, environment, tmp_path)
  assert lines(killed) == lines(whole)
  ours, theirs = states_of(killed), states_of(whole)
  assert ours.keys() == theirs.keys() and any("rest" in path for path in ours)
  for path, leaf in ours.items():
    np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)
  kinds = {record["kind"] for record in lines(whole)}
  assert kinds == {"train", "eval"}
  made = {path.name for path in (whole / "classify").iterdir()}
  assert {"scores.csv", "scores.npz", "confusion.png", "hardest.png"} <= made
  figures = run.load(whole).the(VideoStage).figures
  assert {"top1", "top5", "top1_2xthree_softmax", "top5_2xthree_softmax"} <= figures.keys()
  status, out, _ = train("evaluate", whole)
  assert status == 0 and "top-1 (2 clips x three, softmax)" in out
  with np.load(whole / "classify" / "scores.npz") as found:
    right = np.mean(found["scores"].argmax(1) == found["labels"])
    assert found["scores"].shape == (720, 6) and len(found["names"]) == 720
  assert right == pytest.approx(figures["top1_2xthree_softmax"])


@functools.cache
def judged():
  """A task with random weights and statistics, what it learned, and clips of two views."""
  task = task_of(test_views=2)
  state = jax.jit(task.init)(jax.random.key(0), ())
  rest = jax.tree.map(lambda x: x + 0.1, state.rest)
  clips = Clips(
    task.examples()["eval"].videos, tiny_videos.get_config().stages["classify"].sampling, 2
  )
  return task, learn.Learned(state.params, rest), clips


@pytest.mark.parametrize("scores", ["softmax", "logits"])
def test_views_are_averaged_as_by_a_plain_loop(scores):
  stage = replaced(tiny_videos.get_config(), classify={"scores": scores}).stages["classify"]
  task, learned, clips = task_of(scores=scores), *judged()[1:]
  given = clips.read(np.arange(3), None)
  found = jax.jit(lambda b: task.model.scores_of(learned, b, "three"))(
    {k: given[k] for k in ("clip", "size")}
  )
  variables, expected = {"params": learned.params, "batch_stats": learned.rest}, []
  for clip, size in zip(given["clip"], given["size"], strict=True):
    boxes, each = stage.crops.boxes(jnp.asarray(size), "three"), []
    for view in clip:
      for i in range(3):
        cut = views.cut(jnp.asarray(view), jax.tree.map(lambda x, i=i: x[i], boxes), 12)
        logits = task.model.network.apply(variables, (cut[None] / 255 - 0.1) / 0.25)[0]
        each.append(jax.nn.softmax(logits) if scores == "softmax" else logits)
    expected.append(np.mean(each, axis=0))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("devices", [1, 4])
def test_scores_depend_on_neither_batches_nor_devices(devices, monkeypatch):
  task, learned, clips = judged()
  monkeypatch.setattr(clips.videos.__class__, "__len__", lambda self: 26)
  local = jax.local_devices()[:devices]
  monkeypatch.setattr(jax, "local_devices", lambda: local)
  function = jax.jit(functools.partial(task.model.scores_of, kind="centre"))
  one, _ = judging.scores_of_all(function, learned, clips, 26)
  other, whole = judging.scores_of_all(function, learned, clips, 8)
  assert one.shape == (26, 6) and whole.all()
  np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_evaluation_counts_every_video_once(monkeypatch):
  task, learned, _ = judged()
  examples = task.examples()["eval"]
  monkeypatch.setattr(examples.videos.__class__, "__len__", lambda self: 26)
  evaluate, order = jax.jit(task.evaluate), examples.evaluation(8)
  found = [order.rows(k) for k in range(order.count)]
  sums = [evaluate(learned, (), examples.read(r.indices, None) | dict(r.fields)) for r in found]
  assert [float(s.top1.count) for s in sums] == [8, 8, 8, 2]


def test_a_video_that_cannot_be_read_counts_for_nothing():
  task, learned, _ = judged()
  rows = task.examples()["eval"].read(np.arange(8), None)
  rows |= {"mask": np.arange(8) < 7, "index": np.arange(8, dtype=np.int32)}
  missed = rows | {"whole": np.arange(8) != 2}
  few = jax.tree.map(lambda x: np.delete(x, [2, 7], axis=0), rows)
  evaluate = jax.jit(task.evaluate)
  found, expected = evaluate(learned, (), missed), evaluate(learned, (), few)
  assert found.missed == 1 and found.top1.count == 6
  assert_same(jax.device_get(found[:3]), jax.device_get(expected[:3]), tolerance=1e-5)
  assert task.figures(jax.device_get(found))["unreadable"] == 1
  assert "unreadable" not in task.figures(jax.device_get(expected))


def test_mixing_pairs_halves_of_the_batch():
  x, y = jnp.arange(6.0)[:, None], jnp.eye(6)
  key = jax.random.key(3)
  a, b = mixed((x, y), key, 0.4, axis_name=None)
  share = jax.random.beta(key, 0.4, 0.4)
  np.testing.assert_allclose(a[:, 0], share * x[:, 0] + (1 - share) * jnp.roll(x[:, 0], 3))
  np.testing.assert_allclose(b.sum(1), 1, rtol=1e-6)
  assert all(np.flatnonzero(row).tolist() == sorted({i, (i + 3) % 6}) for i, row in enumerate(b))


def test_losses_are_those_of_smoothed_labels():
  network = SmallX3D(width=4, dropout=0.0)
  task = task_of(mixup=0.0, label_smoothing=0.3, network=network)
  state = jax.jit(task.init)(jax.random.key(0), ())
  given = batch(task.examples()["train"], 0, 0, ROWS)
  key = jax.random.key(1)
  _, found = jax.jit(task.step)(state, (), given, key)
  stage = tiny_videos.get_config().stages["classify"]
  clips = stage.crops.train(
    given["clip"], given["size"], learn.keys_of(jax.random.fold_in(key, 0), given)
  )
  logits, _ = task.model.network.apply(
    {"params": state.params, "batch_stats": state.rest}, clips, train=True, mutable=["batch_stats"]
  )
  log_p = jax.nn.log_softmax(logits)
  own = jnp.take_along_axis(log_p, given["label"][:, None], 1)[:, 0]
  expected = -jnp.mean(0.7 * own + 0.3 * log_p.mean(1))
  np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_thirty_views_take_the_memory_of_two():
  """Of X3D-S at its published size."""
  from train.config import Experiment
  from train.task import Run
  from train.video.crops import Jitter
  from train.video.networks import Named
  from train.video.sampling import Window

  stage = VideoStage(
    network=Named(name="x3d_s"),
    sampling=Window(frames=13, stride=6),
    crops=Jitter(size=160, test_size=182, sides=(182, 228)),
  )
  about = {"num_classes": 400, "frame_shape": [182, 243, 3], "class_names": []}
  task = stage.make(Run(Experiment(stages={"classify": stage}), {}, about, lambda: {}))
  state = jax.eval_shape(task.init, jax.random.key(0), ())
  needed = []
  for clips, kind in ((2, "centre"), (10, "three")):
    given = {
      "clip": jax.ShapeDtypeStruct((2, clips, 13, 182, 243, 3), np.uint8),
      "size": jax.ShapeDtypeStruct((2, 2), np.int32),
    }
    function = jax.jit(functools.partial(task.model.scores_of, kind=kind))
    compiled = function.lower(learn.Learned(state.params, state.rest), given).compile()
    needed.append(compiled.memory_analysis().temp_size_in_bytes)
  assert needed[1] <= needed[0] * 1.01
