"""Frames that are foretold: what is looked at, how they are judged, every device the same."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train import tiny_frames
from tests.train.conftest import (
  assert_same,
  assert_same_run,
  one_device,
  replaced,
  steps_of,
  survives_being_killed,
  untrained,
)
from train import parallel, run
from train.config import Parallel
from train.errors import BadInput
from train.video import foretelling
from train.video.episodes import Episodes
from train.video.prior import FramePriorStage
from train.video.sources import MovingDigits, VideoArrays
from train.video.videos import leading
from train.video.vqvae import VideoVQVAEStage

TINY = pathlib.Path(tiny_frames.__file__)


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def frames_run(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "frames"
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  return folder, out


def test_fit_says_and_shows_how_near_it_came(frames_run):
  folder, out = frames_run
  figures = json.loads((folder / "prior" / "done.json").read_text())["figures"]
  assert figures["psnr_gain_low"] <= figures["psnr_gain"] <= figures["psnr_gain_high"]
  assert all(figures[f"psnr_{name}"] > 4 for name in ("predicted", "last", "reconstructed"))
  assert 0 <= figures["in_place"] <= 1 and 0 <= figures["changed_by_actions"] <= 1
  for words in ("PSNR of predicted frames", "that of the last given frame", "that other actions"):
    assert words in out
  for stage, name in (("tokenizer", "reconstructions"), ("prior", "predictions")):
    with Image.open(folder / stage / f"{name}.png") as sheet:
      assert sheet.mode == "RGB" and min(sheet.size) > 100
    with Image.open(folder / stage / f"{name}.gif") as moving:
      assert moving.n_frames == 5
  table = (folder / "prior" / "predictions.csv").read_text().splitlines()
  assert len(table) == 21 and table[0].startswith("video,PSNR predicted")


def oracle_of(folder):
  done = run.load(folder)
  prior, tokenizer = done.the(FramePriorStage), done.the(VideoVQVAEStage)
  oracle = prior.stage.oracle(done.about, tokenizer, prior.model, prior.learned)
  batch = Episodes(done.splits["eval"], 5).read(np.arange(3), None)
  return oracle, {name: np.asarray(x) for name, x in batch.items()}


def test_later_frames_are_not_looked_at(frames_run):
  oracle, batch = oracle_of(frames_run[0])
  drawn = foretelling.foretell(oracle, batch, 3, seed=0)
  hidden = batch | {"clip": batch["clip"].copy()}
  hidden["clip"][:, 3:] = 200
  again = foretelling.foretell(oracle, hidden, 3, seed=0)
  np.testing.assert_array_equal(drawn.codes, again.codes)
  (codes,) = oracle.coder.encode(oracle.trained, oracle.coder.inputs(batch))
  np.testing.assert_array_equal(drawn.codes[:, :3], codes[:, :3])
  alone = foretelling.foretell(oracle, {n: x[:1] for n, x in batch.items()}, 3, seed=0)
  np.testing.assert_array_equal(drawn.codes[:1], alone.codes)


def test_the_place_of_what_is_seen():
  frames = MovingDigits(length=5).open()["eval"].read(3, np.arange(5))[None]
  np.testing.assert_array_equal(foretelling.displacement(frames, frames), 0)
  moved = np.roll(frames, (3, -4), (2, 3))
  np.testing.assert_array_equal(foretelling.displacement(moved, frames), 5)
  assert foretelling.displacement(frames[:, ::-1], frames).max() > 5
  assert np.isinf(foretelling.displacement(np.zeros_like(frames), frames)).all()


def test_actions_lead_to_their_frames(tmp_path):
  """Of an array, what was done after the frame before; the first frame of a video has none."""
  rng = np.random.default_rng(0)
  done = rng.normal(size=(4, 6, 2)).astype(np.float32)
  videos = rng.integers(0, 256, (4, 6, 8, 8, 3)).astype(np.uint8)
  np.savez(tmp_path / "v.npz", videos=videos, labels=np.arange(4) % 2, actions=done)
  source = VideoArrays(path=str(tmp_path / "v.npz"), eval_fraction=0.5)
  splits = source.open()
  assert source.about(splits)["action_dim"] == 2
  held_out = splits["eval"]
  row = int(held_out.names[0].split()[-1])
  batch = Episodes(held_out, 4).read(np.array([0]), None)  # frames 1 to 4, in the middle
  np.testing.assert_array_equal(batch["clip"][0], videos[row, 1:5])
  np.testing.assert_array_equal(batch["action"][0], done[row, 0:4])
  np.testing.assert_array_equal(held_out.actions(0, np.arange(2)), [[0, 0], done[row, 0]])
  other = VideoArrays(path=source.path, eval_fraction=0.5, fold=1).open()["eval"]
  assert not set(other.names) & set(held_out.names)
  assert sorted((*other.names, *held_out.names)) == [f"v.npz {i}" for i in range(4)]


def test_directions_are_actions():
  videos = MovingDigits(length=4).open()["train"]
  found = videos.actions(5, np.arange(4))
  assert not found[0].any() and (found[1:].argmax(1) == videos.labels[5]).all()


@pytest.mark.parametrize(
  ("actions", "line"),
  [
    (np.zeros((4, 5, 2)), r"actions must be \[4, 6\] and a third axis, .* found \[4, 5, 2\]"),
    (np.full((4, 6, 2), np.nan), "actions are float64, or not finite"),
  ],
)
def test_actions_of_another_length(tmp_path, actions, line):
  videos = np.zeros((4, 6, 8, 8, 3), np.uint8)
  np.savez(tmp_path / "v.npz", videos=videos, labels=np.arange(4) % 2, actions=actions)
  with pytest.raises(BadInput, match=line):
    VideoArrays(path=str(tmp_path / "v.npz"), eval_fraction=0.5).open()


def test_predict_frames(frames_run, here, tmp_path):
  folder, _ = frames_run
  status, out, err = here("predict-frames", folder, "--num", 2, "--output", tmp_path / "a.png")
  assert status == 0 and "3 frames given, 2 drawn" in out, err
  frames = MovingDigits(length=5).open()["eval"].read(3, np.arange(5))
  np.save(tmp_path / "video.npy", frames.repeat(3, axis=-1))
  np.save(tmp_path / "actions.npy", np.eye(6, dtype=np.float32)[[0] * 7])
  args = ("predict-frames", folder, tmp_path / "video.npy", "--actions", tmp_path / "actions.npy")
  status, out, err = here(*args, "--frames", 5, "--output", tmp_path / "b.png")
  assert status == 0, err
  for name, frames in (("a", 5), ("b", 8)):
    with Image.open(tmp_path / f"{name}.gif") as moving:
      assert moving.n_frames == frames
    with np.load(tmp_path / f"{name}.npz") as saved:
      assert saved["codes"].shape == (2 if name == "a" else 1, frames, 7, 7)


def test_a_file_is_foretold_as_the_same_video_of_the_run(frames_run, here, tmp_path):
  folder, _ = frames_run
  videos = MovingDigits(length=5).open()["eval"]
  np.save(tmp_path / "video.npy", videos.read(0, np.arange(5)).repeat(3, axis=-1))
  # Row t is what is done after frame t: what leads to frame t + 1.
  np.save(tmp_path / "done.npy", videos.actions(0, np.arange(1, 5)))
  args = ("--output", tmp_path / "own.png", "--num", 1)
  assert here("predict-frames", folder, *args)[0] == 0
  args = (tmp_path / "video.npy", "--actions", tmp_path / "done.npy")
  assert here("predict-frames", folder, *args, "--output", tmp_path / "file.png")[0] == 0
  own, file = (np.load(tmp_path / f"{name}.npz")["codes"] for name in ("own", "file"))
  np.testing.assert_array_equal(own, file)
  done = np.arange(10, dtype=np.float32).reshape(5, 2)
  np.testing.assert_array_equal(leading(done, np.array([0, 3, 1])), [[0, 0], done[2], done[0]])


@pytest.mark.parametrize(
  ("args", "line"),
  [
    (["{video}"], "--actions is missing: the prior is told of 6 numbers a frame"),
    (["{video}", "--actions", "{short}"], "float32 [3, 6]; float [4, 6] or longer is needed"),
    (["{video}", "--actions", "{several}"], "not an .npy of one array"),
    (["{video}", "--start", "3"], "5 frames; 3 are given from --start 3 on"),
    (["{nothing}"], "no such file"),
    (["--top_k", "9"], "--top_k is 9; the prior has 8 codes"),
    (["--label", "1"], "--actions and --label are of a VIDEO"),
    (["--top_p", "0"], "top_p is 0.0; it must be at least 1e-06"),
    (["--frames", "9"], "have fewer than 12 frames, such as digit 0"),
  ],
)
def test_bad_input_is_one_line(frames_run, here, tmp_path, args, line):
  folder, _ = frames_run
  np.save(tmp_path / "video.npy", np.zeros((5, 28, 28, 3), np.uint8))
  np.save(tmp_path / "short.npy", np.zeros((3, 6), np.float32))
  np.savez(tmp_path / "several.npz", np.zeros((4, 6), np.float32))
  paths = {name: tmp_path / f"{name}.npy" for name in ("video", "short")}
  words = [
    word.format(**paths, nothing=tmp_path / "nothing.mp4", several=tmp_path / "several.npz")
    for word in args
  ]
  output = tmp_path / "out" / "x.png"
  status, _, err = here("predict-frames", folder, *words, "--output", output)
  assert status == 2 and line in err and len(err.strip().splitlines()) == 1, err
  assert not output.parent.exists()


@pytest.mark.parametrize(
  ("options", "line"),
  [
    (["--tokenizer.frames", "9"], "have fewer than 9 frames, such as digit 0"),
    (["--prior.given", "5"], "prior: given is 5; it must leave some of the clips' 5 frames"),
    (["--tokenizer.num_downsamples", "3"], "multiples of 8 = 2^num_downsamples; found 28x28"),
  ],
)
def test_bad_configs_are_one_line(here, tmp_path, options, line):
  status, _, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 2 and line in err and len(err.strip().splitlines()) == 1, err
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_all_devices_equal_one_in_float64(stage):
  types = {"dtype": "float64", "param_dtype": "float64"}
  with jax.enable_x64(True):
    task = untrained(replaced(tiny_frames.get_config(), tokenizer=types, prior=types))[stage]
    ways = [one_device(), parallel.make_mesh(Parallel())]
    alone, many = (steps_of(task, mesh, steps=3, batch_size=8)[1] for mesh in ways)
  assert_same(many, alone, tolerance=1e-10)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(train, environment, tmp_path):
  whole, killed = survives_being_killed(TINY, [], train, environment, tmp_path)
  assert_same_run(whole, killed)
