"""`predict` on what people have: a line a video and a sheet; one line and status 2 for the rest."""

import fractions

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import replaced
from tests.train.video import tiny_videos
from train import run

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Of a run that has learned next to nothing. Read it, never write to it."""
  fields = {"steps": 2, "eval_every": 2, "precise_norm": 0, "mixup": 0.0}
  folder = tmp_path_factory.mktemp("runs") / "tiny"
  with jax.numpy_dtype_promotion("standard"):
    run.fit(replaced(tiny_videos.get_config(), classify=fields), folder)
  return folder


@pytest.fixture
def phone(tmp_path):
  """A clip as phones write them: on its side, at 30000/1001 frames a second, of an odd size."""
  path, rate = tmp_path / "VID 0001.mp4", fractions.Fraction(30000, 1001)
  rng = np.random.default_rng(0)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("mpeg4", rate=rate)
    stream.height, stream.width, stream.pix_fmt = 45, 81, "yuv420p"
    stream.set_display_rotation(90)
    for _ in range(20):
      image = rng.integers(0, 256, (45, 81, 3), dtype=np.uint8)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())
  return path


def test_a_phones_clip_and_an_array(folder, phone, here, tmp_path, monkeypatch):
  np.save(tmp_path / "frames.npy", np.zeros((3, 20, 30, 3), np.uint8))  # shorter than a clip
  sheet = tmp_path / "seen.png"
  status, out, err = here("predict", folder, phone, tmp_path / "frames.npy", "--output", sheet)
  assert status == 0, err
  first, second, last = out.splitlines()
  for line, path in ((first, phone), (second, tmp_path / "frames.npy")):
    assert line.startswith(f"{path}: ") and line.count("%") == 5
    shares = [float(word.rstrip("%,")) for word in line.split() if "%" in word]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.5
  assert last == f"picture: {sheet}"
  with Image.open(sheet) as picture:
    assert picture.height == 2 * (96 + 18 + 4) + 4


def test_what_is_wrong_is_said_in_a_line(folder, phone, here, tmp_path):
  text = tmp_path / "notes.mp4"
  text.write_text("no video")
  sheet = tmp_path / "seen.png"
  for args, said in (
    ((text,), f"{text}: broken, or not a video"),
    ((phone, text), f"{text}: broken, or not a video"),
    ((tmp_path / "gone.mp4",), "gone.mp4: no such file"),
    ((), "name at least one video"),
  ):
    status, _, err = here("predict", folder, *args, "--output", sheet)
    assert status == 2 and len(err.splitlines()) == 1 and said in err
  assert not sheet.exists()
  status, _, err = here("predict", folder, phone, "--output", tmp_path / "seen.txt")
  assert status == 2 and "ends in .png" in err


def test_scores_are_those_of_the_same_frames_in_an_array(folder, phone, here, tmp_path):
  """Decoding, turning and grey are the only differences there may be."""
  from train.video import decode

  frames = decode.read(phone, np.arange(20))
  assert frames.shape[1:3] == (81, 45)
  np.save(tmp_path / "frames.npy", frames)
  lines = [here("predict", folder, p)[1].splitlines()[0] for p in (phone, tmp_path / "frames.npy")]
  ours, theirs = (line.split(": ", 1)[1] for line in lines)
  assert ours == theirs
  (folder / "predictions.png").unlink()
