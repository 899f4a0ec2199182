"""Files of videos: pictures, arrays, what is decoded; sizes, damage, and videos in an .npz."""

import contextlib
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tests.train.video.conftest import broken, frames_of, one_line, save, whole
from train import video
from train.video import files
from train.video.sources import VideoArrays, VideoList


def pictures(folder, frames, name="img_{:05}.png", first=1):
  folder.mkdir(parents=True, exist_ok=True)
  for i, frame in enumerate(frames, first):
    Image.fromarray(frame).save(folder / name.format(i))


def test_folders_of_pictures(root, of_lists, tmp_path):
  pictures(root / "run" / "v 1", frames_of(0, 12))
  pictures(root / "walk", frames_of(1, 12), "{}.png")  # 1, 10, 11, 12, 2, ...
  pictures(root / "walk 2", frames_of(2, 3), "v_g01_{}.bmp", first=8)
  (root / "walk 2" / "notes.txt").write_text("not a picture")
  source = of_lists(["run/v 1 12 0", "walk 12 1"], ["walk 2 1"], fps=5.0)
  splits, name = source.open(), source.prepare()
  assert splits["train"].frames.tolist() == [12, 12] and splits["train"].fps.tolist() == [5.0] * 2
  for i in range(2):
    np.testing.assert_array_equal(whole(splits["train"], i), frames_of(i, 12))
  np.testing.assert_array_equal(whole(splits["eval"], 0), frames_of(2, 3))
  copy = shutil.copytree(root, tmp_path / "copy")
  (copy / "walk" / "trace").touch()  # folders have sizes of their own, which tell nothing
  (copy / "walk" / "trace").unlink()
  moved = VideoList(
    path=str(copy), train_list=source.train_list, eval_list=source.eval_list, fps=5.0
  )
  assert moved.prepare() == name
  (copy / "walk" / "12.png").unlink()
  assert moved.prepare() != name


def test_pictures_that_are_no_video(root, of_lists, capsys):
  pictures(root / "a", frames_of(0))
  pictures(root / "b", frames_of(1))
  pictures(root / "c", frames_of(2))
  pictures(root / "c", frames_of(2), "flow_x_{:05}.png")
  (root / "b" / "img_00001.png").write_text("not a picture")
  (root / "d").mkdir()
  pictures(root / "e", frames_of(3))
  of_lists(["a 5 0", "b 5 0", "c 5 0", "d 5 0"], ["e 5 0"]).open()
  out = capsys.readouterr().out
  assert "3 can't be read (b: " in out and "img_00001.png: not a whole picture" in out
  assert "c: pictures called flow_x_* and img_*; keep those of one kind" in out
  assert "d: no pictures in it (.jpg, " in out


def test_frames_of_different_sizes(root, of_lists):
  for i, (height, width) in enumerate([(6, 20), (12, 10), (30, 8)]):
    save(root / f"{i}.npy", i, height=height, width=width)
  lists = ["0.npy 0", "1.npy 3"], ["2.npy 0"]
  for short_side, canvas, sizes in (
    (None, (30, 20, 3), [(6, 20), (12, 10), (30, 8)]),
    (5, (18, 16, 3), [(5, 16), (6, 5), (18, 5)]),
  ):
    source = of_lists(*lists, short_side=short_side)
    splits = source.open()
    assert splits["train"].shape == splits["eval"].shape == canvas
    assert source.about(splits) == {
      "num_classes": 4,
      "class_names": ["0", "1", "2", "3"],
      "frame_shape": list(canvas),
      "videos": {"train": 2, "eval": 1},
      "left_out": {"train": 0, "eval": 0},
    }
    read = [whole(splits["train"], 0), whole(splits["train"], 1), whole(splits["eval"], 0)]
    assert [x.shape[1:3] for x in read] == sizes


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda root: (root / "0.npy").unlink(), "0.npy: changed since it was looked at"),
    (lambda root: save(root / "0.npy", 0, 3), "0.npy: changed since .*out of bounds"),
    (
      lambda root: save(root / "0.npy", 0, 5, 7, 8),
      "0.npy: frames of 7x8, but 6x8 were the largest found",
    ),
    (lambda root: broken(root / "0.npy"), "0.npy: not a whole array"),
    (lambda root: (root / "1" / "img_00005.png").unlink(), "1: changed since it was looked at"),
    (
      lambda root: (root / "1" / "img_00003.png").write_bytes(b""),
      "img_00003.png: not a whole pict",
    ),
    (lambda root: pictures(root / "1", frames_of(0, 1, 4, 4)), "1: pictures of different sizes"),
  ],
)
def test_what_changes_under_a_run_is_unreadable(root, of_lists, damage, message):
  save(root / "0.npy", 0)
  pictures(root / "1", frames_of(1))
  save(root / "2.npy", 2)
  train = of_lists(["0.npy 0", "1 0"], ["2.npy 0"]).open()["train"]
  damage(root)
  with pytest.raises(files.Unreadable, match=message) as raised:
    whole(train, 0)
    whole(train, 1)
  assert "\n" not in str(raised.value)


