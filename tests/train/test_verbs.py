"""The command line: what each verb writes and says, and one line for whatever can't be used."""

import json
import pathlib
import shutil
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import TINY, lines
from train import run
from train.codes.tokenizer import TokenizerStage
from train.errors import BadInput
from train.images.prior import PriorStage
from train.images.sources import Digits
from vqlab import priors
from vqlab.autoencoders import vqvae

STAGES = ("tokenizer", "prior")


def test_fit_leaves_what_it_promises(tiny_run):
  names = {p.name for p in tiny_run.iterdir()}
  assert {"config.json", "metrics.jsonl"} <= names
  files = {stage: {p.name for p in (tiny_run / stage).glob("*.png")} for stage in STAGES}
  assert files["tokenizer"] == {"reconstructions.png", "codebook_usage.png"}
  assert files["prior"] == {"samples.png"}
  assert any(name.startswith("events.out.tfevents") for name in names)
  for picture in tiny_run.glob("*/*.png"):
    with Image.open(picture) as image:
      image.load()
      assert image.mode == "RGB" and min(image.size) > 100
  records = lines(tiny_run)
  assert [r["step"] for r in records if r["stage"] == "prior" and r["kind"] == "train"] == [
    2, 4, 6, 8, 10, 12
  ]  # fmt: skip
  assert {"loss", "mse", "perplexity", "grad_norm"} <= records[0].keys()
  steps = [(r["stage"] != "tokenizer", r["step"]) for r in records]
  assert steps == sorted(steps)


def test_last_table(tiny_run, here):
  status, out, err = here("fit", TINY, "--workdir", tiny_run)
  assert status == 0 and not err
  for word in ("reconstruction MSE", "PSNR", "code perplexity", "log K", "12 steps, "):
    assert word in out
  assert f"picture: {tiny_run / 'prior' / 'samples.png'}" in out


@pytest.fixture(scope="module")
def evaluated(tiny_run, train) -> tuple[int, str, str]:
  """What `evaluate` on one device says of the tiny run."""
  return train("evaluate", tiny_run)


def test_evaluate_gives_the_figures_anew(tiny_run, evaluated):
  status, out, err = evaluated
  assert status == 0 and not err
  for stage in ("tokenizer", "prior"):
    figures = json.loads((tiny_run / stage / "done.json").read_text())["figures"]
    name = {"tokenizer": "mse", "prior": "nats_per_code"}[stage]
    shown = f"{figures[name]:.6f}" if name == "mse" else f"{figures[name]:.4f} nats"
    assert shown in out
  assert "judge, on samples" in out and "right" in out


@pytest.mark.slow
def test_evaluate_on_eight_devices_gives_the_same(tiny_run, train, evaluated):
  _, one, _ = evaluated
  status, many, err = train("evaluate", tiny_run, JAX_NUM_CPU_DEVICES="8")
  assert status == 0 and many == one, err


def test_sample(tiny_run, train, tmp_path):
  output = tmp_path / "new" / "seven.png"
  args = ("sample", tiny_run, "--num", 5, "--label", 7, "--temperature", 0.7, "--top_k", 9)
  status, out, err = train(*args, "--output", output)
  assert status == 0 and str(output) in out, err
  with np.load(output.with_suffix(".npz")) as saved:
    assert saved["codes"].shape == (5, 4, 4) and saved["codes"].max() < 16
    assert list(saved["labels"]) == [7] * 5
    codes = saved["codes"]
  again = tmp_path / "again.png"
  train(*args, "--output", again)
  assert again.read_bytes() == output.read_bytes()
  with np.load(again.with_suffix(".npz")) as saved:
    np.testing.assert_array_equal(saved["codes"], codes)


def test_reconstruct(tiny_run, here, tmp_path):
  rng = np.random.default_rng(0)
  paths = [tmp_path / "colour.jpg", tmp_path / "grey.png"]
  Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)).save(paths[0])
  Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(paths[1])
  status, out, err = here("reconstruct", tiny_run, *paths, "--output", tmp_path / "out")
  assert status == 0, err
  for path in paths:
    with Image.open(tmp_path / "out" / f"{path.stem}.png") as picture:
      assert picture.size[0] > 1.9 * picture.size[1]  # side by side
    figures = json.loads((tmp_path / "out" / f"{path.stem}.json").read_text())
    with np.load(tmp_path / "out" / f"{path.stem}.npz") as saved:
      assert saved["codes"].shape == (4, 4)
    assert f"{figures['psnr']:.2f}" in out


