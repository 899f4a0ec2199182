"""Configs: limits, typos, what may change on resume, and the shipped experiments."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from tests.train import tiny
from train import cli, config, run
from train.config import Optimizer, Stage
from train.errors import BadInput
from train.experiments import VQVAEExperiment, kind
from train.task import Task
from train.tasks import networks
from train.tasks.vqvae import Codebook, VQVAEStage

CONFIGS = [
  "digits",
  "digits_classifier",
  "mnist",
  "cifar10",
  "imagenet128",
  "mlvae_mnist",
  "mlvae_omniglot",
  "vqvae2_small",
  "vqvae2_imagenet256",
  "vqvae2_ffhq1024",
]


def with_tokenizer(**fields):
  experiment = tiny.get_config()
  return dataclasses.replace(
    experiment, tokenizer=dataclasses.replace(experiment.tokenizer, **fields)
  )


@pytest.mark.parametrize(
  ("experiment", "message"),
  [
    (with_tokenizer(steps=0), "tokenizer.steps is 0; it must be at least 1"),
    (with_tokenizer(steps="12"), "tokenizer.steps is '12'; it must be int"),
    (with_tokenizer(steps=True), "tokenizer.steps is True; it must be int"),
    (
      with_tokenizer(codebook=Codebook(num_codes=0)),
      "tokenizer.codebook.num_codes is 0; it must be at least 1",
    ),
    (
      with_tokenizer(codebook=Codebook(dim=-3)),
      "tokenizer.codebook.dim is -3; it must be at least 1",
    ),
    (
      with_tokenizer(codebook=Codebook(decay=1.5)),
      "tokenizer.codebook.decay is 1.5; it must be at most 1",
    ),
    (
      with_tokenizer(codebook=Codebook(update="sgd")),
      "tokenizer.codebook.update is 'sgd'; it must be one of 'ema', 'gradient'",
    ),
    (
      with_tokenizer(optimizer=Optimizer(learning_rate=math.nan)),
      "tokenizer.optimizer.learning_rate is nan; it must be finite",
    ),
    (with_tokenizer(optimizer=Stage()), "tokenizer.optimizer is Stage"),
  ],
)
def test_impossible_values_are_named_by_path(experiment, message):
  with pytest.raises(BadInput) as error:
    config.check(experiment)
  assert str(error.value).startswith(message)


def test_json_round_trip():
  experiment = tiny.get_config()
  text = json.dumps(dataclasses.asdict(experiment))
  assert config.from_dict(VQVAEExperiment, json.loads(text), "here") == experiment
  with pytest.raises(BadInput, match=r"here: unknown field tokenizer\.stepz; did you mean steps\?"):
    config.from_dict(VQVAEExperiment, json.loads(text.replace('"steps"', '"stepz"', 1)), "here")
  with pytest.raises(BadInput, match=r"here: the config is damaged; found \[\]"):
    config.from_dict(VQVAEExperiment, [], "here")


def test_what_may_change_on_resume():
  old = tiny.get_config()
  free = dataclasses.replace(
    with_tokenizer(steps=99, eval_every=3),
    parallel=dataclasses.replace(old.parallel, devices=2),
    log=dataclasses.replace(old.log, every=7),
    data=dataclasses.replace(old.data, num_threads=1),
  )
  assert config.changes(old, free) == []
  bound = dataclasses.replace(with_tokenizer(batch_size=8), seed=3)
  assert config.changes(old, bound) == ["seed: 0 -> 3", "tokenizer.batch_size: 16 -> 8"]


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_load_and_are_recorded(name):
  experiment = config.load(name)
  assert kind(type(experiment).__name__) is type(experiment) and experiment.name == name
  with open(f"configs/{name}.py") as file:
    docstring = file.read().split('"""')[1]
  for word in ("python -m train fit", "Expected", "Measured"):
    assert word in docstring, f"the record of {name} does not say {word!r}"


@pytest.mark.parametrize(
  ("name", "shape", "codes"),
  [("cifar10", (32, 32, 3), (8, 8, 10)), ("imagenet128", (128, 128, 3), (32, 32))],
)
def test_the_papers_experiments(name, shape, codes):
  """Values of section 4 of arXiv 1711.00937."""
  experiment = config.load(name)
  tokenizer = experiment.tokenizer
  assert networks.of(tokenizer, shape).shapes == (codes,)
  assert tokenizer.codebook.num_codes == 512
  assert tokenizer.codebook.update == "gradient"  # the EMA was "not used for the experiments"
  assert (tokenizer.steps, tokenizer.batch_size) == (250_000, 128)
  assert tokenizer.optimizer.learning_rate == 2e-4 and tokenizer.beta == 0.25
  assert (tokenizer.channels, tokenizer.num_residual_blocks) == (256, 2)


