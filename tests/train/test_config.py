"""Configs: limits, typos, what may change on resume, and the shipped experiments."""

import dataclasses
import json
import math
import pathlib
import sys

import pytest

from tests.train import tiny, tiny2
from tests.train.conftest import replaced
from train import config_file, fields, learn, parallel, run
from train.config import Experiment, Stage
from train.errors import BadInput
from train.images.sources import Folder
from train.images.vqvae import Codebook, VQVAE2Stage, VQVAEStage
from train.optimizer import SGD, Adam, schedule_of
from train.task import Run, Task
from train.verbs import Fit

CONFIGS = sorted(path.stem for path in pathlib.Path("configs").glob("[!_]*.py"))


def with_tokenizer(**values):
  return replaced(tiny.get_config(), tokenizer=values)


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
      with_tokenizer(optimizer=Adam(learning_rate=math.nan)),
      "tokenizer.optimizer.learning_rate is nan; it must be finite",
    ),
    (with_tokenizer(optimizer=Stage()), "tokenizer.optimizer is Stage"),
  ],
)
def test_impossible_values_are_named_by_path(experiment, message):
  with pytest.raises(BadInput) as error:
    fields.check(experiment)
  assert str(error.value).startswith(message)


def again(saved):
  """What is read back from JSON."""
  return config_file.restored(json.loads(json.dumps(saved)), "here")


def test_json_round_trip():
  for experiment in (tiny.get_config(), tiny2.get_config()):
    saved = config_file.saved(experiment)
    assert again(saved) == experiment and saved["config_file"] is None
  saved["config"]["stages"]["tokenizer"]["stepz"] = 3
  with pytest.raises(
    BadInput, match=r"here is damaged: VQVAE2Stage has no field 'stepz'; did you mean steps"
  ):
    again(saved)
  with pytest.raises(BadInput, match=r"here is damaged: its config is '\(\)'"):
    again({"config_file": None, "config": []})
  for tag in ("os:system", "train.run:load", "train.config:Nothing", ":Nothing"):
    with pytest.raises(BadInput, match="here is damaged: there is no class"):
      again({"config_file": None, "config": {"class": tag}})


OWN = """
import dataclasses
from train.config import Experiment, Optimizer, Source, TrainingStage
from train.fields import field

@dataclasses.dataclass(frozen=True)
class MySource(Source):
  path: str = field("here")

@dataclasses.dataclass(frozen=True)
class MyOptimizer(Optimizer):
  power: float = field(0.5, least=0)

@dataclasses.dataclass(frozen=True)
class MyStage(TrainingStage):
  width: int = field(3, least=1)

@dataclasses.dataclass(frozen=True)
class MyExperiment(Experiment):
  note: str = field("")

def get_config():
  return MyExperiment("mine", data=MySource(), stages={"a": MyStage(optimizer=MyOptimizer())})
"""


