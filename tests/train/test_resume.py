"""Killed, stopped, cut off, changed: what a run resumes from, and what it ends with."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import ROOT, TINY, assert_same_run, lines, states_of

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def assert_same_end(a, b) -> None:
  assert_same_run(a, b)
  for stage in ("tokenizer", "prior"):
    figures = [json.loads((x / stage / "done.json").read_text())["figures"] for x in (a, b)]
    assert figures[0] == figures[1]


@pytest.fixture
def prepared(data_dir, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


@pytest.fixture(scope="module")
def start(environment):
  """Starts a fit in the background."""

  def start(folder, *args) -> subprocess.Popen:
    command = [sys.executable, "-m", "train", "fit", TINY, "--workdir", folder, *args]
    return subprocess.Popen(
      [*map(str, command)],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  return start


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture
def go_on(here):
  """`fit` of a folder in this process, on one device: where nothing dies, and where the result
  need not be `tiny_run`'s to the last bit (a process of 8 devices may round differently)."""

  def go_on(folder, *args) -> tuple[int, str, str]:
    return here("fit", TINY, "--workdir", folder, "--parallel.devices", 1, *args)

  return go_on


# The program prints its warnings; where it runs in this process, they must not be raised instead.
warns_of_checkpoints = pytest.mark.filterwarnings("default:checkpoint .* can't be read")


def wait_for(condition, process, timeout: float = 120) -> None:
  deadline = time.monotonic() + timeout
  while not condition():
    assert process.poll() is None, process.stdout.read()
    assert time.monotonic() < deadline, "the run did not get there"
    time.sleep(0.002)


def count(folder) -> int:
  path = folder / "metrics.jsonl"
  return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow  # audio/test_stages.py proves it of one kill
def test_killed_again_and_again_it_ends_as_if_nothing_happened(
  tiny_run, start, train, tmp_path, prepared
):
  folder = tmp_path / "killed"
  total, rng = count(tiny_run), np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
  for part in (0.1, 0.35, 0.7):
    process = start(folder)
    wait_for(lambda part=part: count(folder) >= part * total, process)
    time.sleep(rng.uniform(0, 0.3))  # anywhere: while training, evaluating, saving
    process.kill()
    process.communicate()
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  assert "warning" not in err
  assert_same_end(folder, tiny_run)


def test_sigterm_saves_and_has_a_status_of_its_own(tiny_run, start, train, tmp_path, prepared):
  folder = tmp_path / "stopped"
  process = start(folder, "--log.every", "1")
  wait_for(lambda: count(folder) >= 3, process)
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 75, out
  assert "preempted: tokenizer stopped after step" in out
  steps = [int(p.name) for p in (folder / "tokenizer/checkpoints").glob("[0-9]*")]
  assert f"after step {max(steps)};" in out
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  ours, theirs = states_of(folder), states_of(tiny_run)
  for path in ours:
    np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)


def test_finished_runs_do_nothing_again(tiny_run, here):
  before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*") if p.is_file()}
  status, out, _ = here("fit", TINY, "--workdir", tiny_run)
  assert status == 0 and "tokenizer: done (12 steps)" in out and "prior: done (12 steps)" in out
  after = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*") if p.is_file()}
  changed = {p.name for p in after if before.get(p) != after[p]}
  assert changed <= {"config.json", ".lock"}


