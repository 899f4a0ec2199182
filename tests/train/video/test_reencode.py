"""`reencode`: the same frames when they were, upright, once; what can't be read is left out."""

import numpy as np
import pytest

av = pytest.importorskip("av")

from tests.train.video.films import everything, write  # noqa: E402
from train.video import decode  # noqa: E402


def test_every_video_once_and_again_only_what_is_missing(here, tmp_path):
  source, output = tmp_path / "in", tmp_path / "out"
  (source / "deep" / "er").mkdir(parents=True)
  times = np.cumsum([0, *([1, 3] * 15)]).tolist()  # a varying rate
  write(source / "a.mkv", times=times, size=(50, 66))
  write(source / "deep" / "er" / "b.avi", "mpeg4")
  write(source / "c.mp4", "mpeg4", rotation=90)
  (source / "notes.mp4").write_text("no video")
  command = (
    "reencode",
    source,
    "--output",
    output,
    "--short_side",
    32,
    "--keyframes",
    4,
    "--crf",
    1,
  )
  status, out, err = here(*command)
  assert status == 0, err
  assert "notes.mp4: broken, or not a video" in out and "3 videos, 1 left out" in out
  names = sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file())
  assert names == ["a.mkv", "c.mp4", "deep/er/b.avi"]
  for name in names:
    before, after = (decode.probe(folder / name) for folder in (source, output))
    assert after.frames == before.frames and min(after.height, after.width) == 32
    assert after.fps == pytest.approx(before.fps, rel=0.02)
    ours, theirs = everything(output / name), everything(source / name, short_side=32)
    cut = tuple(min(a, b) for a, b in zip(ours.shape, theirs.shape, strict=True))[1:3]
    difference = ours[:, : cut[0], : cut[1]].astype(int) - theirs[:, : cut[0], : cut[1]]
    off = np.abs(difference).mean()
    others = ours[1:, : cut[0], : cut[1]].astype(int) - theirs[:-1, : cut[0], : cut[1]]
    assert off < 0.5 * np.abs(others).mean()  # of neighbours in time
    with av.open(str(output / name)) as container:
      keys = [p.is_keyframe for p in container.demux(video=0) if p.size]
    assert keys == [k % 4 == 0 for k in range(len(keys))]
  (output / "c.mp4").unlink()
  kept = (output / "a.mkv").stat().st_mtime_ns
  assert here(*command)[0] == 0
  assert (output / "c.mp4").exists() and (output / "a.mkv").stat().st_mtime_ns == kept


def test_what_is_wrong_is_said_in_a_line(here, tmp_path):
  (tmp_path / "in").mkdir()
  for args, said in (
    ((tmp_path / "none", "--output", tmp_path / "out"), "no such folder"),
    ((tmp_path / "in", "--output", tmp_path / "in" / "out"), "outside of it"),
    ((tmp_path / "in", "--output", tmp_path / "out"), "no files in it"),
  ):
    status, _, err = here("reencode", *args)
    assert status == 2 and len(err.splitlines()) == 1 and said in err
  (tmp_path / "in" / "a.mp4").write_text("no video")
  status, _, err = here("reencode", tmp_path / "in", "--output", tmp_path / "out")
  assert status == 2 and "none of its 1 files is a video" in err
  assert not list((tmp_path / "out").glob("*"))