def test_a_config_files_own_classes(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(OWN)
  args = [str(path), "--workdir", "x", "--a.width", "5", "--a.optimizer.power", "2", "--note", "n"]
  experiment = Fit.read([*args, "--data.path", "there"]).experiment
  saved = config_file.saved(experiment)
  assert again(saved) == experiment and saved["config_file"] == str(path)
  stage = experiment.stages["a"]
  assert (stage.width, stage.optimizer.power, experiment.note) == (5, 2, "n")
  with pytest.raises(BadInput, match=r"a\.width is 0; it must be at least 1"):
    Fit.read([*args, "--a.width", "0"])
  # Read again, as a command line of another day does, its classes are still the same ones.
  assert fields.changes(experiment, config_file.load(str(path))) == [
    "note: 'n' -> ''",
    "data.path: 'there' -> 'here'",
    "a.width: 5 -> 3",
    "a.optimizer.power: 2.0 -> 0.5",
  ]
  path.unlink()
  sys.modules.pop("vqlab_config_mine")
  with pytest.raises(BadInput, match=f"config file {path}, which is missing"):
    again(saved)


def test_what_may_change_on_resume():
  old = tiny.get_config()
  free = dataclasses.replace(
    with_tokenizer(steps=99, eval_every=3),
    parallel=dataclasses.replace(old.parallel, devices=2),
    log=dataclasses.replace(old.log, every=7),
    data=dataclasses.replace(old.data, num_threads=1),
  )
  assert fields.changes(old, free) == []
  bound = dataclasses.replace(with_tokenizer(batch_size=8), seed=3)
  assert fields.changes(old, bound) == ["seed: 0 -> 3", "tokenizer.batch_size: 16 -> 8"]
  other = dataclasses.replace(with_tokenizer(optimizer=SGD()), data=Folder(path="x"))
  assert fields.changes(old, other) == [
    "data: Digits -> Folder",
    "tokenizer.optimizer: Adam -> SGD",
  ]


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_load_and_are_recorded(name):
  experiment = config_file.load(name)
  assert again(config_file.saved(experiment)) == experiment and experiment.name == name
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
  experiment = config_file.load(name)
  tokenizer = experiment.stages["tokenizer"]
  assert tokenizer.coder(about_images(shape, 0)).shapes == (codes,)
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
  experiment = config_file.load(name)
  tokenizer, about = experiment.stages["tokenizer"], about_images((size, size, 3), 1000)
  assert tokenizer.coder(about).shapes == codes
  assert (tokenizer.channels, tokenizer.residual_channels, tokenizer.beta) == (128, 64, 0.25)
  assert (tokenizer.codebook.num_codes, tokenizer.codebook.dim) == (512, 64)
  tasks = run.abstract_tasks(Run(experiment, {}, about, dict))
  states = {n: parallel.abstract_state(t) for n, t in tasks.items() if isinstance(t, Task)}
  counts = {n: learn.parameter_count(s.params) for n, s in states.items()}
  assert counts | parameters == counts
  # Attention and the output stack at the top alone; everything below is told of what is above.
  assert len(codes) == len(counts) - 1 and all(n > 100e6 for s, n in counts.items() if s == "top")


@pytest.mark.parametrize("levels", [1, 4])
def test_any_number_of_levels(levels):
  names = [f"level{l}" for l in range(levels)]
  old = tiny2.get_config()
  prior = dataclasses.replace(old.stages["top"], num_cond_blocks=1)
  stages = {
    "tokenizer": VQVAE2Stage(downsamples=(*(1,) * (levels - 1), 2)),
    "extract": old.stages["extract"],
    **dict.fromkeys(names, prior),
  }
  experiment = Experiment("levels", stages=stages)
  tasks = run.abstract_tasks(Run(experiment, {}, about_images((64, 64, 3), 0), dict))
  shapes = tasks["level0"].spec["codes"]
  assert [c.shape for c in shapes] == [(16 >> l,) * 2 for l in reversed(range(levels))]


def about_images(shape, classes):
  """What a source of images says of its data."""
  names = [str(i) for i in range(classes)]
  return {"image_shape": shape, "num_classes": classes, "class_names": names, "variance": 0.1}


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (
      ["--data", "Foldr"],
      "--data is 'Foldr'; it must be one of ",
    ),
    (["--data.source", "folder"], "unknown field --data.source"),
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
    Fit.read(["tests/train/tiny.py", "--workdir", "x", *args])
  assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_overrides_reach_their_fields():
  experiment = Fit.read(
    ["tests/train/tiny.py", "--workdir", "x", "--tokenizer.steps", "7", "--data.image_size=16",
     "--prior.class_conditional", "False"]
  ).experiment  # fmt: skip
  assert experiment.stages["tokenizer"] == with_tokenizer(steps=7).stages["tokenizer"]
  assert experiment.data.image_size == 16
  assert experiment.stages["prior"].class_conditional is False


def test_a_part_of_another_class_keeps_the_fields_that_both_have():
  args = ["--workdir", "x", "--data.path", "p", "--data", "Folder", "--data.tile=8"]
  args += ["--tokenizer.optimizer", "SGD", "--tokenizer.optimizer.nesterov", "True"]
  experiment = Fit.read(["imagenet128", *args]).experiment
  assert experiment.data == Folder(path="p", tile=8, image_size=128, channels=3)
  assert experiment.stages["tokenizer"].optimizer == SGD(learning_rate=2e-4, nesterov=True)


@pytest.mark.parametrize(
  ("optimizer", "rates"),
  [
    (SGD(learning_rate=1.0, schedule="linear", warmup_steps=2), [0, 0.5, 1, 0.875, 0.5, 0]),
    (SGD(learning_rate=1.0, schedule="step"), [1, 1, 1, 1, 0.1, 0.01]),
    (SGD(learning_rate=1.0, schedule="cosine"), [1, None, None, None, 0.5, 0]),
    (SGD(learning_rate=1.0), [1] * 6),
  ],
)
def test_schedules(optimizer, rates):
  """At the steps 0, 1, 2, 3, 5 (6) and 10 of 10."""
  rate = schedule_of(optimizer, 10)
  at = [0, 1, 2, 3, 6 if optimizer.warmup_steps else 5, 10]
  for step, expected in zip(at, rates, strict=True):
    found = rate(step) if callable(rate) else rate
    assert expected is None or found == pytest.approx(expected, abs=1e-6), step


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = 1", "defines no get_config()"),
    ("def get_config(): return 3", "returned int, not an Experiment"),
    (
      "from train.images.vqvae import *\ndef get_config(): return VQVAEStage(stepz=3)",
      "VQVAEStage has no field 'stepz'; did you mean steps?",
    ),
  ],
)
def test_bad_config_files_are_named(tmp_path, text, message):
  path = tmp_path / "mine.py"
  path.write_text(text)
  with pytest.raises(BadInput) as error:
    config_file.load(str(path))
  assert str(error.value).endswith(message) and str(path) in str(error.value)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = 1\nx = = 2", "line 2: invalid syntax"),
    ("from train import config, nothing", "line 1: cannot import name 'nothing' from 'train'"),
    ("import nowhere.at_all", "line 1: No module named 'nowhere'"),
    ("import train\ntrain.nothing", "line 2: module 'train' has no attribute 'nothing'"),
    ("def get_config():\n  return Experimnt()", "line 2: name 'Experimnt' is not defined"),
  ],
)
def test_a_slip_in_a_config_file_is_one_line(tmp_path, capsys, text, message):
  path = tmp_path / "mine.py"
  path.write_text(text)
  with pytest.raises(BadInput) as error:
    config_file.load(str(path))
  assert str(error.value).startswith(f"{path}, {message}"), error.value
  assert "\n" not in str(error.value) and not capsys.readouterr().err