def test_a_finished_run_that_can_only_be_read_is_seen_to_be_done(tiny_run, here, monkeypatch):
  def refuse(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr("train.workdir.open", refuse, raising=False)
  monkeypatch.setattr("train.workdir.write_json", refuse)
  status, out, err = here("fit", TINY, "--workdir", tiny_run)
  assert status == 0 and "prior: done (12 steps)" in out, err
  status, _, err = here("fit", TINY, "--workdir", tiny_run, "--prior.steps", 14)
  assert status == 2 and f"--workdir {tiny_run} can't be written: Read-only file system" in err


def test_keeps_the_latest_and_the_best(tiny_run):
  for stage in ("tokenizer", "prior"):
    kept = sorted(int(p.name) for p in (tiny_run / stage / "checkpoints").glob("[0-9]*"))
    figure = {"tokenizer": "mse", "prior": "nats_per_code"}[stage]
    scores = {
      r["step"]: r[figure] for r in lines(tiny_run) if r["kind"] == "eval" and r["stage"] == stage
    }
    assert set(scores) == {6, 12}
    best = min(scores, key=scores.get)
    assert kept == sorted({8, 12, best})
    record = json.loads((tiny_run / stage / "done.json").read_text())
    assert record["figures"][figure] == scores[best]


@pytest.mark.parametrize("damage", ["truncated", pytest.param("missing", marks=pytest.mark.slow)])
def test_a_checkpoint_cut_off_half_way_gives_way_to_the_one_before(
  tiny_run, train, tmp_path, damage, prepared
):
  folder = tmp_path / "cut"
  shutil.copytree(tiny_run, folder)
  (folder / "prior/done.json").unlink()
  newest = folder / "prior/checkpoints/12"
  files = [p for p in newest.rglob("*") if p.is_file() and p.stat().st_size > 2000]
  assert files
  for path in files:
    if damage == "truncated":
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
      path.unlink()
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  assert f"warning: checkpoint {newest} can't be read" in err
  assert_same_end(folder, tiny_run)


@warns_of_checkpoints
def test_damaged_figures_give_way_and_where_nothing_can_be_read_nothing_is_touched(
  tiny_run, train, go_on, tmp_path, prepared
):
  folder = tmp_path / "figures"
  shutil.copytree(tiny_run, folder)
  (folder / "prior/done.json").unlink()
  checkpoints = folder / "prior/checkpoints"
  (checkpoints / "12/metrics/metrics").write_text("")
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0 and f"warning: checkpoint {checkpoints / '12'} can't be read" in err, out + err
  assert_same_end(folder, tiny_run)

  (folder / "prior/done.json").unlink()
  for path in checkpoints.glob("[0-9]*/default/**/*"):
    if path.is_file() and path.stat().st_size > 2000:
      path.write_bytes(b"")
  names = sorted(p.name for p in checkpoints.iterdir())
  for _ in range(2):
    status, _, err = go_on(folder)
    assert status == 1 and f"no checkpoint in {checkpoints} can be read" in err
  assert sorted(p.name for p in checkpoints.iterdir()) == names


def test_a_length_cut_to_a_step_not_evaluated_is_evaluated_there(tiny_run, go_on, tmp_path):
  folder = tmp_path / "cut-short"
  shutil.copytree(tiny_run, folder)
  (folder / "prior/done.json").unlink()
  shutil.rmtree(folder / "prior/checkpoints/12")
  for path in (folder / "prior/checkpoints").glob("[0-9]*"):
    if path.name != "8":
      shutil.rmtree(path)
  status, out, err = go_on(folder, "--prior.steps", 8)
  assert status == 0, out + err
  record = json.loads((folder / "prior/done.json").read_text())
  assert record["steps"] == 8 and np.isfinite(record["figures"]["nats_per_code"])


def test_other_data_is_refused(here, tmp_path):
  photos, folder = tmp_path / "photos", tmp_path / "run"
  for name in "abcdefghij":
    for label in ("x", "y"):
      (photos / label).mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.full((32, 32), ord(name), np.uint8)).save(photos / label / f"{name}.png")
  args = ("fit", TINY, "--workdir", folder, "--data", "Folder", "--data.path", photos,
          "--tokenizer.steps", 2, "--prior.steps", 2, "--parallel.devices", 1)  # fmt: skip
  status, out, err = here(*args)
  assert status == 0, out + err
  Image.fromarray(np.zeros((32, 32), np.uint8)).save(photos / "x" / "k.png")
  status, _, err = here(*args)
  assert status == 2 and "was begun with other data (folder/" in err and err.count("\n") == 1


@pytest.mark.slow
def test_an_uncommitted_checkpoint_is_not_restored(tiny_run, train, tmp_path, prepared):
  folder = tmp_path / "uncommitted"
  shutil.copytree(tiny_run, folder)
  (folder / "prior/done.json").unlink()
  checkpoints = folder / "prior/checkpoints"
  (checkpoints / "12").rename(checkpoints / "12.orbax-checkpoint-tmp")
  (checkpoints / "12.orbax-checkpoint-tmp/commit_success.txt").unlink(missing_ok=True)
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  assert_same_end(folder, tiny_run)


def test_a_changed_config_is_refused_by_field(tiny_run, here):
  before = (tiny_run / "config.json").read_bytes()
  status, _, err = here(
    "fit", TINY, "--workdir", tiny_run, "--seed", 3, "--tokenizer.codebook.num_codes", 8
  )
  assert status == 2 and err.count("\n") == 1
  assert "seed: 0 -> 3; tokenizer.codebook.num_codes: 16 -> 8" in err
  assert (tiny_run / "config.json").read_bytes() == before


def test_lengths_may_vary_but_not_beneath_a_later_stage(tiny_run, go_on, tmp_path):
  folder = tmp_path / "longer"
  shutil.copytree(tiny_run, folder)
  status, _, err = go_on(folder, "--tokenizer.steps", 14)
  assert status == 2 and "tokenizer.steps: 12 -> 14, but prior was begun with" in err
  status, out, err = go_on(folder, "--prior.steps", 14)
  assert status == 0 and "tokenizer: done (12 steps)" in out, out + err
  assert [r["step"] for r in lines(folder) if r["stage"] == "prior"][-1] == 14


def test_two_runs_on_one_workdir_the_second_is_refused(start, here, tmp_path):
  folder = tmp_path / "shared"
  process = start(folder, "--tokenizer.steps", "100000")
  try:
    wait_for(lambda: count(folder) >= 1, process)
    status, _, err = here("fit", TINY, "--workdir", folder, "--tokenizer.steps", "100000")
    assert status == 2 and f"--workdir {folder} is in use by another run" in err
  finally:
    process.kill()
    process.communicate()


def test_nan_stops_the_run_names_the_step_and_keeps_the_last_good_checkpoint(go_on, tmp_path):
  folder = tmp_path / "nan"
  status, _, err = go_on(
    folder, "--tokenizer.optimizer.learning_rate", "1e38", "--tokenizer.checkpoint_every", "1"
  )
  assert status == 1 and err.count("\n") == 1, err
  assert "is nan at step" in err or "is inf at step" in err or "is not finite at step" in err
  bad = int(re.search(r"at step (\d+)", err)[1])
  steps = [int(p.name) for p in (folder / "tokenizer/checkpoints").glob("[0-9]*")]
  if bad == 1:
    assert "there is no checkpoint yet" in err and not steps
  else:
    assert f"the checkpoint of step {bad - 1} stands" in err and max(steps) == bad - 1
  assert all(np.isfinite(r["loss"]) for r in lines(folder) if "loss" in r)
