"""The classifier of sounds: it learns, on any devices the same, and hears what others give it."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.conftest import assert_same, one_device, steps_of
from train import learn, parallel
from train.audio import classify
from train.audio.classify import SoundClassifierStage, logits_of
from train.config import Experiment, Parallel, Source
from train.data import Columns, eval_batches
from train.errors import BadInput
from train.optimizer import Adam
from train.run import abstract_tasks
from train.task import Run

ABOUT = {"rate": 8000, "speakers": ["low", "high", "third"], "class_names": ["tone", "noise"]}
TINY = SoundClassifierStage(
  chunk=1024, widths=(8, 16), blocks=1, hop=64, num_mels=16, optimizer=Adam(learning_rate=0.01)
)


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(autouse=True)
def chunks(monkeypatch):
  """Sounds here are the arrays themselves."""
  cut = lambda columns, size, *, whole: Columns(columns | {"sound": columns["sound"][:, :size]})
  monkeypatch.setitem(sys.modules, "train.audio.sounds", types.SimpleNamespace(Chunks=cut))


def utterances(seed, count=64):
  """Tones of two pitches, which are the speakers, or noise in two bands: i16[N, 1500]."""
  rng = np.random.default_rng(seed)
  speaker, label = (rng.integers(0, 2, count).astype(np.int32) for _ in range(2))
  length = rng.integers(600, 1500, count).astype(np.int32)
  pitch = np.where(speaker, 1500, 500)[:, None] * rng.uniform(0.8, 1.2, (count, 1))
  carrier = np.sin(2 * np.pi * pitch / 8000 * np.arange(1500) + rng.uniform(0, 6, (count, 1)))
  noise = np.repeat(rng.normal(size=(count, 375)), 4, 1) * carrier
  sounds = np.where(label[:, None], noise / 2, carrier) * 8000
  sounds = np.int16(np.where(np.arange(1500) < length[:, None], sounds, 0))
  length = np.minimum(length, TINY.chunk)
  return {"sound": sounds, "length": length, "speaker": speaker, "label": label}


def task_of(*, about=ABOUT, **fields):
  splits = {"train": utterances(0), "eval": utterances(1, 40)}
  stage = SoundClassifierStage(**{**vars(TINY), **fields})
  run = Run(
    Experiment(name="hearing", data=Source(), stages={"judge": stage}), {}, about, lambda: splits
  )
  return stage, abstract_tasks(run)["judge"]


@pytest.mark.parametrize("hears", ["label", "speaker"])
def test_it_learns_and_others_hear_by_it(hears):
  stage, task = task_of(hears=hears)
  _, state, measured, program = steps_of(task, one_device(), steps=40, batch_size=32)
  assert program.step._cache_size() == 1 and measured[-1]["loss"] < measured[0]["loss"]
  learned, evaluate = learn.learned(state), jax.jit(task.evaluate)
  splits = task.examples()
  sums = [evaluate(learned, (), batch) for batch in eval_batches(splits["eval"], 16)]
  figures = task.figures(jax.tree.map(lambda *x: sum(x), *sums))
  assert figures["accuracy"] > 0.9 and figures["cross_entropy"] < 0.4
  report = task.report(learned, splits)
  assert report.files["confusion.png"].dtype == np.uint8
  # Those that others give: longer than it hears, more than fit in a batch.
  given = utterances(1, 40)
  logits = logits_of(stage, task.model, learned, np.tile(given["sound"], (2, 1)))
  assert logits.shape == (80, len(classify.names_of(ABOUT, hears)))
  np.testing.assert_allclose(logits[:40], logits[40:], rtol=1e-4, atol=1e-4)
  assert np.mean(logits[:40].argmax(1) == given[hears]) == pytest.approx(figures["accuracy"])
  # Shorter ones are followed by zeros.
  short, zeros = given["sound"][:, :600], np.zeros((40, 424), np.int16)
  alike = logits_of(stage, task.model, learned, np.concatenate([short, zeros], 1))
  np.testing.assert_array_equal(logits_of(stage, task.model, learned, short), alike)


def test_the_confusion_is_of_all_the_split(monkeypatch):
  seen = []
  monkeypatch.setattr(
    classify, "confusion_picture", lambda counts, names, *, what: seen.append((counts, names))
  )
  _, task = task_of(hears="speaker", batch_size=12)  # 40 do not fill their last batch
  state = jax.jit(task.init)(jax.random.key(0), ())
  task.report(learn.learned(state), task.examples())
  ((counts, names),) = seen
  assert names == ABOUT["speakers"]
  np.testing.assert_array_equal(
    counts.sum(1), np.bincount(utterances(1, 40)["speaker"], minlength=3)
  )


def test_every_device_the_same():
  """Places, gains and dropout, by jit and pmap."""
  with jax.enable_x64(True):
    _, task = task_of(dtype="float64", param_dtype="float64", dropout=0.3, widths=(8,))
    many = parallel.make_mesh(Parallel(devices=min(4, jax.device_count())))
    ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
    alone, *others = (steps_of(task, *way, steps=3, batch_size=8)[1] for way in ways)
  assert jax.tree.leaves(alone.params)[0].dtype == np.float64
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


def test_a_sound_moves_within_its_zeros_only():
  sound = jnp.zeros(12).at[:9].set(jnp.arange(1.0, 10))
  keys = jax.random.split(jax.random.key(0), 64)
  moved = jax.vmap(lambda key: classify.moved(sound, jnp.int32(9), key, gain=6.0))
  starts, factors = set(), []
  for x in np.asarray(moved(keys)):
    start = int(np.flatnonzero(x)[0])
    factors.append(x[start])
    starts.add(start)
    np.testing.assert_allclose(x, np.roll(sound, start) * x[start], rtol=1e-6)
  assert starts == {0, 1, 2, 3}
  decibels = 20 * np.log10(factors)
  assert -6 <= decibels.min() < -4 and 4 < decibels.max() <= 6


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"about": ABOUT | {"class_names": []}}, "hears is 'label', and the sounds have 0 of these"),
    ({"chunk": 448}, "chunk is 448 and hop 64; .* a chunk of 449 at least"),
    ({"window": 255}, "window is 255, hop 64; window must be even"),
    ({"num_mels": 100}, "100 filters are too many for a window of 256"),
    ({"widths": (12,)}, "widths is .12,.; all must be multiples of 8"),
  ],
)
def test_what_does_not_fit_is_one_line(fields, message):
  with pytest.raises(BadInput, match=f"^judge: .*{message}") as error:
    task_of(**fields)
  assert "\n" not in str(error.value)
