"""Tokenizer, prior, judges, conversions and probes as stages: resuming, devices, what they say."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from scipy.io import wavfile

from tests.train import tiny_sound
from tests.train.conftest import (
  assert_same,
  assert_same_run,
  fit_in_two_processes,
  one_device,
  replaced,
  steps_of,
  survives_being_killed,
  untrained,
)
from train import parallel, run
from train.audio import converting, probing, speaking
from train.audio.sources import Tones
from train.config import Experiment, Parallel
from train.errors import BadInput
from train.optimizer import Adam
from train.run import load

TINY = pathlib.Path(__file__).parents[1] / "tiny_sound.py"


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def runs(train, environment, tmp_path_factory):
  """A run that was left alone, and one that was killed and resumed."""
  return survives_being_killed(TINY, (), train, environment, tmp_path_factory.mktemp("sound"))


def figures_of(folder, stage):
  return json.loads((folder / stage / "done.json").read_text())["figures"]


def test_a_run_that_was_killed_goes_on_bit_for_bit(runs):
  whole, killed = runs
  assert_same_run(whole, killed)
  for stage, file in (("conversions", "conversions.wav"), ("prior", "samples.wav")):
    assert (whole / stage / file).read_bytes() == (killed / stage / file).read_bytes()


def test_what_it_says_of_itself(runs):
  whole, _ = runs
  tokenizer, prior = figures_of(whole, "tokenizer"), figures_of(whole, "prior")
  assert tokenizer["nats_per_sample"] < np.log(256) and tokenizer["codes_per_second"] == 8000 / 32
  assert prior["bits_per_second_nominal"] == pytest.approx(250 * 4)  # 16 codes
  bits = prior["nats_per_code"] / np.log(2)
  assert prior["bits_per_second_prior"] == pytest.approx(250 * bits)
  converted = figures_of(whole, "conversions")
  for name in ("speaker_real", "speaker_own", "speaker_other"):
    assert 0 <= converted[f"{name}_low"] <= converted[name] <= converted[f"{name}_high"] <= 1
  probes = figures_of(whole, "probes")
  assert probes["speaker_of_utterance_by_sound"] > 0.9 > probes["speaker_chance"] == 0.5
  for name in ("conversions/conversions.wav", "tokenizer/reconstructions.wav"):
    rate, samples = wavfile.read(whole / name)
    assert rate == 8000 and samples.dtype == np.int16 and samples.ndim == 1 and len(samples) > 8000
  for name in ("conversions/conversions.png", "probes/codes_by_speaker.png", "prior/samples.png"):
    assert (whole / name).stat().st_size > 1000


def with_dtype(**stages):
  both = {"param_dtype": "float64", "dtype": "float64"}
  names = ("tokenizer", "prior")
  return replaced(tiny_sound.get_config(), **{n: both | stages.get(n, {}) for n in names})


# (The classifier: tests/train/audio/test_classify.py.)
@pytest.mark.parametrize("stage", ["tokenizer", pytest.param("prior", marks=pytest.mark.slow)])
def test_every_device_the_same(x64, stage):
  experiment = with_dtype()
  names = ["tokenizer", stage] if stage == "prior" else [stage]
  stages = {name: experiment.stages[name] for name in names}
  task = untrained(dataclasses.replace(experiment, stages=stages))[stage]
  many = parallel.make_mesh(Parallel(devices=min(8, jax.device_count())))
  ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
  alone, *others = (steps_of(task, *way, steps=3, batch_size=16)[1] for way in ways)
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


def test_it_learns():
  """A tone's samples are told much better than by chance once a few hundred steps are done."""
  experiment = tiny_sound.get_config()
  optimizer = Adam(learning_rate=1e-2)
  tokenizer = dataclasses.replace(experiment.stages["tokenizer"], steps=150, optimizer=optimizer)
  stages = {"tokenizer": tokenizer}
  task = untrained(dataclasses.replace(experiment, stages=stages))["tokenizer"]
  _, _, figures, _ = steps_of(task, one_device(), steps=150, batch_size=16)
  nats = [float(f["nats_per_sample"]) for f in figures]
  assert nats[0] > 5 and np.mean(nats[-10:]) < 4.8


