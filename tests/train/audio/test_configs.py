"""The experiments on sound at full size, without compiling them."""

import jax
import pytest

from configs import librispeech_prior, spoken_digits, tones, vctk
from train import learn, parallel, run
from train.audio.vqvae import AudioVQVAEStage
from train.task import Run, Task


def about(speakers, labels=0, rate=16_000):
  """What a source of sound says of its data."""
  names = [f"p{i}" for i in range(speakers)], [str(i) for i in range(labels)]
  known = {"speakers": names[0], "class_names": names[1], "num_classes": labels}
  return {"rate": rate, **known}


def tasks_of(experiment, about):
  tasks = run.abstract_tasks(Run(experiment, {}, about, dict))
  states = {n: parallel.abstract_state(t) for n, t in tasks.items() if isinstance(t, Task)}
  return tasks, {n: learn.parameter_count(s.params) for n, s in states.items()}


def test_vctk_is_the_papers():
  """109 speakers, 64x, 512 codes of 64 that gradients train."""
  tasks, counts = tasks_of(vctk.get_config(), about(109))
  model = tasks["tokenizer"].model
  assert model.hop == 64 and model.decoder().receptive_field == 3070
  assert counts == {"tokenizer": 16_945_856 + 512 * 64}
  stage = vctk.get_config().stages["tokenizer"]
  assert (stage.codebook.num_codes, stage.beta, stage.strides) == (512, 0.25, (2,) * 6)


def test_librispeech_prior_is_the_papers():
  """128x: 40,960 samples are 320 codes, told of neither speakers nor words."""
  tasks, counts = tasks_of(librispeech_prior.get_config(), about(1172))
  assert tasks["tokenizer"].model.hop == 128
  prior = tasks["prior"]
  codes = jax.eval_shape(prior.model.init, jax.random.key(0), jax.numpy.zeros((1, 320), "int32"))
  assert prior.model.label_sizes == () and prior.model.num_codes == 512 and codes
  assert prior.spec["sound"].shape == (40_960,)
  assert prior.model.receptive_field > 320  # it knows all that came before
  assert counts["prior"] == learn.parameter_count(codes["params"])


@pytest.mark.parametrize("config", [spoken_digits, tones])
def test_small_ones_fit_their_data(config):
  tasks, counts = tasks_of(config.get_config(), about(4, 10, rate=8000))
  stage = config.get_config().stages["tokenizer"]
  assert isinstance(stage, AudioVQVAEStage) and tasks["tokenizer"].model.hop == 64
  assert counts["tokenizer"] < 600_000 and tasks["prior"].model.label_sizes == (4, 10)