def test_what_else_a_config_file_raises_keeps_its_traceback_from_there_on(tmp_path, capsys):
  path = tmp_path / "mine.py"
  path.write_text("import json\ndef get_config():\n  return json.loads('{')")
  with pytest.raises(BadInput, match=f"^{path}, line 3: JSONDecodeError: Expecting"):
    config_file.load(str(path))
  trace = capsys.readouterr().err
  assert trace.startswith(f'Traceback (most recent call last):\n  File "{path}", line 3')
  assert "json/decoder.py" in trace and "config_file.py" not in trace


def test_what_only_looks_like_a_slip_of_a_config_file(tmp_path, capsys):
  path = tmp_path / "mine.py"
  path.write_text("def get_config(name):\n  pass")
  with pytest.raises(BadInput, match=rf"^{path}: get_config\(\) missing 1 required"):
    config_file.load(str(path))
  assert not capsys.readouterr().err
  path.write_text("import ast\ndef get_config():\n  return ast.literal_eval('1 +')")
  with pytest.raises(BadInput, match=f"^{path}, line 3: SyntaxError: invalid syntax"):
    config_file.load(str(path))


def test_unknown_config_names_the_nearest():
  with pytest.raises(BadInput, match=r"no config 'digts'; did you mean digits\?"):
    config_file.load("digts")


def test_stage_defaults_are_the_papers():
  stage = VQVAEStage()
  assert (stage.channels, stage.beta, stage.codebook.num_codes) == (256, 0.25, 512)
  assert stage.codebook.decay == 0.99
