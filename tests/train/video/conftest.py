"""What tests of videos share: small arrays as videos, lists of them, refusals in one line."""

import numpy as np
import pytest

from train.errors import BadInput
from train.video import files
from train.video.sources import VideoList


def frames_of(seed, count=5, height=6, width=8):
  return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def save(path, *args, **size):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, frames_of(*args, **size))


def broken(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("not an array")


@pytest.fixture
def root(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "memory"))
  (tmp_path / "videos").mkdir()
  return tmp_path / "videos"


@pytest.fixture
def looked(monkeypatch):
  """The names of the files that are looked at."""
  names, look = [], files.look
  monkeypatch.setattr(files, "look", lambda p, **kw: names.append(p.name) or look(p, **kw))
  return names


@pytest.fixture
def of_lists(root):
  """Makes a source of the lists of a folder beside the videos."""

  def make(train, evaluated, **fields):
    lists = root.parent / "lists"
    lists.mkdir(exist_ok=True)
    for name, lines in (("train", train), ("eval", evaluated)):
      (lists / name).write_text("\n".join(lines))
    lists = {"train_list": str(lists / "train"), "eval_list": str(lists / "eval")}
    return VideoList(path=str(root), **lists, **fields)

  return make


def whole(videos, i):
  return videos.read(i, np.arange(videos.frames[i]))


def one_line(source, message):
  with pytest.raises(BadInput, match=message) as raised:
    source.open()
  assert "\n" not in str(raised.value)
