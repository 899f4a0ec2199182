"""Sources of videos: their splits, what is left out of them, and when they are other data."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from tests.train.video.conftest import broken, frames_of, one_line, save, whole
from train.data import fingerprint
from train.video import files
from train.video.sources import VideoFolder, VideoList


@pytest.mark.parametrize(("folder", "split"), [("test", "test"), ("val", "validation")])
def test_a_folder_with_splits_of_its_own(root, folder, split):
  for i, name in enumerate(("train/run/a", "train/walk/b", "train/walk/c", f"{folder}/walk/d")):
    save(root / f"{name}.npy", i, 4 + i)
  splits = VideoFolder(path=str(root), fps=12.5).open()
  train, held_out = splits["train"], splits["eval"]
  assert splits.keys() == {"train", "eval"}
  assert train.class_names == held_out.class_names == ("run", "walk")
  assert train.names == ("train/run/a.npy", "train/walk/b.npy", "train/walk/c.npy")
  assert train.labels.tolist() == [0, 1, 1] and held_out.labels.tolist() == [1]
  assert train.frames.tolist() == [4, 5, 6] and train.fps.tolist() == [12.5] * 3
  assert (train.name, held_out.name) == (f"{root} train", f"{root} {split}")
  for i in range(3):
    np.testing.assert_array_equal(whole(train, i), frames_of(i, 4 + i))
  np.testing.assert_array_equal(held_out.read(0, np.array([6, 0, 6])), frames_of(3, 7)[[6, 0, 6]])


def test_three_splits(root):
  for i, split in enumerate(("train", "val", "test")):
    save(root / split / "a" / f"{i}.npy", i)
  splits = VideoFolder(path=str(root)).open()
  names = {split: videos.names for split, videos in splits.items()}
  assert names == {"train": ("train/a/0.npy",), "eval": ("val/a/1.npy",), "test": ("test/a/2.npy",)}


def test_a_part_of_each_class_is_held_out(root):
  for i in range(30):
    save(root / "ab"[i % 3 > 0] / f"{i}.npy", i)
  for fraction, counts in ((0.2, (2, 4)), (0.5, (5, 10))):
    source = VideoFolder(path=str(root), eval_fraction=fraction)
    splits = source.open()
    train, held_out = splits["train"], splits["eval"]
    assert np.bincount(held_out.labels).tolist() == list(counts)
    assert not set(train.names) & set(held_out.names) and len(train) + len(held_out) == 30
    for videos in (train, held_out):
      for i, (name, label) in enumerate(zip(videos.names, videos.labels, strict=True)):
        assert name.split("/")[0] == "ab"[label]
        np.testing.assert_array_equal(whole(videos, i), np.load(root / name))
    assert source.open()["eval"].names == held_out.names


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_the_end_of_each_video_is_held_out(root, fraction):
  counts = [2, 3, 5, 10, 17, 100]
  for i, count in enumerate(counts):
    save(root / "ab"[i % 2] / f"{i}.npy", i, count)
  source = VideoFolder(path=str(root), hold_out="time", eval_fraction=fraction)
  splits = source.open()
  train, held_out = splits["train"], splits["eval"]
  assert splits.keys() == {"train", "eval"} and train.names == held_out.names
  assert train.labels.tolist() == held_out.labels.tolist() == [0] * 3 + [1] * 3
  for i, name in enumerate(train.names):
    parts = [whole(train, i), whole(held_out, i)]
    np.testing.assert_array_equal(np.concatenate(parts), np.load(root / name))
    assert all(len(part) for part in parts)
  assert held_out.frames.sum() == pytest.approx(fraction * sum(counts), abs=len(counts))
  about = source.about(splits)
  assert about["frame_shape"] == [6, 8, 3] and about["videos"] == {"train": 6, "eval": 6}


def test_nothing_to_hold_out_or_to_train_on(root):
  save(root / "a" / "0.npy", 0)
  for fields in ({"eval_fraction": 0.0}, {"eval_fraction": 0.0, "hold_out": "time"}):
    one_line(VideoFolder(path=str(root), **fields), "only train is there; set data.eval_fraction")
  one_line(VideoFolder(path=str(root), eval_fraction=0.9), "only test is there; set data.eval_frac")
  save(root / "a" / "1.npy", 1, 1)
  one_line(VideoFolder(path=str(root), hold_out="time"), r"'time', but a/1\.npy has a single frame")


def test_what_is_left_out_is_counted_and_named(of_lists, root, capsys):
  for i in range(4):
    save(root / f"{i}.npy", i)
  np.save(root / "grey.npy", np.zeros((3, 4, 4), np.uint8))
  np.save(root / "[float].npy", np.zeros((3, 4, 4, 3)))
  np.save(root / "objects.npy", np.array([{}, 2], object), allow_pickle=True)
  np.save(root / "empty.npy", np.zeros((0, 4, 4, 3), np.uint8))
  np.savez(root / "archive.npz", np.zeros(3))
  (root / "archive.npz").rename(root / "archive.npy")
  (root / "cut.npy").write_bytes((root / "0.npy").read_bytes()[:-1])
  (root / "nothing.npy").touch()
  broken(root / "text.npy")
  Image.new("RGB", (3, 3)).save(root / "picture.jpg")
  (root / "folder").mkdir()
  (root / "link.npy").symlink_to("nowhere")
  bad = ["grey", "[float]", "objects", "empty", "archive", "cut", "nothing", "text"]
  bad = [f"{name}.npy" for name in bad] + ["picture.jpg", "folder"]
  for name in bad:
    source = of_lists(["0.npy 0", f"{name} 0"], ["1.npy 0", "link.npy 1", "gone.npy 1"])
    splits = source.open()
    out = capsys.readouterr().out
    assert out.startswith(f"data: of 5 videos in {root} 1 can't be read ({name}: "), out
    assert out.endswith("), 2 are missing (link.npy; gone.npy); they are left out\n")
    assert out.count("\n") == 1 and f"{root}/{name}" not in out
    assert {split: videos.names for split, videos in splits.items()} == {
      "train": ("0.npy",),
      "eval": ("1.npy",),
    }
    assert source.about(splits)["left_out"] == {"train": 1, "eval": 2}
    assert source.about(splits)["num_classes"] == 2
  source = of_lists([f"{name} 0" for name in ["0.npy", *bad]], ["1.npy 0"])
  source.prepare()
  source.open()
  out = capsys.readouterr().out
  assert out.count("\n") == 1, "said once"
  assert " 10 can't be read (grey.npy: uint8 [3, 4, 4]; frames must be uint8 [T, H, W, 3]; " in out
  assert out.endswith("; ...); they are left out\n") and "text" not in out


def test_what_is_broken_may_stop(of_lists, root):
  save(root / "0.npy", 0)
  save(root / "1.npy", 1)
  broken(root / "2.npy")
  lists = ["0.npy 0", "2.npy 0"], ["1.npy 0"]
  one_line(
    of_lists(*lists, broken="stop"), r"1 can't be read \(2\.npy: not a whole array.*set data"
  )
  lists = ["0.npy 0", "gone.npy 0"], ["1.npy 0"]
  one_line(of_lists(*lists, broken="stop"), r"1 are missing \(gone\.npy\); replace them, or set")


def test_nothing_can_be_read(of_lists, root):
  save(root / "0.npy", 0)
  broken(root / "1.npy")
  message = "data: the split {} has no video that can be read"
  one_line(of_lists(["0.npy 0"], ["1.npy 0"]), message.format("validation"))
  one_line(of_lists(["gone.npy 0"], ["0.npy 0"]), message.format("train"))
  (root / "0.npy").unlink()
  one_line(VideoFolder(path=str(root)), message.format("train"))
  (root / "1.npy").unlink()
  one_line(VideoFolder(path=str(root)), "videos: no videos in it")


def test_wherever_it_lies_it_is_the_same_data(root, tmp_path, looked):
  for i in range(6):
    save(root / "ab"[i % 2] / f"{i}.npy", i)
  broken(root / "a" / "notes.npy")
  name = VideoFolder(path=str(root)).prepare()
  assert name.startswith("videofolder/") and sorted(looked) == [
    *(f"{i}.npy" for i in range(6)),
    "notes.npy",
  ]
  copy = shutil.copytree(root, tmp_path / "elsewhere" / "another name", copy_function=shutil.copy)
  os.utime(copy / "a" / "0.npy", (1, 1))
  assert VideoFolder(path=str(copy), dir=str(tmp_path / "other"), num_threads=1).prepare() == name
  (copy / "a" / "notes.npy").unlink()
  broken(copy / "a" / "more notes.npy")
  assert VideoFolder(path=str(copy)).prepare() == name, "what is left out counts for nothing"


def test_other_data_have_another_name(root, of_lists):
  for i in range(4):
    save(root / f"{i}.npy", i)
  lists = ["0.npy 0", "1.npy 1"], ["2.npy 0"]
  names = {of_lists(*lists).prepare()}

  def another(source):
    names.add(source.prepare())
    return len(names)

  assert another(of_lists(*lists, short_side=4)) == 2
  assert another(of_lists(*lists, fps=10.0)) == 3, "the rate of arrays is the field's"
  assert another(of_lists(["0.npy 1", "1.npy 1"], lists[1])) == 4
  assert another(of_lists(lists[0][::-1], lists[1])) == 5, "their order is that of training"
  assert another(of_lists([*lists[0], "3.npy 0"], lists[1])) == 6
  save(root / "1.npy", 1, 6)
  assert another(of_lists(*lists)) == 7
  (root / "1.npy").unlink()
  assert another(of_lists(*lists)) == 8
  folder = {"path": str(root)}
  assert another(VideoFolder(**folder, eval_fraction=0.5)) == 9
  assert another(VideoFolder(**folder, hold_out="time")) == 10
  assert another(VideoFolder(**folder, hold_out="time", eval_fraction=0.5)) == 11


def test_a_second_look_reads_nothing(root, of_lists, looked):
  for i in range(5):
    save(root / f"{i}.npy", i)
  broken(root / "x.npy")
  source = of_lists(["0.npy 0", "1.npy 1", "x.npy 0"], ["2.npy 0"])
  source.prepare()
  assert sorted(looked) == ["0.npy", "1.npy", "2.npy", "x.npy"]
  for other in (source, of_lists(["0.npy 0", "1.npy 1", "x.npy 0"], ["2.npy 0"], fps=7.0)):
    looked.clear()
    other.prepare()
    splits = other.open()
    assert looked == ["x.npy"]  # what could not be read may be whole by now
    assert splits["train"].fps.tolist() == [other.fps] * 2
  os.utime(root / "1.npy", (1, 1))
  of_lists(["4.npy 0", "1.npy 1"], ["3.npy 0"]).open()
  assert sorted(looked) == ["1.npy", "3.npy", "4.npy", "x.npy"]
  looked.clear()
  source.open()  # another list of the same folder has not made it forget
  assert not looked


def test_what_prepare_found_is_opened(root, of_lists, monkeypatch):
  """The files are asked for once; but never is an older look taken for a newer one."""
  for i in range(3):
    save(root / f"{i}.npy", i)
  source, lookups = of_lists(["0.npy 0", "1.npy 1"], ["2.npy 0"]), []
  listed = VideoList.listed
  monkeypatch.setattr(VideoList, "listed", lambda self: lookups.append(1) or listed(self))
  name = source.prepare()
  assert len(source.open()["train"]) == 2 and len(lookups) == 1
  (root / "1.npy").unlink()
  assert source.prepare() != name
  assert len(source.open()["train"]) == 1
  save(root / "1.npy", 1)
  assert len(source.open()["train"]) == 2 and len(lookups) == 3


def test_a_look_that_is_interrupted_is_not_lost(root, of_lists, looked, monkeypatch):
  for i in range(40):
    save(root / f"{i:02}.npy", i)
  lines = [f"{i:02}.npy 0" for i in range(39)]
  source, look, memory = of_lists(lines, ["39.npy 0"]), files.look, root.parent / "memory/.videos"

  def interrupted(path, **options):
    if path.name == "30.npy":
      while not any("23.npy" in kept.read_text() for kept in memory.glob("[!.]*")):
        time.sleep(0.01)
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(0.5)
    return look(path, **options)

  monkeypatch.setattr(fingerprint, "_EVERY", 0)
  before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
  try:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
      patch.setattr(files, "look", interrupted)
      source.prepare()
  finally:
    signal.signal(signal.SIGINT, before)
  looked.clear()
  source.prepare()
  assert {"30.npy", "39.npy"} <= set(looked) <= {f"{i:02}.npy" for i in range(24, 40)}