def test_load_gives_models_states_and_config(tiny_run, data_dir, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  done = run.load(tiny_run)
  assert list(done.stages) == ["tokenizer", "prior"] and done.config.name == "tiny"
  tokenizer, prior = done.the(TokenizerStage), done.the(PriorStage)
  batch = done.splits["eval"].read(np.arange(4))
  images = batch["image"].astype(np.float32) / 255 - 0.5
  (codes,) = vqvae.encode(tokenizer.model, *tokenizer.learned, images)
  nats = -priors.log_prob(prior.model, prior.learned.params, codes, cond=batch["label"])
  assert codes.shape == (4, 4, 4) and nats.shape == (4,) and bool((nats > 0).all())
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(prior.learned))


def test_dry_run_writes_nothing(train, tmp_path):
  folder = tmp_path / "dry"
  status, out, err = train("fit", TINY, "--workdir", folder, "--dry_run", JAX_NUM_CPU_DEVICES="8")
  assert status == 0, err
  assert not folder.exists()
  for words in (
    "tokenizer.codebook.num_codes = 16",
    "digits/1.0.0: image_shape [32, 32, 1], num_classes 10",
    "tokenizer   examples: train 1,437, eval 360",
    "8 devices (cpu), 1 processes",
    "steps of 16, 2 a device",
    "MiB a device",
    "parameters",
  ):
    assert words in out, words


