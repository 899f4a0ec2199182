"""A VQ-VAE-2 run: extraction killed and resumed, what it leaves, the verbs that draw from it."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import ROOT, close_to, fit_in_two_processes, lines
from train import run
from train.codes.generation import of_run
from train.codes.tokenizer import TokenizerStage
from vqlab import generation

TINY2 = pathlib.Path(__file__).parents[1] / "tiny2.py"


@pytest.fixture(scope="module")
def hierarchy(train, environment, tmp_path_factory) -> pathlib.Path:
  """The folder of the run, finished; its extraction was killed twice, at random moments."""
  folder = tmp_path_factory.mktemp("runs") / "tiny2"
  command = [sys.executable, "-m", "train", "fit", str(TINY2), "--workdir", str(folder)]
  shards, rng = 0, random.Random(time.time_ns())
  for name, total in (("train", 60), ("held_out", 15)):
    process = subprocess.Popen(
      command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    shards = rng.randrange(1, total - 5)
    deadline = time.monotonic() + 240
    while len(list((folder / "extract" / name).glob("0*.array_record"))) < shards:
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "extract" / "done.json").exists(), "killed too late to tell anything"
  before = {p: p.stat().st_mtime_ns for p in (folder / "extract").glob("*/0*.array_record")}
  assert len(before) >= shards
  status, out, err = train("fit", TINY2, "--workdir", folder)
  assert status == 0, out + err
  assert all(p.stat().st_mtime_ns == t for p, t in before.items()), "whole shards were done again"
  return folder


@pytest.fixture(scope="module")
def done(hierarchy, data_dir):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TFDS_DATA_DIR", str(data_dir))
    return run.load(hierarchy)


def test_extracted_codes_are_exactly_the_data_set(done):
  """Every example once, in the data set's order, with its label and the codes of all levels."""
  tokenizer = done.the(TokenizerStage)
  coder = tokenizer.stage.coder(done.about)
  encode = jax.jit(lambda x: coder.encode(tokenizer.learned, coder.inputs({"image": x})))
  extracted = done.stages["extract"].learned
  assert extracted.keys() == done.splits.keys() == {"train", "eval"}
  for name, codes in extracted.items():
    images = done.splits[name]
    assert len(images) == len(codes) and codes.description.class_names == images.class_names
    pixels, labels = images.read(np.arange(len(images))).values()
    got = codes.read(np.arange(len(codes)))
    np.testing.assert_array_equal(got["label"], labels)
    blocks = [pixels[i : i + 8] for i in range(0, len(pixels), 8)]
    for l in range(2):
      expected = np.concatenate([np.asarray(encode(block)[l]) for block in blocks])
      np.testing.assert_array_equal(got["codes"][l], expected)


def test_what_a_run_leaves(hierarchy, done):
  assert list(done.stages) == ["tokenizer", "extract", "top", "bottom"]
  names = {p.relative_to(hierarchy).as_posix() for p in hierarchy.glob("*/*.png")}
  assert names == {
    "tokenizer/reconstructions.png", "tokenizer/codebook_usage_top.png",
    "tokenizer/codebook_usage_bottom.png", "top/samples.png", "bottom/samples.png",
    "bottom/redrawn.png",
  }  # fmt: skip
  records = [json.loads((hierarchy / s / "done.json").read_text()) for s in done.stages]
  top, bottom = records[2]["figures"], records[3]["figures"]
  total = top["bits_per_dim"] + bottom["bits_per_dim"]
  assert bottom["total_bits_per_dim"] == pytest.approx(total, rel=1e-6)
  # In bits a dimension of the image: 16 and 64 codes for 1,024 values.
  assert top["bits_per_dim"] == pytest.approx(top["nats_per_code"] * 16 / 1024 / np.log(2))
  counts = [
    np.unique(c, return_counts=True)[1]
    for c in done.stages["extract"].learned["eval"].read(np.arange(360))["codes"]
  ]
  for figures, count in zip((top, bottom), counts, strict=True):
    p = count / count.sum()
    assert figures["unigram_nats"] == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
  assert {r["stage"] for r in lines(hierarchy)} == {"tokenizer", "top", "bottom"}


def test_evaluate_says_what_fit_said(hierarchy, train):
  status, out, err = train("evaluate", hierarchy)
  assert status == 0 and not err
  for name in ("tokenizer", "extract", "top", "bottom"):
    assert name in out
  bottom = json.loads((hierarchy / "bottom" / "done.json").read_text())["figures"]
  assert f"{bottom['nats_per_code']:.4f} nats a code" in out
  assert f"{bottom['total_bits_per_dim']:.4f} bits" in out


@pytest.mark.slow
def test_fit_by_pmap_in_two_processes(hierarchy, environment, tmp_path):
  """Each writes every other shard; the same story as on a single device."""
  folder = tmp_path / "two"
  options = ("--parallel.mode", "pmap")
  fit_in_two_processes(TINY2, folder, environment | {"JAX_NUM_CPU_DEVICES": "2"}, *options)
  close_to(hierarchy, folder)
  shards = sorted(p.name for p in (folder / "extract" / "train").glob("0*"))
  assert shards == sorted(p.name for p in (hierarchy / "extract" / "train").glob("0*"))


def test_finished_stages_are_not_done_again(hierarchy, here):
  status, out, _ = here("fit", TINY2, "--workdir", hierarchy)
  assert status == 0
  for words in ("tokenizer: done (8 steps)", "extract: done", "bottom: done (8 steps)"):
    assert words in out


def picture(path):
  with Image.open(path) as image:
    return np.asarray(image)


@pytest.fixture(scope="module")
def digit(tmp_path_factory, done):
  path = tmp_path_factory.mktemp("pictures") / "digit.png"
  Image.fromarray(done.splits["eval"].read(np.arange(1))["image"][0, ..., 0]).save(path)
  return path