@pytest.mark.parametrize(
  ("name", "size", "codes", "parameters"),
  [
    ("vqvae2_imagenet256", 256, ((32, 32), (64, 64)), {"tokenizer": 1_716_803}),
    ("vqvae2_ffhq1024", 1024, ((32, 32), (64, 64), (128, 128)), {"tokenizer": 3_196_995}),
  ],
)
def test_the_hierarchies_of_the_paper(name, size, codes, parameters):
  """Section 4 and the tables of hyper-parameters of arXiv 1906.00446; compiles nothing.

  ImageNet: the 1,388,867 parameters of 32 channels inside the blocks, and 8 blocks of 40,992 more.
  """
  experiment = config.load(name)
  tokenizer = experiment.tokenizer
  assert networks.of(tokenizer, (size, size, 3)).shapes == codes
  assert (tokenizer.channels, tokenizer.residual_channels, tokenizer.beta) == (128, 64, 0.25)
  assert (tokenizer.codebook.num_codes, tokenizer.codebook.dim) == (512, 64)

  class Blank:
    """A split of the right size, with nothing in it."""

    image_shape, num_classes, class_names = (size, size, 3), 1000, ("a",) * 1000
    __len__ = lambda self: 1
    gather = lambda self, indices: (np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, np.int32))

  split = Blank()
  tasks = run.abstract_tasks(experiment, split)
  key = jax.eval_shape(lambda: jax.random.key(0))
  states = {n: jax.eval_shape(t.init, key) for n, t in tasks.items() if isinstance(t, Task)}
  counts = {n: run.parameter_count(s.params) for n, s in states.items()}
  assert counts | parameters == counts
  # Attention and the output stack at the top alone; everything below is told of what is above.
  assert len(codes) == len(counts) - 1 and all(n > 100e6 for s, n in counts.items() if s == "top")


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (
      ["--tokenizer.codebok.num_codes", "3"],
      "unknown field --tokenizer.codebok.num_codes; did you mean --tokenizer.codebook.num_codes?",
    ),
    (["--steps=3"], "unknown field --steps"),
    (["--tokenizer.steps", "abc"], "Error parsing --tokenizer.steps: invalid literal for int()"),
    (["--tokenizer.codebook.update", "sgd"], "invalid choice 'sgd' for argument '--tokenizer.cod"),
    (["--tokenizer.codebook.num_codes", "0"], "tokenizer.codebook.num_codes is 0; it must be at"),
    (["--prior.class_conditional", "perhaps"], "invalid choice 'perhaps' for argument '--prior.cl"),
  ],
)
def test_bad_command_lines_are_one_line(args, message):
  with pytest.raises(BadInput) as error:
    cli.parse_fit(["tests/train/tiny.py", "--workdir", "x", *args])
  assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_overrides_reach_their_fields():
  parsed = cli.parse_fit(
    ["tests/train/tiny.py", "--workdir", "x", "--tokenizer.steps", "7", "--data.image_size=16",
     "--prior.class_conditional", "False"]
  )  # fmt: skip
  experiment = parsed.experiment
  assert experiment.tokenizer == dataclasses.replace(tiny.get_config().tokenizer, steps=7)
  assert experiment.data.image_size == 16 and experiment.prior.class_conditional is False


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = 1", "defines no get_config()"),
    ("def get_config(): return 3", "returned int, not an Experiment"),
    (
      "from train.tasks.vqvae import *\ndef get_config(): return VQVAEStage(stepz=3)",
      "VQVAEStage has no field 'stepz'; did you mean steps?",
    ),
  ],
)
def test_bad_config_files_are_named(tmp_path, text, message):
  path = tmp_path / "mine.py"
  path.write_text(text)
  with pytest.raises(BadInput) as error:
    config.load(str(path))
  assert str(error.value).endswith(message) and str(path) in str(error.value)


def test_unknown_config_names_the_nearest():
  with pytest.raises(BadInput, match=r"no config 'digts'; did you mean digits\?"):
    config.load("digts")


def test_stage_defaults_are_the_papers():
  stage = VQVAEStage()
  assert (stage.channels, stage.beta, stage.codebook.num_codes) == (256, 0.25, 512)
  assert stage.codebook.decay == 0.99