def test_silence_that_fills_up_counts_for_nothing(runs):
  """Held-out figures are of real samples and of codes that hold one."""
  done = load(runs[0])
  for name in ("tokenizer", "prior"):
    task, learned = done.stages[name].task, done.stages[name].learned
    split = task.examples()["test"]
    rows = np.arange(8) % len(split)
    batch = split.read(rows, None) | {"index": np.arange(8), "mask": np.arange(8) < 6}
    batch["length"] = np.minimum(batch["length"], 100)
    beyond = np.arange(batch["sound"].shape[1]) >= 128  # of the codes that hold no real sample
    other = batch | {"sound": np.where(beyond, np.int16(9000), batch["sound"])}
    evaluate = jax.jit(task.evaluate)
    figures = [task.figures(evaluate(learned, task.context, b)) for b in (batch, other)]
    # The encoder looks a little ahead, so that codes near the end may change.
    key = "nats_per_sample" if name == "tokenizer" else "nats_per_code"
    assert figures[0][key] == pytest.approx(figures[1][key], rel=0.05)
    masked = batch | {"sound": np.where(batch["mask"][:, None], batch["sound"], np.int16(500))}
    found = evaluate(learned, task.context, masked)
    assert task.figures(found) == figures[0]
    lengths = batch["length"][:6]
    real = lengths if name == "tokenizer" else -(-lengths // 32)
    total = found["error"] if name == "tokenizer" else found.nats
    assert float(total.count) == real.sum()


def test_the_same_sound_whatever_it_is_drawn_with(runs):
  done = load(runs[0]).stages["tokenizer"]
  codes = np.random.default_rng(0).integers(16, size=(5, 6)).astype(np.int32)
  speakers = np.array([0, 1, 0, 1, 1], np.int32)
  together = speaking.speak(done.model, done.learned, codes, speakers, key=jax.random.key(3))
  assert all(x.shape == (192,) and x.dtype == np.int16 for x in together)
  some = speaking.speak(
    done.model, done.learned, codes[3:], speakers[3:], key=jax.random.key(3), first_index=3
  )
  np.testing.assert_array_equal(some, together[3:])
  # Beside a longer one as well.
  longer = [codes[0], np.tile(codes[1], 2)]
  short, _ = speaking.speak(done.model, done.learned, longer, speakers[:2], key=jax.random.key(3))
  np.testing.assert_array_equal(short, together[0])


def test_conversions_are_judged_by_the_target_and_the_word():
  found = {
    "speaker": np.array([0, 1, 2, 0]),
    "target": np.array([1, 2, 0, 2]),
    "label": np.array([5, 6, 7, 8]),
    "speaker_real": np.array([0, 1, 2, 1]),
    "speaker_own": np.array([0, 1, 0, 1]),
    "speaker_other": np.array([1, 1, 2, 0]),
    "label_other": np.array([5, 6, 7, 0]),
    **dict.fromkeys(("distance_own", "distance_mean_spectrum", "distance_mu_law"), np.ones(4)),
    "mu_law_bits": np.array(2),
  }
  figures = converting.figures_of(found)
  assert figures["speaker_real"] == 0.75 and figures["speaker_own"] == 0.5
  assert figures["speaker_other"] == 0.25 and figures["label_other"] == 0.75


def test_probes_see_what_codes_know():
  """Codes that are the label tell it; others do not, and spectra tell neither here."""
  rng = np.random.default_rng(0)

  def told(count):
    labels = {"speaker": rng.integers(2, size=count), "label": rng.integers(4, size=count)}
    sound = np.repeat(np.arange(count), 10)
    mels = rng.standard_normal((len(sound), 3)).astype(np.float32)
    return probing.Told(np.int32(labels["label"][sound]), mels, sound, labels)

  train, test = told(300), told(200)
  stage = probing.ProbeStage(steps=200)
  of = {n: stage.probed(train, test, n, k, 8) for n, k in (("label", 4), ("speaker", 2))}
  found = probing.figures_of(of["label"] | of["speaker"])
  for unit in ("utterance", "frame"):
    assert found[f"label_of_{unit}_by_codes"] == 1 and found[f"label_of_{unit}_by_sound"] < 0.4
    assert 0.35 < found[f"speaker_of_{unit}_by_codes"] < 0.65
  assert found["label_chance"] == 0.25 <= found["label_most_frequent_utterance"] < 0.4


@pytest.mark.slow
def test_two_processes_make_one_run(environment, tmp_path):
  one = environment | {"JAX_NUM_CPU_DEVICES": "1"}
  fit_in_two_processes(TINY, tmp_path / "run", one)
  assert "speaker_other" in figures_of(tmp_path / "run", "conversions")
  assert "speaker_chance" in figures_of(tmp_path / "run", "probes")


def test_baselines_of_distance():
  """The mean spectrum is its own nearest, and more bits of mu law are nearer."""
  sounds = Tones(speakers=2, copies=2).open()
  batch = np.stack([np.pad(sounds["test"].read(i), (0, 4096))[:4096] for i in range(4)])
  lengths = np.minimum(sounds["test"].lengths[:4], 4096)
  x = batch.astype(np.float32) / 32768
  errors = []
  for bits in (1_000, 4_000, 64_000):
    back = converting.crushed(x, 8000, 8, bits)
    assert back.shape == x.shape
    errors.append(np.square(back - x).mean())
  assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-4 * np.square(x).mean() * 10
  found = converting.distances(
    {"real": batch, "own": batch}, lengths, sounds["train"], 8000, 4_000.0
  )
  assert np.abs(found["distance_own"]).max() < 1e-4
  assert found["distance_mean_spectrum"].min() > 1 and found["distance_mu_law"].min() > 1


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (Tones(speakers=1), "conversions: voices can't be changed: the decoder is told of no speakers"),
  ],
)
def test_stages_that_do_not_fit_the_data(data, message):
  experiment = tiny_sound.get_config()
  stages = {name: experiment.stages[name] for name in ("tokenizer", "conversions")}
  with pytest.raises(BadInput, match=message):
    run.plan(Experiment("one", data=data, stages=stages))
