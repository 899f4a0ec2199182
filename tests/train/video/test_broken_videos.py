"""What can't be read as a video: each is refused in one line."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av")

from tests.train.video.films import everything, same, write  # noqa: E402
from train.errors import BadInput  # noqa: E402
from train.video import decode  # noqa: E402


def refused(path, *words, by=decode.probe):
  with pytest.raises(decode.Unreadable) as caught:
    by(path)
  message = str(caught.value)
  assert message.startswith(f"{path}: ") and "\n" not in message
  for word in words:
    assert word in message
  return True


def test_what_is_no_video(tmp_path, capfd):
  image = Image.new("RGB", (64, 48))
  for name in ("a.png", "a.jpg", "a.bmp", "a.webp"):
    image.save(tmp_path / name)
    assert refused(tmp_path / name, "not a video")
  image.save(tmp_path / "png.mp4", format="png")
  (tmp_path / "a.txt").write_text("no video\n" * 100)  # FFmpeg would draw it
  (tmp_path / "text.mp4").write_text("no video\n" * 100)
  (tmp_path / "empty.mp4").write_bytes(b"")
  # FFmpeg would follow it, and wait for its next lines for ever.
  (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n")
  for name in ("png.mp4", "a.txt", "text.mp4", "empty.mp4", "a.m3u8"):
    assert refused(tmp_path / name, "not a video")
  assert refused(tmp_path / "missing.mp4", "no such file")
  assert refused(tmp_path, "no such file")
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cover", [False, True])
def test_audio_only(tmp_path, cover):
  path = tmp_path / "a.mp4"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=44100)
    if cover:
      picture = container.add_stream("mjpeg", rate=25)
      picture.height, picture.width, picture.pix_fmt = 48, 64, "yuvj420p"
      picture.disposition = av.stream.Disposition.attached_pic
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
    sound.rate = 44100
    container.mux(stream.encode(sound))
    container.mux(stream.encode())
    if cover:
      frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
      container.mux(picture.encode(frame))
      container.mux(picture.encode())
  assert refused(path, "has no video stream")


def test_cut_off(tmp_path, capfd):
  cut = lambda path, part: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
  for k, part in enumerate((0.99, 0.75, 0.6)):
    path = write(tmp_path / f"{k}.mp4", muxer={"movflags": "faststart"}, size=(240, 320))
    cut(path, part)
    assert refused(path, "truncated", "of ", "frames are whole")
  for part in (0.75, 0.2):  # within the index at the end, and before it
    path = write(tmp_path / "end.mp4")
    cut(path, part)
    assert refused(path, "broken")
  path = write(tmp_path / "a.mkv", size=(240, 320))
  frames = everything(path)
  cut(path, 0.6)
  left = decode.probe(path).frames
  assert 10 < left < 35
  # Of the last ones some are lost, so that later positions are up to half a frame later.
  assert same(decode.read(path, np.arange(left // 2)), frames[: left // 2])
  assert capfd.readouterr() == ("", "")


def test_cut_off_between_two_frames(tmp_path):
  """All packets that are left are whole."""
  path = write(tmp_path / "a.mp4", muxer={"movflags": "faststart"})
  with av.open(str(path)) as container:
    begin = sorted(packet.pos for packet in container.demux(video=0) if packet.size)[30]
  path.write_bytes(path.read_bytes()[:begin])
  assert refused(path, "truncated", "30 of 40 frames are whole")


@pytest.mark.parametrize("spoilt", [40, None])  # the decoder hides what is lost; it gives up
def test_corrupt_bytes(tmp_path, capfd, spoilt):
  path = write(tmp_path / "a.mp4", size=(240, 320), sc_threshold="0")
  with av.open(str(path)) as container:
    packet = [packet for packet in container.demux(video=0) if packet.size][24]
  assert packet.is_keyframe
  whole = bytearray(path.read_bytes())
  middle = packet.pos + packet.size // 2
  for i in range(middle, middle + spoilt if spoilt else packet.pos + packet.size - 50):
    whole[i] ^= 0xFF
  frames = everything(path)
  path.write_bytes(whole)
  assert decode.probe(path).frames == 40  # which decodes the first frame only
  assert refused(path, "corrupt", by=lambda path: decode.read(path, np.array([24])))
  assert same(decode.read(path, np.array([15])), frames[[15]])
  assert capfd.readouterr() == ("", "")


def test_without_pyav(monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  spec = importlib.util.spec_from_file_location("anew", decode.__file__)
  with pytest.raises(BadInput, match=r"needs PyAV: pip install 'vqlab\[video\]'"):
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
