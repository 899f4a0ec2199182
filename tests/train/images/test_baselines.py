"""The VQ-VAE's baselines: their bounds, what later stages make of them, every device the same."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train import tiny_baselines
from tests.train.conftest import (
  assert_same,
  assert_same_run,
  one_device,
  replaced,
  steps_of,
  survives_being_killed,
  untrained,
)
from train import config_file, parallel, run
from train.codes import generation
from train.config import Parallel
from train.errors import BadInput
from train.images.categorical import GumbelStage
from train.task import Run

TINY = pathlib.Path(tiny_baselines.__file__)
LATENTS = ("vae", "vimco", "gumbel")
GUMBEL_ALONE = """
import dataclasses
from tests.train import tiny_baselines

def get_config():
  base = tiny_baselines.get_config()
  return dataclasses.replace(base, stages={"gumbel": base.stages["gumbel"]})
"""


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def baselines(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "baselines"
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  return folder, out


def figures_of(folder):
  names = tiny_baselines.get_config().stages
  return {n: json.loads((folder / n / "done.json").read_text())["figures"] for n in names}


def test_bounds_in_bits_a_dimension(baselines):
  folder, out = baselines
  figures = figures_of(folder)
  for name in LATENTS:
    found = figures[name]
    assert 0 < found["image_bits_bound"] < found["image_bits_elbo"] < 9
  codes = 16 * np.log2(6) / 1024  # 4x4 of them, 32x32 values
  for name in ("vimco", "gumbel", "vqvae"):
    found = figures[name]
    np.testing.assert_allclose(
      found["image_bits_uniform"] - found["image_bits_given_codes"], codes, rtol=1e-4
    )
  prior, given = figures["gumbel_prior"], figures["gumbel"]["image_bits_given_codes"]
  np.testing.assert_allclose(prior["image_bits_prior"], prior["bits_per_dim"] + given)
  for words in ("images, by many samples", "images, all codes alike", "images, codes by the prior"):
    assert words in out


def test_what_is_trained_goes_down(baselines):
  records = [json.loads(x) for x in (baselines[0] / "metrics.jsonl").read_text().splitlines()]
  for name in (*LATENTS, "vqvae"):
    figure = "image_bits_uniform" if name == "vqvae" else "image_bits_bound"
    first, last = (r[figure] for r in records if r["stage"] == name and r["kind"] == "eval")
    assert last < first, name
  cooled = [r["temperature"] for r in records if "temperature" in r]
  np.testing.assert_allclose(cooled[0], 0.5 ** (1 / 11), rtol=1e-5)  # of the second step
  np.testing.assert_allclose(cooled[-1], 0.5, rtol=1e-5)


def test_pictures(baselines):
  folder, _ = baselines
  wanted = {name: ["reconstructions.png"] for name in (*LATENTS, "vqvae")}
  wanted["vae"] += ["samples.png"]
  wanted |= {"gumbel_prior": ["samples.png"]}
  for stage, names in wanted.items():
    for name in names:
      with Image.open(folder / stage / name) as image:
        assert min(image.size) > 100


def test_verbs_take_the_last_tokenizer_and_its_prior(baselines, here, tmp_path):
  folder, _ = baselines
  done = run.load(folder)
  generator = generation.of_run(done)
  assert len(generator.levels) == 1
  assert generator.coder.model == done.stages["gumbel"].model
  status, _, err = here("sample", folder, "--num", 2, "--output", tmp_path / "s.png")
  assert status == 0 and (tmp_path / "s.png").is_file(), err
  pixels = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
  Image.fromarray(pixels).save(tmp_path / "x.png")
  args = ("reconstruct", folder, tmp_path / "x.png", "--output", tmp_path / "out")
  status, _, err = here(*args)
  assert status == 0 and (tmp_path / "out" / "x.png").is_file(), err


@pytest.mark.slow
@pytest.mark.parametrize("stage", LATENTS)
def test_all_devices_and_parts_of_a_batch_equal_one_in_float64(data_dir, stage):
  types = {"dtype": "float64", "param_dtype": "float64"}
  with jax.enable_x64(True):
    config = replaced(tiny_baselines.get_config(), data_dir, **{stage: types})
    ways = [(config, one_device()), (config, parallel.make_mesh(Parallel()))]
    ways.append((replaced(config, **{stage: {"accumulate": 2}}), one_device()))
    tasks = [(untrained(config)[stage], mesh) for config, mesh in ways]
    states = [steps_of(task, mesh, steps=3, batch_size=16)[1] for task, mesh in tasks]
  for other in states[1:]:
    assert_same(other, states[0], tolerance=1e-10)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(train, environment, tmp_path):
  config = tmp_path / "gumbel.py"  # the one whose state is more than parameters
  config.write_text(GUMBEL_ALONE)
  whole, killed = survives_being_killed(config, [], train, environment, tmp_path)
  assert_same_run(whole, killed)


@pytest.mark.parametrize(
  ("options", "line"),
  [
    (["--vimco.num_samples", "1"], "vimco.num_samples is 1; it must be at least 2"),
    (["--vimco.num_codes", "1"], "vimco.num_codes is 1; it must be at least 2"),
    (["--gumbel.temperature", "0"], "gumbel.temperature is 0.0; it must be at least 0.001"),
    (["--vae.num_downsamples", "6"], "vae: VQVAE: image height and width must be multiples of 64"),
    (["--vae.likelihood", "logistics"], "'logistics'"),
  ],
)
def test_bad_input_is_one_line(here, tmp_path, options, line):
  status, _, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 2 and line in err and len(err.strip().splitlines()) == 1, err
  assert not (tmp_path / "run").exists()


def test_the_temperature_may_rise_and_stays_at_its_end():
  stage = GumbelStage(steps=5, temperature=0.5, final_temperature=2.0)
  found = [float(stage.temperature_at(np.int32(step))) for step in (0, 2, 4, 9)]
  np.testing.assert_allclose(found, [0.5, 1.0, 2.0, 2.0], rtol=1e-6)


def test_a_tokenizer_without_a_prior_after_it_draws_nothing(baselines):
  done = run.load(baselines[0])
  names = ("vae", "vimco", "vqvae", "gumbel_prior", "gumbel")  # the prior is not after it
  done = dataclasses.replace(done, stages={name: done.stages[name] for name in names})
  with pytest.raises(BadInput, match="the tokenizer 'gumbel' has no prior after it"):
    generation.of_run(done)


def test_the_papers_experiment():
  """Values of section 4.1 of arXiv 1711.00937; the same encoder and decoder; compiles nothing."""
  experiment = config_file.load("cifar10_baselines")
  about = {"image_shape": (32, 32, 3), "num_classes": 10, "class_names": [], "variance": 0.1}
  tasks = run.abstract_tasks(Run(experiment, {}, about, dict))
  for name in (*LATENTS, "vqvae"):
    stage = experiment.stages[name]
    assert (stage.steps, stage.batch_size, stage.codes_per_position) == (250_000, 128, 10)
    assert stage.optimizer.learning_rate == 2e-4 and stage.likelihood == "logistic"
  assert experiment.stages["vimco"].num_samples == 50
  shapes = [jax.tree.map(lambda x: x.shape, _networks(tasks[n])) for n in (*LATENTS, "vqvae")]
  # All but the two ends at the latents: what the encoder gives and the decoder takes.
  for ends in ("to_codes", "from_codes"):
    for found in shapes:
      del found[ends]
  assert shapes[0] == shapes[1] == shapes[2] == shapes[3]


def _networks(task):
  params = parallel.abstract_state(task).params
  params = params.get("network", params)
  return dict(params.get("networks", params))
