"""Pre-training and ranking as stages: what they learn, resuming, devices, and what fits not."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from tests.train import tiny_ratings
from tests.train.conftest import (
  assert_same,
  lines,
  one_device,
  replaced,
  states_of,
  steps_of,
  survives_being_killed,
  untrained,
)
from train import parallel
from train.config import Parallel
from train.errors import BadInput
from train.ratings import rankings, starts
from train.ratings.factors import FactorStage
from train.ratings.pretrain import Seeds
from train.ratings.sources import Market
from train.run import load

TINY = pathlib.Path(__file__).parents[1] / "tiny_ratings.py"


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def runs(train, environment, tmp_path_factory):
  """A run that was left alone, and one that was killed and resumed."""
  folder = tmp_path_factory.mktemp("ratings")
  return survives_being_killed(TINY, (), train, environment, folder)


def test_a_run_that_was_killed_goes_on_bit_for_bit(runs):
  whole, killed = runs
  assert lines(whole) == lines(killed)
  ours, theirs = states_of(whole), states_of(killed)
  for name, leaf in ours.items():
    np.testing.assert_array_equal(leaf, theirs[name], err_msg=name)


def test_it_learns(runs):
  whole, _ = runs
  figures = json.loads((whole / "pretrain" / "done.json").read_text())["figures"]
  assert figures["contrast"] < np.log(64)  # of a batch of 64, what guessing gives
  assert figures["probe_degree"] > figures["probe_degree_majority"] + 0.1
  ranked = json.loads((whole / "factors" / "done.json").read_text())["figures"]
  assert ranked["recall@20"] > 2 * 20 / 720 and ranked["hr@20"] == ranked["recall@20"]
  assert 0 < ranked["ndcg@5"] <= ranked["ndcg@10"] <= ranked["ndcg@20"] < ranked["sampled_ndcg@20"]
  with np.load(whole / "factors" / "users.npz") as kept:
    np.testing.assert_array_equal(kept["user"], np.arange(720))
    assert np.mean(kept["recall@20"]) == pytest.approx(ranked["recall@20"], abs=1e-6)


def test_contrast_falls():
  fields = {"objective": "in_batch", "temperature": 0.1}
  task = untrained(replaced(tiny_ratings.get_config(), pretrain=fields))["pretrain"]
  _, _, figures, _ = steps_of(task, one_device(), steps=80, batch_size=64)
  losses = [float(f["loss"]) for f in figures]
  assert np.mean(losses[-20:]) < np.mean(losses[:5]) - 0.3


def with_dtype(**fields):
  both = {"param_dtype": "float64"}
  return replaced(tiny_ratings.get_config(), pretrain=both | fields.pop("pretrain", {}),
                  factors=both | fields)  # fmt: skip


@pytest.mark.parametrize(
  ("stage", "fields"),
  [
    ("pretrain", {}),
    ("pretrain", {"pretrain": {"objective": "in_batch"}}),
    ("factors", {"negatives": 3, "negatives_by": "popularity"}),
    ("factors", {"layers": 2, "sample": "user", "ranking": rankings.CosineContrastive()}),
  ],
)
def test_every_device_the_same(x64, stage, fields):
  task = untrained(with_dtype(**fields))[stage]
  if stage == "factors":
    task = task._replace(init=functools.partial(_begun, task.init))
  many = parallel.make_mesh(Parallel(devices=min(4, jax.device_count())))
  ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
  alone, *others = (steps_of(task, *way, steps=3, batch_size=32)[1] for way in ways)
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


def _begun(init, key, context):
  """Not from 0, where no gradient is."""
  state = init(key, context)
  params = jax.tree.map(lambda x: jax.random.normal(key, x.shape, x.dtype), state.params)
  return state._replace(params=params)


def test_keys_follow_queries_and_fill_the_queue(x64):
  stage = with_dtype(pretrain={"batch_size": 48})
  task = untrained(stage)["pretrain"]
  first, last, _, _ = steps_of(task, one_device(), steps=5, batch_size=48)
  # Five batches of 48 in a queue of 200: the last 40 are where the first were.
  assert last.rest.queue.next == 40 and (last.rest.queue.ids >= 0).all()
  # One step more: the average has moved towards the parameters as they were before it.
  _, more, _, _ = steps_of(task, one_device(), steps=6, batch_size=48)
  expected = jax.tree.map(lambda a, p: 0.9 * a + (1 - 0.9) * p, last.rest.key_params, last.params)
  assert_same(more.rest.key_params, expected, tolerance=1e-12)
  assert_same(first.rest.key_params, first.params, tolerance=0)


def test_seeds_are_drawn_by_degree():
  shop = Market().open().target
  seeds = Seeds(shop, 0.75)
  draws = np.random.default_rng(0).integers(0, 2**64, 200_000, dtype=np.uint64)
  found = np.bincount(seeds.read(np.zeros(200_000, int), draws)["seed"], minlength=len(seeds))
  weights = np.diff(shop.graph.indptr) ** 0.75
  expected = weights / weights.sum() * 200_000
  assert ((found - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 1.1 * len(seeds)
  top = np.array([0, 2**64 - 1], np.uint64)
  assert seeds.read(np.zeros(2, int), top)["seed"].max() < len(seeds)


@pytest.mark.parametrize(
  "start", [starts.Normal(), starts.Untrained(scale=2.0), starts.Carried(scale=0.5)]
)
def test_where_vectors_begin(start):
  config = tiny_ratings.get_config()
  if isinstance(start, starts.Untrained):
    start = dataclasses.replace(start, encoder=config.stages["pretrain"].encoder)
  config = replaced(config, factors={"start": start})
  task = untrained(config)["factors"]
  given = task.start()
  state = jax.jit(task.init)(jax.random.key(0), task.context, given)
  vectors = np.concatenate([state.params["user"], state.params["item"]])
  assert vectors.shape == (1440, 12) and np.ptp(vectors, axis=0).min() > 0
  if isinstance(start, starts.Normal):
    assert vectors.std() == pytest.approx(0.1, rel=0.05)
  else:  # means of two vectors of length 1
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.max() <= start.scale + 1e-5 and lengths.mean() > 0.5 * start.scale
  if isinstance(start, starts.Carried):  # each node has a vector of the source's, by rank
    source = config.data.open().source
    degrees = np.diff(source.graph.indptr)[given[2]], np.diff(task.context.known.train.indptr)
    for kind in (slice(0, 720), slice(720, None)):
      assert np.corrcoef(*(x[kind] for x in degrees))[0, 1] > 0.95


@pytest.mark.parametrize(
  "ranking",
  [
    *(rankings.Margin(kind=kind) for kind in ("L1HingeLoss", "DWDMarginLoss")),
    rankings.SampledSoftmax(temperature=0.5),
    rankings.CosineContrastive(margin=0.1, weight=1.0),
  ],
)
def test_every_loss_ranks(ranking):
  source = Market()
  experiment = dataclasses.replace(
    tiny_ratings.get_config(),
    data=source,
    stages={
      "factors": FactorStage(
        dim=8, ranking=ranking, negatives=4, penalty=0.0,
        optimizer=tiny_ratings.Adam(learning_rate=0.05),
      )
    },
  )  # fmt: skip
  task = untrained(experiment)["factors"]
  task = task._replace(init=functools.partial(_begun, task.init))
  _, _, figures, _ = steps_of(task, one_device(), steps=100, batch_size=512)
  assert figures[-1]["loss"] < figures[0]["loss"] and figures[-1]["ranked"] > 0.7


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"pretrain": {"queue": 16}}, "pretrain: queue is 16; it must be at least batch_size, 32"),
    ({"pretrain": {"accumulate": 2}}, "pretrain: accumulate must be 1"),
    (
      {"factors": {"dim": 7}},
      "start: dim is 7, but the encoder's vectors have 12; set",
    ),
  ],
)
def test_what_does_not_fit_is_said_at_once(here, tmp_path, fields, message):
  options = [
    part for stage, values in fields.items() for k, v in values.items()
    for part in (f"--{stage}.{k}", v)
  ]  # fmt: skip
  status, _, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 2 and message in err and err.count("\n") == 1
  assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_run(runs, here, tmp_path):
  whole, _ = runs
  options = ("--factors.start.run", whole, "--pretrain.steps", 1, "--pretrain.probe_nodes", 0)
  status, out, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 0, out + err
  ours, theirs = (load(x).stages["factors"].figures for x in (tmp_path / "run", whole))
  assert ours == pytest.approx(theirs, abs=0.02)


def test_a_market_is_of_whole_circles():
  with pytest.raises(BadInput, match="size is 130; it must be a multiple of 120"):
    Market(size=130).open()