LONG = "n" * 300
BAD = {
  "no such verb": (["fti"], "unknown verb 'fti'; known: fit, evaluate, sample, reconstruct"),
  "typo": (["fit", TINY, "--workdir", "{new}", "--tokenizer.steos", "3"], "did you mean --tokeni"),
  "type": (["fit", TINY, "--workdir", "{new}", "--tokenizer.steps", "x"], "--tokenizer.steps"),
  "no workdir": (["fit", TINY], "--workdir"),
  "K": (["fit", TINY, "--workdir", "{new}", "--tokenizer.codebook.num_codes", "0"], "at least 1"),
  "D": (["fit", TINY, "--workdir", "{new}", "--tokenizer.codebook.dim", "-1"], "at least 1"),
  "kernel": (["fit", TINY, "--workdir", "{new}", "--prior.kernel_size", "4"], "prior: kernel_size"),
  "devices": (
    ["fit", TINY, "--workdir", "{new}", "--prior.batch_size", "17", "--parallel.devices", "2"],
    "prior.batch_size is 17, which 2 devices do not divide; the nearest that they do is 16",
  ),
  "stride": (
    ["fit", TINY, "--workdir", "{new}", "--data.image_size", "30"],
    "tokenizer: VQVAE: image height and width must be multiples of 8 = 2^num_downsamples; found 3",
  ),
  "empty folder": (
    ["fit", TINY, "--workdir", "{new}", "--data", "Folder", "--data.path", "{empty}"],
    "{empty}",
  ),
  "no image": (
    ["fit", TINY, "--workdir", "{new}", "--data", "Folder", "--data.path", "{broken}"],
    "{broken}/b.png",
  ),
  "no dataset": (
    ["fit", TINY, "--workdir", "{new}", "--data", "Tfds", "--data.name", "mnits"],
    "mnits",
  ),
  "foreign folder": (
    ["fit", TINY, "--workdir", "{broken}"],
    "holds no experiment but a.png, b.png",
  ),
  "other experiment": (
    ["fit", "digits", "--workdir", "{tiny}"],
    "holds the experiment 'tiny', not 'digits'",
  ),
  "not a run": (["evaluate", "{empty}"], "holds no experiment: {empty}/config.json is missing"),
  "label": (
    ["sample", "{tiny}", "--label", "ten"],
    "--label is 'ten'; the data's classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
  ),
  "temperature": (["sample", "{tiny}", "--temperature", "-1"], "--temperature is -1.0"),
  "top_k": (["sample", "{tiny}", "--top_k", "99"], "--top_k is 99; the prior has 16 codes"),
  "seed": (["sample", "{tiny}", "--seed", "-1"], "--seed is -1; it must be at least 0"),
  "output": (
    ["sample", "{tiny}", "--output", "."],
    "--output is .; it must be a file that ends in",
  ),
  "output in a file": (
    ["sample", "{tiny}", "--num", "1", "--output", "{broken}/a.png/x.png"],
    "{broken}/a.png/x.png can't be written",
  ),
  "same names": (["reconstruct", "{tiny}", "a/x.png", "b/x.jpg"], "a/x.png: another image has the"),
  "a file for a run": (["evaluate", "{broken}/a.png"], "{broken}/a.png holds no experiment"),
  "a file on the way": (
    ["fit", TINY, "--workdir", "{broken}/a.png/new"],
    "{broken}/a.png is a file",
  ),
  "a link to nowhere": (
    ["fit", TINY, "--workdir", "{link}/new"],
    "{link} is a link to nowhere; it must be a folder or not exist",
  ),
  "judge": (
    ["fit", TINY, "--workdir", "{new}", "--prior.judge_size", "64"],
    "prior: judge_size is 64; the images are 32x32, and they can only be shrunk",
  ),
  "a batch beyond memory": (
    ["fit", TINY, "--workdir", "{new}", "--tokenizer.batch_size", "2000000000"],
    "tokenizer: its state takes 0.0 GiB and a batch ",
  ),
  "an evaluation beyond memory": (
    ["fit", TINY, "--workdir", "{new}", "--tokenizer.eval_batch_size", "2000000000"],
    "GiB of each device's",
  ),
  "a state beyond memory": (
    [
      "fit",
      TINY,
      "--workdir={new}",
      "--tokenizer.codebook.num_codes",
      "9" * 9,
      "--dry_run",
      "--parallel.memory",
      "30",
    ],
    "tokenizer: its state takes 33.5 GiB and a batch 0.0 GiB of each device's 30.0; lower",
  ),
  "an image beyond all": (
    ["fit", TINY, "--workdir", "{new}", "--data.image_size", "100000000000"],
    "data.image_size is 100000000000; it must be at most 16384",
  ),
  "a size beyond 32 bits": (
    ["fit", TINY, "--workdir", "{new}", "--tokenizer.codebook.num_codes", "100000000000"],
    "tokenizer: a size is too large (Python integer 100000000000 out of bounds for int32)",
  ),
  "float64": (
    ["fit", TINY, "--workdir", "{new}", "--tokenizer.dtype", "float64"],
    "tokenizer.dtype is float64; set JAX_ENABLE_X64=1 as well",
  ),
  "no cluster": (
    ["fit", TINY, "--workdir", "{new}", "--parallel.num_processes", "2"],
    "parallel.distributed is False; set it to True",
  ),
  "top_p": (["sample", "{tiny}", "--top_p", "2"], "--top_p is 2.0; it must be at most 1"),
  "num": (["sample", "{tiny}", "--num", "0"], "--num is 0; it must be at least 1"),
  "no file": (["reconstruct", "{tiny}", "{empty}/x.png"], "{empty}/x.png: no such file"),
  "a long name": (["fit", TINY, "--workdir", LONG], f"error: {LONG}: File name too long"),
  "a long name's image": (["reconstruct", "{tiny}", LONG], f"error: {LONG}: File name too long"),
  "home": (["evaluate", "~/no/run"], f"{pathlib.Path.home()}/no/run holds no experiment"),
  "home after =": (
    ["fit", TINY, "--workdir={new}", "--data=Folder", "--data.path=~/no"],
    f"data.path: no folder '{pathlib.Path.home()}/no'",
  ),
  "no picture": (["reconstruct", "{tiny}", "{broken}/b.png"], "{broken}/b.png: not an image"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_run):
  root = tmp_path_factory.mktemp("places")
  (root / "empty").mkdir()
  (root / "broken").mkdir()
  (root / "link").symlink_to("nowhere")
  Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "broken" / "a.png")
  (root / "broken" / "b.png").write_text("no picture")
  return {"tiny": tiny_run, **{name: root / name for name in ("empty", "broken", "link", "new")}}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_status_2_and_nothing_written(
  case, places, data_dir, capsys, monkeypatch
):
  from train.__main__ import main

  if case == "devices" and jax.device_count() < 2:
    pytest.skip("one device")
  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
  roots = [places[name] for name in ("tiny", "empty", "broken")] + [data_dir]

  def everything():
    return {p: p.stat().st_mtime_ns for root in roots for p in root.rglob("*") if p.is_file()}

  args, message = BAD[case]
  before = everything()
  status = main([str(a).format(**places) for a in args])
  err = capsys.readouterr().err
  assert status == 2
  assert err.startswith("error: ") and err.count("\n") == 1, err
  assert message.format(**places) in err
  assert not places["new"].exists() and everything() == before