def test_sample(hierarchy, here, done, tmp_path):
  args = ("sample", hierarchy, "--num", 4, "--label", 3, "--temperature", 0.9)
  status, _, err = here(*args, "--output", tmp_path / "a.png")
  assert status == 0, err
  with np.load(tmp_path / "a.npz") as saved:
    assert saved["codes_0"].shape == (4, 4, 4) and saved["codes_1"].shape == (4, 8, 8)
    assert list(saved["labels"]) == [3] * 4
    drawn = saved["codes_0"], saved["codes_1"]
  source = of_run(done)
  codes = generation.sample_codes(
    jax.random.key(0), source.levels, 4, labels=np.full(4, 3, np.int32), temperature=0.9
  )
  for a, b in zip(drawn, codes, strict=True):
    np.testing.assert_array_equal(a, b)


def test_upsample_keeps_the_top_and_draws_the_rest(hierarchy, here, done, digit, tmp_path):
  args = ("upsample", hierarchy, digit, "--label", 0, "--num", 3, "--output", tmp_path)
  status, _, err = here(*args)
  assert status == 0, err
  top = done.stages["extract"].learned["eval"].read(np.arange(1))["codes"][0]
  with np.load(tmp_path / "digit.npz") as saved:
    np.testing.assert_array_equal(saved["codes_0"], np.repeat(top, 3, axis=0))
    assert len(np.unique(saved["codes_1"].reshape(3, -1), axis=0)) == 3
  assert picture(tmp_path / "digit.png").shape[1] > 4.5 * picture(tmp_path / "digit.png").shape[0]


def test_inpaint_keeps_what_is_known(hierarchy, here, digit, tmp_path):
  box = ("--box", 16, 16, 32, 32)
  args = ("inpaint", hierarchy, digit, *box, "--label", 0, "--num", 3, "--margin", 0)
  status, _, err = here(*args, "--output", tmp_path)
  assert status == 0, err
  with np.load(tmp_path / "digit.npz") as saved:
    drawn = (saved["codes_1"] != saved["codes_1"][:1]).any(axis=0)
    assert drawn[4:, 4:].any() and not drawn[:4].any() and not drawn[:, :4].any()


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["upsample", "{run}", "{digit}"], "--label is missing: the prior knows classes"),
    (["upsample", "{run}", "{digit}", "--label", "0", "--levels", "2"], "has 2 levels, of which"),
    (["upsample", "{run}", "gone.png", "--label", "0"], "gone.png: no such file"),
    (["upsample", "{run}"], "name at least one image"),
    (["upsample", "{run}", "{digit}", "--label", "ten"], "the data's classes are 0, 1, 2, 3,"),
    (["upsample", "{run}", "{digit}", "--output", "{digit}/.."], "which would be overwritten"),
    (["reconstruct", "{run}", "{digit}", "--output", "{digit}/.."], "which would be overwritten"),
    (
      ["inpaint", "{run}", "{digit}", "--label", "0", "--box", "0", "0", "33", "9"],
      "--box is 0 0 33 9; top < bottom and left < right within the image of 32x32",
    ),
    (["sample", "{run}", "--keep", "0.5"], "--keep needs a classifier to choose by"),
    (["sample", "{run}", "--top_k", "17"], "--top_k is 17; the prior has 16 codes"),
    (["sample", "{run}", "--classifier", "{run}"], "has no stage of the kind ClassifierStage"),
  ],
)
def test_bad_input(hierarchy, here, digit, args, message):
  status, _, err = here(*(a.format(run=hierarchy, digit=digit) for a in args))
  assert status == 2 and err.count("\n") == 1 and message in err, err


def test_damaged_codes_are_done_again_and_foreign_ones_refused(hierarchy, here, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(hierarchy, folder)
  shards = folder / "extract" / "held_out"
  victim = sorted(shards.glob("0*"))[3]
  whole, times = victim.read_bytes(), {p: p.stat().st_mtime_ns for p in shards.glob("0*")}
  victim.write_bytes(whole[:100])
  status, _, err = here("evaluate", folder)
  assert status == 2 and "codes are damaged" in err and "run fit again" in err
  status, out, err = here("fit", TINY2, "--workdir", folder)
  assert status == 0 and "what is damaged is done again" in out, err
  assert victim.read_bytes() == whole
  assert all(p.stat().st_mtime_ns == t for p, t in times.items() if p != victim)

  header = shards / "codes.json"
  header.write_text(header.read_text().replace('"source": "', '"source": "f00'))
  for args in (("evaluate", folder), ("fit", TINY2, "--workdir", folder)):
    status, _, err = here(*args)
    assert status == 2 and "codes of another tokenizer than the one in" in err, err


def test_a_stage_that_is_missing_is_named(hierarchy, here, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(hierarchy, folder)
  (folder / "extract" / "done.json").unlink()
  status, out, _ = here("evaluate", folder)
  assert status == 0 and "reconstruction MSE" in out and "nats a code" not in out
  status, _, err = here("sample", folder)
  assert status == 2 and "the stage 'top' is not finished; run fit again" in err
  (folder / "tokenizer" / "done.json").unlink()
  status, _, err = here("evaluate", folder)
  assert status == 2 and "its stage 'tokenizer' is not finished" in err


def test_the_number_of_priors_must_be_that_of_levels(here, tmp_path):
  args = ("fit", TINY2, "--workdir", tmp_path / "new", "--tokenizer.downsamples", 1, 1, 1)
  status, _, err = here(*args)
  message = "top: the tokenizer has 3 levels, the experiment priors for 2 (top, bottom)"
  assert status == 2 and message in err
  assert not (tmp_path / "new").exists()
