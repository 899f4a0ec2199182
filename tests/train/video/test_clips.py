"""Clips: which frames they have, of whom, and what becomes of videos that can't be read."""

import dataclasses

import numpy as np
import pytest

from train.data import batch, eval_batches, train_batches
from train.errors import BadInput
from train.video.clips import Clips
from train.video.sampling import Resampled, Sampling, Segments, Window
from train.video.videos import Arrays, Facts, Unreadable, Videos

SIZES = [(6, 8), (9, 5), (4, 4), (9, 8), (5, 6), (7, 7), (6, 3)]


class Marked(Videos):
  """Videos of several sizes whose frames tell where they are from; some can't be read."""

  def __init__(self, lengths=(20, 3, 9, 40, 1, 16, 16), bad=(), **fields):
    facts = [Facts(n, 30.0, *SIZES[i % len(SIZES)]) for i, n in enumerate(lengths)]
    labels = np.arange(len(lengths)) * 10
    names = [f"video {i}" for i in range(len(lengths))]
    super().__init__(names, labels, [str(i) for i in range(200)], facts)
    self._sizes, self.bad, self.num_threads = [f[2:] for f in facts], set(bad), 4
    self.tried = []
    for name, value in fields.items():
      setattr(self, name, value)

  def read(self, index, positions):
    self.tried.append(index)
    if index in self.bad:
      raise Unreadable(f"video [{index}]: cut off")
    height, width = self._sizes[index]
    frames = np.zeros((len(positions), height, width, 3), np.uint8)
    frames[..., 0], frames[..., 1] = index, positions[:, None, None]
    frames[..., 2] = np.arange(height)[:, None] * 16 + np.arange(width)
    return frames


def positions_of(clips):
  return clips[..., 0, 0, 1].astype(int)


@dataclasses.dataclass(frozen=True)
class Spelt(Sampling):
  """Keeps what it is asked, and takes frames by the draws alone."""

  def train(self, total, fps, u):
    assert u.shape == (self.frames + 1,) and (u >= 0).all() and (u < 1).all() and fps == 30
    return np.floor(u[: self.frames] * total).astype(np.int64)

  def test(self, total, fps, views):
    return (np.arange(views)[:, None] * 3 + np.arange(self.frames)) % total


def test_frames_are_those_of_the_positions():
  clips = Clips(Marked(), Spelt(5), views=3)
  read = clips.read(np.arange(7), None)
  for i, total in enumerate(clips.videos.frames):
    assert positions_of(read["clip"][i]).tolist() == Spelt(5).test(int(total), 30.0, 3).tolist()
  assert (read["clip"][..., 0, 0, 0] == np.arange(7)[:, None, None]).all()
  assert read["label"].tolist() == [0, 10, 20, 30, 40, 50, 60] and read["whole"].all()
  assert read["size"].tolist() == list(map(list, SIZES))
  types = {"clip": np.uint8, "size": np.int32, "label": np.int32, "whole": np.bool_}
  assert {name: x.dtype for name, x in read.items()} == types
  assert read["clip"].shape == (7, 3, 5, 9, 8, 3)


def test_arrays_in_memory():
  frames = np.random.default_rng(0).integers(0, 256, (4, 12, 5, 6, 1)).astype(np.uint8)
  clips = Clips(Arrays(list("abcd"), np.arange(4), list("abcd"), frames, 30.0), Window(6), views=2)
  read = clips.read(np.array([2, 0]), None)["clip"]
  positions = Window(6).test(12, 30.0, 2)
  np.testing.assert_array_equal(read, frames[[2, 0]][:, positions])


@pytest.mark.parametrize("sampling", [Spelt(4), Window(4), Resampled(4), Segments(4)])
def test_a_clip_is_a_function_of_seed_and_position(sampling):
  """Of any number of processes, threads and batches read before."""
  whole = batch(Clips(Marked(num_threads=1), sampling), 3, 5, 8)
  for threads in (1, 2, 7):
    clips = Clips(Marked(num_threads=threads), sampling)
    parts = [batch(clips, 3, 5, 8, process=(i, 2)) for i in range(2)]
    for name, x in whole.items():
      np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), x)
  again = list(train_batches(clips, 3, 4, 7, 8))
  np.testing.assert_array_equal(again[1]["clip"], whole["clip"])
  np.testing.assert_array_equal(again[1]["label"], whole["label"])
  smaller = [batch(clips, 3, k, 4)["clip"] for k in (10, 11)]
  np.testing.assert_array_equal(np.concatenate(smaller), whole["clip"])
  assert not np.array_equal(batch(clips, 4, 5, 8)["clip"], whole["clip"])


def test_draws_are_fair_and_each_frame_has_its_own():
  clips = Clips(Marked(lengths=(40,)), Spelt(3))
  found = positions_of(batch(clips, 0, 0, 4000)["clip"])
  for frame in range(3):
    counts = np.bincount(found[:, frame], minlength=40)
    assert counts.min() > 50 and counts.max() < 160  # 100 expected, 10 the deviation
  correlation = np.corrcoef(found.T) - np.eye(3)
  assert np.abs(correlation).max() < 0.06