def test_videos_that_are_decoded(root, of_lists, capsys, monkeypatch):
  """Left out, or opened, by what the decoder says."""

  def probe(path):
    if path.name == "cut.mp4":
      raise files.Unreadable(f"{path}: corrupt")
    return files.Facts(9, 25.0, 6, 8)

  def read(path, positions, *, short_side, threads):
    return frames_of(0, 7)[positions]  # fewer than there were

  decode = types.SimpleNamespace(probe=probe, read=read)
  monkeypatch.setitem(sys.modules, "train.video.decode", decode)
  monkeypatch.setattr(video, "decode", decode, raising=False)
  for name in ("a.mp4", "b.AVI", "cut.mp4"):
    (root / name).write_text(name)
  train = of_lists(["a.mp4 0", "cut.mp4 0"], ["b.AVI 1"], fps=10.0).open()["train"]
  assert "1 can't be read (cut.mp4: corrupt); they are left out" in capsys.readouterr().out
  assert train.names == ("a.mp4",) and train.fps.tolist() == [25.0], "files say their rate"
  np.testing.assert_array_equal(train.read(0, np.arange(7)), frames_of(0, 7))
  with pytest.raises(files.Unreadable, match=r"a\.mp4: changed since it was looked at"):
    whole(train, 0)


def test_no_damaged_header_of_an_array_is_more_than_unreadable(root):
  """Each character replaced by each of some that mean something to NumPy's parser."""
  save(root / "0.npy", 0)
  good = (root / "0.npy").read_bytes()
  for i in range(128):
    for character in b"'],(9-\n\0":
      (root / "0.npy").write_bytes(good[:i] + bytes([character]) + good[i + 1 :])
      with contextlib.suppress(files.Unreadable):
        facts = files.look(root / "0.npy")
        assert facts == files.Facts(5, 30.0, 6, 8) or i > 50


def npz(root, **arrays):
  np.savez(root / "clips.npz", **arrays)
  return VideoArrays(path=str(root / "clips.npz"))


VIDEOS, LABELS = np.stack([frames_of(i) for i in range(20)]), np.arange(20) % 2


def test_arrays(root):
  source = npz(root, videos=VIDEOS, labels=LABELS, class_names=np.array(["run", "walk"]))
  splits = source.open()
  train, held_out = splits["train"], splits["eval"]
  assert (len(train), len(held_out)) == (16, 4) and train.class_names == ("run", "walk")
  assert np.bincount(held_out.labels).tolist() == [2, 2]
  rows = [int(name.split(" ")[1]) for name in (*train.names, *held_out.names)]
  assert sorted(rows) == list(range(20))
  for i, name in enumerate(train.names):
    row = int(name.removeprefix("clips.npz "))
    np.testing.assert_array_equal(whole(train, i), VIDEOS[row])
    assert train.labels[i] == LABELS[row]
  assert source.about(splits)["frame_shape"] == [6, 8, 3]
  assert npz(root, videos=VIDEOS, labels=LABELS).open()["train"].class_names == ("0", "1")
  name = source.prepare()
  shutil.copy(root / "clips.npz", root.parent / "clips.npz")
  assert VideoArrays(path=str(root.parent / "clips.npz")).prepare() == name
  assert VideoArrays(path=source.path, eval_fraction=0.5).prepare() != name
  assert npz(root, videos=VIDEOS + np.uint8(1), labels=LABELS).prepare() != name


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({}, r"clips\.npz: videos must be uint8 \[N, T, H, W, C\] and labels int \[N\]; found $"),
    ({"videos": VIDEOS}, r"clips\.npz: videos must be .*; found videos uint8 \[20, 5, 6, 8, 3\]$"),
    ({"videos": VIDEOS[0], "labels": LABELS}, r"found videos uint8 \[5, 6, 8, 3\], labels int64"),
    ({"videos": VIDEOS / 255, "labels": LABELS}, r"found videos float64 \[20, 5, 6, 8, 3\], lab"),
    ({"videos": VIDEOS, "labels": LABELS[1:]}, r"labels int64 \[19\]"),
    ({"videos": VIDEOS, "labels": LABELS / 2}, r"labels float64 \[20\]"),
    ({"videos": VIDEOS[:0], "labels": LABELS[:0]}, r"found videos uint8 \[0, 5, 6, 8, 3\]"),
    ({"videos": VIDEOS, "labels": LABELS - 1}, r"labels from -1 to 0; the classes are 0 to 0"),
    (
      {"videos": VIDEOS, "labels": LABELS, "class_names": np.array(["a"])},
      r"clips\.npz: labels from 0 to 1; the classes are 0 to 0",
    ),
    (
      {"videos": VIDEOS, "labels": LABELS, "class_names": np.array(["a", 1], object)},
      r"clips\.npz: not a whole \.npz \(Object arrays cannot be loaded",
    ),
    ({"videos": VIDEOS[:2], "labels": LABELS[:2]}, "nothing is left for eval; change data.eval_f"),
  ],
)
def test_wrong_arrays(root, arrays, message):
  one_line(npz(root, **arrays), message)


def test_no_arrays(root):
  one_line(VideoArrays(path=str(root / "no.npz")), r"data\.path: no file '.*no\.npz'; VideoArrays")
  source = npz(root, videos=VIDEOS, labels=LABELS)
  content = (root / "clips.npz").read_bytes()
  for wrong in (content[:-100], b"", b"text", content[:2000] + b"xx" + content[2002:]):
    (root / "clips.npz").write_bytes(wrong)
    one_line(source, r"clips\.npz: not a whole \.npz")
  np.save(root / "clips.npy", VIDEOS)
  (root / "clips.npy").rename(root / "clips.npz")
  one_line(source, r"clips\.npz: not a whole \.npz")