@pytest.mark.parametrize(("platform", "verb"), [("cuda", "evaluate"), ("nosuch", "fit")])
def test_a_platform_without_devices_is_one_line(platform, verb, train, tiny_run, tmp_path):
  if jax.default_backend() == "gpu":
    pytest.skip("it has devices")
  args = {"evaluate": [tiny_run], "fit": [TINY, "--workdir", tmp_path / "new"]}[verb]
  status, _, err = train(verb, *args, JAX_PLATFORMS=platform)
  assert status == 2 and err.startswith(f"error: JAX_PLATFORMS is '{platform}': "), err
  assert err.count("\n") == 1 and not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["[]", "{}", '{"kind": "VQVAEExperiment"', ""])
@pytest.mark.parametrize("name", ["config.json", "prior/done.json"])
def test_damaged_records_are_named(name, damage, tiny_run, tmp_path, capsys, data_dir, monkeypatch):
  from train.__main__ import main

  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
  folder = tmp_path / "run"
  shutil.copytree(tiny_run, folder)
  (folder / name).write_text(damage)
  for args in (["evaluate", str(folder)], ["fit", str(TINY), "--workdir", str(folder)]):
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {folder / name} is damaged") and err.count("\n") == 1, err


def test_missing_and_foreign_checkpoints(tiny_run, here, tmp_path):

  folder = tmp_path / "run"
  shutil.copytree(tiny_run, folder)
  shutil.rmtree(folder / "prior/checkpoints")
  status, _, err = here("evaluate", folder)
  assert status == 2 and err.count("\n") == 1
  assert f"has no checkpoint of prior: {folder / 'prior/checkpoints'} is missing" in err
  shutil.copytree(folder / "tokenizer/checkpoints", folder / "prior/checkpoints")
  status, _, err = here("evaluate", folder)
  assert status == 2 and err.count("\n") == 1, err


def test_a_checkpoint_of_another_model_names_its_leaves(tiny_run, here, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(tiny_run, folder)
  saved = json.loads((folder / "config.json").read_text())
  saved["config"]["stages"]["tokenizer"]["codebook"]["dim"] = 5
  (folder / "config.json").write_text(json.dumps(saved))
  status, _, err = here("evaluate", folder)
  assert status == 2 and err.count("\n") == 1, err
  assert (
    "is of another model: params.network.from_codes.kernel is (3, 3, 4, 8), not (3, 3, 5" in err
  )


def test_what_draws_does_without_the_data(tiny_run, here, tmp_path, monkeypatch):
  """Shapes and names of classes are kept with the run; what needs the data says so."""

  def gone(self):
    raise BadInput("the data are gone")

  monkeypatch.setattr(Digits, "dataset", gone)
  Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "x.png")
  for args in (("sample", "--num", 2, "--output", tmp_path / "a.png"),
               ("reconstruct", tmp_path / "x.png", "--output", tmp_path / "out"),
               ("inpaint", tmp_path / "x.png", "--box", 0, 0, 9, 9, "--label", "3", "--num", 1,
                "--output", tmp_path / "in")):  # fmt: skip
    status, _, err = here(args[0], tiny_run, *args[1:])
    assert status == 0, err
  status, _, err = here("evaluate", tiny_run)
  assert status == 2 and err == "error: the data are gone\n"


def test_a_run_of_version_0_1_loads_samples_evaluates_and_goes_on(here, tmp_path):
  with zipfile.ZipFile(TINY.parent / "golden" / "run_0_1.zip") as archive:
    archive.extractall(tmp_path)
  folder = tmp_path / "run"
  records = [json.loads((folder / stage / "done.json").read_text()) for stage in STAGES]
  status, out, err = here("evaluate", folder)
  assert status == 0, err
  assert f"{records[0]['figures']['psnr']:.2f} dB" in out
  assert f"{records[1]['figures']['nats_per_code']:.4f}" in out
  status, _, err = here("sample", folder, "--num", 2, "--output", tmp_path / "a.png")
  assert status == 0, err
  again = ("fit", TINY, "--workdir", folder, "--parallel.devices", 1)
  status, _, err = here(*again, "--data", "Folder")
  assert status == 2 and "data: Digits -> Folder" in err
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    status, out, err = here(*again, "--prior.steps", 14)
  assert status == 0 and "prior: " in out and "resumed after step 12" in out, err
