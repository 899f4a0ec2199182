"""Fine-tuning: what is kept of a network, what stays as it is, statistics taken anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.train.conftest import replaced, untrained
from tests.train.video import tiny_videos
from train import learn, run
from train.data import batch, train_batches
from train.errors import BadInput
from train.video import imported, tuning
from train.video.networks import Named
from train.video.small import SmallX3D
from vqlab import interop, video

PLAIN = {"mixup": 0.0, "precise_norm": 0, "network": SmallX3D(width=4, dropout=0.0)}


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def task_of(**fields):
  return untrained(replaced(tiny_videos.get_config(), classify=PLAIN | fields))["classify"]


def moved(**fields) -> set[str]:
  """Paths of what a step changes of random weights: params/..., rest/..."""
  task, random = task_of(**fields), np.random.default_rng(0)
  state = jax.jit(task.init)(jax.random.key(0), ())
  noise = lambda x: x + random.uniform(0.1, 0.5, x.shape).astype(x.dtype)
  state = state._replace(params=jax.tree.map(noise, state.params))
  given = batch(task.examples()["train"], 0, 0, 8)
  after, _ = jax.jit(task.step)(state, (), given, jax.random.key(1))
  flat = lambda s: flatten_dict({"params": s.params, "rest": s.rest}, sep="/")
  before, after = flat(state), flat(after)
  return {path for path, x in before.items() if not np.array_equal(x, after[path])}


def test_what_is_frozen_does_not_move():
  everything, found = moved(), moved(freeze="^(stem|res[23])")
  still = {path for path in everything if path.split("/")[1].startswith(("stem", "res2", "res3"))}
  assert still and found == everything - still
  assert any(path.startswith("rest/res4") for path in found)
  task = task_of(freeze="^(stem|res[23])")
  state = jax.eval_shape(task.init, jax.random.key(0), ())
  count = sum(x.size for x in jax.tree.leaves(state.opt_state))
  assert count < learn.parameter_count(state.params)  # no momentum of what stays


def test_partial_norms_are_tsns():
  everything = moved()
  of_norms = {path for path in everything if "/norm/" in path}
  first = {path for path in of_norms if path.split("/")[1] == "stem"}
  assert len(first) == 4 and moved(norms="first") == everything - (of_norms - first)
  assert moved(norms="none") == everything - of_norms


def test_a_pattern_that_is_none_or_nowhere_is_said():
  with pytest.raises(BadInput, match=r"classify: freeze is 'res9', which is in no path"):
    task_of(freeze="res9")
  with pytest.raises(BadInput, match="no regular expression"):
    task_of(freeze="(")


def test_precise_norms_are_those_of_all_the_batches():
  """The mean over batches, and the variance around it."""
  task = task_of(precise_norm=3)
  state = jax.jit(task.init)(jax.random.key(0), ())
  key, examples = jax.random.key(1), task.examples()["train"]
  batches = list(train_batches(examples, 0, 0, 3, 8))
  keys = jax.random.split(key, 3)
  sums = None
  for given, key in zip(batches, keys, strict=True):
    found = task.settle.measure(task.learned(state, ()), (), given, key)
    sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
  rest = task.settle.put(state, sums).rest
  stage = replaced(tiny_videos.get_config(), classify=PLAIN).stages["classify"]
  clips = [
    stage.crops.train(b["clip"], b["size"], learn.keys_of(own, b))
    for b, own in zip(batches, keys, strict=True)
  ]
  variables = {"params": state.params, "batch_stats": state.rest}
  # The first norm's input is the same for all batches together: its statistics are exact.
  captured = [
    task.model.network.apply(
      variables,
      x,
      train=True,
      mutable=["batch_stats", "intermediates"],
      capture_intermediates=lambda module, _: module.name == "conv" and module.path[0] == "stem",
    )[1]["intermediates"]["stem"]["conv"]["__call__"][0]
    for x in clips
  ]
  together = np.concatenate(captured).astype(np.float64).reshape(-1, captured[0].shape[-1])
  np.testing.assert_allclose(rest["stem"]["norm"]["mean"], together.mean(0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(rest["stem"]["norm"]["var"], together.var(0), rtol=1e-4, atol=1e-6)
  frozen = task_of(precise_norm=3, norms="none").settle
  kept = frozen.put(state, frozen.measure(task.learned(state, ()), (), batches[0], key))
  assert jax.tree.all(jax.tree.map(np.array_equal, kept.rest, state.rest))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  """A run of a network imported from a file named as pytorchvideo does, with random weights."""
  model = video.create("x3d_xs", 7)
  shapes, random = video.variable_shapes("x3d_xs", model), np.random.default_rng(0)
  variables = jax.tree.map(lambda x: random.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes)
  folder = tmp_path_factory.mktemp("published")
  tensors = interop.to_torch("x3d_xs", variables, model=model, project="pytorchvideo")
  np.savez(folder / "weights.npz", **tensors)
  stage, _ = imported.read("x3d_xs", folder / "weights.npz")
  run.fit(imported.experiment(stage), folder / "run")
  return folder / "run", variables


def test_imported_weights_but_for_a_new_head(published):
  folder, variables = published
  fields = {"network": Named(name="x3d_xs"), "start_from": str(folder)}
  task = task_with_colours(**fields)
  state = jax.jit(task.init)(jax.random.key(0), (), task.start())
  found = flatten_dict({"params": state.params, "batch_stats": state.rest}, sep="/")
  theirs = flatten_dict(dict(variables), sep="/")
  assert found.keys() == theirs.keys()
  for path, x in found.items():
    if path.startswith("params/head/fc"):
      assert x.shape != theirs[path].shape
    else:
      np.testing.assert_array_equal(x, theirs[path], err_msg=path)


@pytest.mark.slow
def test_only_the_head_of_imported_weights_is_trained(published):
  folder, variables = published
  fields = {"network": Named(name="x3d_xs"), "start_from": str(folder), "freeze": "^(?!head/fc)"}
  task = task_with_colours(**fields)
  state = jax.jit(task.init)(jax.random.key(0), (), task.start())
  random = np.random.default_rng(0)
  given = {
    "clip": random.integers(0, 256, (8, 4, 16, 16, 3), dtype=np.uint8),
    "size": np.full((8, 2), 16, np.int32),
    "label": np.arange(8, dtype=np.int32),
    "whole": np.ones(8, bool),
    "index": np.arange(8, dtype=np.int32),
  }
  first, step = state, jax.jit(task.step)
  for _ in range(3):
    state, _ = step(state, (), given, jax.random.key(1))
  flat = lambda s: flatten_dict({"params": s.params, "batch_stats": s.rest}, sep="/")
  before, after, theirs = flat(first), flat(state), flatten_dict(dict(variables), sep="/")
  moved = {path for path, x in before.items() if not np.array_equal(x, after[path])}
  assert moved == {"params/head/fc/kernel", "params/head/fc/bias"}
  assert all(np.array_equal(after[path], theirs[path]) for path in theirs.keys() - moved)


def test_other_networks_and_other_heads_are_refused(published):
  folder, _ = published
  for fields, said in (
    ({"network": Named(name="x3d_s"), "new_head": False}, "num_classes 7, not 16"),
    ({"network": Named(name="x3d_l")}, r"depths \(3, 5, 11, 7\), not \(5, 10, 25, 15\)"),
    ({"network": Named(name="x3d_s", layout="PySlowFast")}, "shortcut_norm False, not True"),
    ({"network": Named(name="r3d_18")}, "X3D, not ResNet3D"),
  ):
    task = task_with_colours(start_from=str(folder), **fields)
    with pytest.raises(BadInput, match=said):
      task.start()


def task_with_colours(**fields):
  """Of clips with three channels, of sixteen classes."""
  from train.task import Run

  experiment = replaced(tiny_videos.get_config(), classify=PLAIN | fields)
  about = {"num_classes": 16, "frame_shape": [16, 16, 3], "class_names": list("abcdefghijklmnop")}
  crops = {"crops": tiny_videos.Jitter(size=16, sides=(16,))}
  experiment = replaced(experiment, classify=crops)
  return run.make(Run(experiment, {}, about, lambda: {}), "classify")


def test_a_run_begins_as_another_ended(train, tmp_path):
  """With the classes the same the head may stay: nothing is learned at a rate of 0."""
  options = ("--classify.steps", 2, "--classify.eval_every", 2, "--classify.test_views", 1)
  first, second = tmp_path / "first", tmp_path / "second"
  status, out, err = train("fit", tiny_videos.__file__, "--workdir", first, *options)
  assert status == 0, out + err
  still = ("--classify.optimizer.learning_rate", 0, "--classify.norms", "none")
  still += ("--classify.start_from", first, "--classify.new_head", False)
  status, out, err = train("fit", tiny_videos.__file__, "--workdir", second, *options, *still)
  assert status == 0, out + err
  a, b = (run.load(f).stages["classify"] for f in (first, second))
  assert jax.tree.all(jax.tree.map(np.array_equal, a.learned, b.learned))
  assert a.figures == b.figures
  assert tuning.network_of(str(first))[1].keys() == {"params", "batch_stats"}
  wrong = ("--classify.start_from", first, "--classify.network.width", 8)
  status, _, err = train("fit", tiny_videos.__file__, "--workdir", tmp_path / "third", *wrong)
  assert (
    status == 2 and len(err.splitlines()) == 1 and "another network (stem_width 4, not 8" in err
  )
  assert not (tmp_path / "third").exists()