def test_a_new_clip_each_epoch():
  clips = Clips(Marked(), Window(4))
  epochs = [batch(clips, 0, k, 7) for k in range(2)]
  assert sorted(epochs[0]["label"]) == sorted(epochs[1]["label"]) == list(range(0, 70, 10))
  by_label = [dict(zip(x["label"], positions_of(x["clip"]).tolist(), strict=True)) for x in epochs]
  assert by_label[0][30] != by_label[1][30]


def test_borders_are_repeated():
  read = Clips(Marked(), Spelt(2), views=2).read(np.arange(7), None)
  for clip, (height, width) in zip(read["clip"], SIZES, strict=True):
    inside = clip[..., :height, :width, 2]
    assert (inside == np.arange(height)[:, None] * 16 + np.arange(width)).all()
    padded = np.pad(inside, ((0, 0), (0, 0), (0, 9 - height), (0, 8 - width)), mode="edge")
    np.testing.assert_array_equal(clip[..., 2], padded)


@pytest.mark.parametrize("sampling", [Window(4), Resampled(4), Segments(4)])
def test_views_are_those_read_one_by_one(sampling):
  videos = Marked()
  many = Clips(videos, sampling, views=3).read(np.arange(7), None)["clip"]
  assert many.shape[:3] == (7, 3, 4)
  for i, total in enumerate(videos.frames):
    for view, positions in enumerate(sampling.test(int(total), 30.0, 3)):
      height, width = SIZES[i]
      alone = videos.read(i, positions)
      np.testing.assert_array_equal(many[i, view, :, :height, :width], alone)
  one = Clips(videos, sampling, views=1).read(np.arange(7), None)["clip"]
  assert one.shape[:3] == (7, 1, 4)


def test_training_takes_the_next_video_in_place_of_one_that_cannot_be_read(capsys):
  clips, broken = Clips(Marked(), Window(4)), Clips(Marked(bad=(2, 3, 6)), Window(4))
  for k in range(6):
    good, read = batch(clips, 0, k, 8), batch(broken, 0, k, 8)
    instead = [{20: 40, 30: 40, 60: 0}.get(label, label) for label in good["label"]]
    assert read["label"].tolist() == instead and read["whole"].all()
    assert not (read["clip"][:, :, 0, 0, 0].T * 10 - read["label"]).any()
    assert read["size"].tolist() == [list(SIZES[label // 10]) for label in instead]
    same = good["label"] == read["label"]
    np.testing.assert_array_equal(good["clip"][same], read["clip"][same])
    parts = [batch(broken, 0, k, 8, process=(i, 2))["clip"] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), read["clip"])
  said = capsys.readouterr().out.splitlines()
  assert len(said) == 3, "each once"
  assert sorted(line.split(" (")[0] for line in said) == [
    f"left out: video [{i}]: cut off" for i in (2, 3, 6)
  ]
  assert {line.split(" (")[1] for line in said} <= {f"{n} of 7 so far)" for n in (1, 2, 3)}


def test_evaluation_says_which_could_not_be_read(capsys):
  clips = Clips(Marked(bad=(2, 3)), Window(4), views=2)
  for _ in range(2):
    batches = list(eval_batches(clips, 4))
    whole = np.concatenate([x["whole"][x["mask"]] for x in batches])
    labels = np.concatenate([x["label"][x["mask"]] for x in batches])
    assert whole.tolist() == [True, True, False, False, True, True, True]
    assert labels.tolist() == list(range(0, 70, 10))
    assert not batches[0]["clip"][2:].any()
  assert capsys.readouterr().out.count("left out") == 2


@pytest.mark.parametrize("training", [True, False])
def test_a_video_that_cannot_be_read_may_stop(training):
  clips = Clips(Marked(bad=(2,), broken="stop"), Window(4))
  with pytest.raises(Unreadable, match=r"^video \[2\]: cut off$"):
    batch(clips, 0, 0, 8) if training else clips.read(np.arange(7), None)


def test_no_video_can_be_read():
  for read in (lambda clips: batch(clips, 0, 0, 8), lambda clips: list(eval_batches(clips, 4))):
    with pytest.raises(BadInput, match=r"^the videos: 7 videos were tried, and none can "):
      read(Clips(Marked(bad=range(7)), Window(4)))


def test_an_outage_stops_before_every_video_was_tried():
  clips = Clips(Marked(lengths=[5] * 150, bad=range(150), num_threads=1), Window(4))
  with pytest.raises(BadInput, match="100 videos were tried, and none can be read"):
    clips.read(np.array([7]), np.zeros(1, np.uint64))
  assert clips.videos.tried == list(range(7, 107))


def test_videos_that_fail_now_and_then_do_not_stop_a_run():
  clips = Clips(Marked(), Window(4))
  for i in range(7):
    clips.videos.bad = {i}
    assert batch(clips, 0, 0, 14)["whole"].all()
