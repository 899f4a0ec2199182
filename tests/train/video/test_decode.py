"""Frames by position: which ones, exactly, each once."""

import fractions
import pathlib
import struct
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av")

from tests.train.video.films import decoded, everything, opencv, same, write  # noqa: E402
from train.video import decode  # noqa: E402

KINDS = {
  "h264.mp4": {},
  "h264.mkv": {},
  "h264.ts": {},
  "h264.avi": {},  # without any times of presentation
  "open.mkv": {"x264-params": "open-gop=1"},
  "open.mp4": {"x264-params": "open-gop=1:scenecut=0:keyint=4"},
  "hevc.mp4": {"codec": "libx265", "x265-params": "keyint=12:open-gop=1:log-level=none"},
  "mpeg4.avi": {"codec": "mpeg4"},
  "mpeg4.mp4": {"codec": "mpeg4"},
  "mpeg2.mpg": {"codec": "mpeg2video"},
  "vp9.webm": {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"},
}


@pytest.fixture(params=KINDS, scope="module")
def file(request, tmp_path_factory):
  return write(tmp_path_factory.mktemp("kinds") / request.param, **KINDS[request.param])


def test_position_i_of_a_constant_rate_is_the_ith_frame(file):
  facts = decode.probe(file)
  assert (facts.frames, facts.height, facts.width) == (40, 48, 64)
  assert facts.fps == pytest.approx(25)
  frames = np.stack([image for _, image in decoded(file)])
  assert same(everything(file), frames)
  blue = frames[..., 2].mean((1, 2))  # rises with k: the order is that of presentation
  assert (np.diff(blue) > 0).all()


def test_clips_are_the_frames_of_the_whole_file(file):
  frames = everything(file)
  rng = np.random.default_rng(0)
  for _ in range(50):
    positions = rng.integers(0, 40, rng.integers(1, 9))  # in any order, some repeated
    assert same(decode.read(file, positions), frames[positions])


def test_as_opencv(file):
  assert same(everything(file), opencv(file))


def test_a_clip_is_decoded_once_from_its_keyframe(tmp_path, monkeypatch):
  path = write(tmp_path / "a.mp4", sc_threshold="0")
  times, converted = [], []
  inner, ndarray = decode._decoded, av.VideoFrame.to_ndarray

  def counted(*arguments):
    for frame in inner(*arguments):
      times.append(round(frame.time * 25))
      yield Counting(frame)

  class Counting:
    def __init__(self, frame):
      self.frame = frame

    def __getattr__(self, name):
      return getattr(self.frame, name)

    def to_ndarray(self, **options):
      converted.append(round(self.frame.time * 25))
      return ndarray(self.frame, **options)

  monkeypatch.setattr(decode, "_decoded", counted)
  decode.read(path, np.array([31, 27, 29, 27]))
  assert times == [*range(24, 32)]
  assert converted == [27, 29, 31]


class Elsewhere:
  """A container that seeks to a frame of its own choice."""

  def __init__(self, container, frame):
    self.container, self.frame = container, frame

  def seek(self, _, *, stream):
    self.container.seek(self.frame * 512, stream=stream)

  def demux(self, stream):
    return self.container.demux(stream)


@pytest.mark.parametrize("found", [0, 36])  # before what is wanted; after it
def test_another_keyframe_found_than_the_last_before_it(tmp_path, monkeypatch, found):
  path = write(tmp_path / "a.mp4", sc_threshold="0")
  frames = everything(path)
  inner, begun = decode._from_keyframe, []

  def elsewhere(container, *arguments):
    packets = list(inner(Elsewhere(container, found), *arguments))
    begun.extend(packet.pts for packet in packets[:1])
    return iter(packets)

  monkeypatch.setattr(decode, "_from_keyframe", elsewhere)
  assert same(decode.read(path, np.array([26, 30])), frames[[26, 30]])
  assert begun == ([0] if found == 0 else [])


def test_frames_that_begin_too_late_are_decoded_from_the_start(tmp_path, monkeypatch):
  """As those of a stream whose first frames after a keyframe can't be shown."""
  path = write(tmp_path / "a.mp4", sc_threshold="0")
  frames = everything(path)
  late = lambda container, stream, *_: container.seek(36 * 512, stream=stream) or container.demux()
  monkeypatch.setattr(decode, "_from_keyframe", late)
  assert same(decode.read(path, np.array([26, 38])), frames[[26, 38]])


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_varying_rate_is_sampled_evenly_in_time(tmp_path, name):
  """Ten frames of 40 ms, then ten of 160 ms."""
  appear = [*range(10), *range(10, 50, 4)]
  path = write(tmp_path / name, times=appear)
  with av.open(str(path)) as container:
    last = [packet for packet in container.demux(video=0) if packet.size]
    duration = max(last, key=lambda packet: packet.pts).duration * last[0].time_base
  facts = decode.probe(path)
  assert facts.frames == 20
  assert facts.fps == pytest.approx(20 / (46 / 25 + float(duration)))
  frames = decoded(path)
  shown = []
  for i in range(20):
    time = (i + 0.5) / facts.fps
    shown.append(max(k for k, (appears, _) in enumerate(frames) if appears <= time))
  assert shown != [*range(20)]
  clip = everything(path)
  assert same(clip, np.stack([frames[k][1] for k in shown]))


def test_milliseconds_of_matroska_at_30_frames_a_second(tmp_path):
  path = tmp_path / "a.mkv"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=fractions.Fraction(30000, 1001))
    stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
    for k in range(900):
      image = np.full((16, 16, 3), k % 251, np.uint8)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())
  assert decode.probe(path).fps == pytest.approx(29.97, abs=0.01)
  assert same(everything(path), np.stack([image for _, image in decoded(path)]))


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_upright(tmp_path, angle):
  path = write(tmp_path / "a.mp4", rotation=angle)
  stored = np.stack([image for _, image in decoded(path)])
  clip = everything(path)
  assert same(clip, np.rot90(stored, angle // 90, (1, 2)))
  assert decode.probe(path)[2:] == clip.shape[1:3]
  assert everything(path, short_side=24).shape[1:3] == ((24, 32) if angle == 180 else (32, 24))
  assert same(clip, opencv(path))


@pytest.mark.parametrize("codec", ["mpeg4", "libvpx-vp9"])
def test_odd_sizes(tmp_path, codec):
  path = write(tmp_path / "a.mkv", codec, size=(47, 63), times=range(5))
  clip = everything(path)
  assert clip.shape == (5, 47, 63, 3) and decode.probe(path)[2:] == (47, 63)
  assert same(clip, opencv(path))


def test_scaled_by_the_shorter_side(tmp_path):
  path = write(tmp_path / "a.mkv", size=(48, 66), times=range(3))
  small = everything(path, short_side=31)
  assert small.shape == (3, 31, 42, 3)  # 66 * 31 / 48 = 42.6
  assert everything(path, short_side=100).shape == (3, 100, 137, 3)
  image = Image.fromarray(everything(path)[1]).resize((42, 31), Image.Resampling.BICUBIC)
  assert np.abs(small[1].astype(int) - np.asarray(image)).mean() < 3
  assert decode.probe(path)[2:] == (48, 66)


def test_the_stream_that_ffmpeg_finds_best(tmp_path):
  path = tmp_path / "a.mkv"
  with av.open(str(path), "w") as container:
    streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
    for stream, size, default in zip(streams, (32, 64), (0, 1), strict=True):
      stream.height, stream.width, stream.pix_fmt = size, size, "yuv420p"
      stream.disposition = av.stream.Disposition(default)
    for k in range(5):
      for stream in streams:
        image = np.full((stream.height, stream.width, 3), 20 * k, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    for stream in streams:
      container.mux(stream.encode())
  assert decode.probe(path)[2:] == (64, 64)


def test_frames_that_an_edit_list_hides(tmp_path):
  """Of an MP4, the first five frames and the last third are cut without encoding it anew."""
  path = write(tmp_path / "a.mp4", times=range(60))
  frames = everything(path)
  whole = bytearray(path.read_bytes())
  at = whole.index(b"elst") + 12
  duration, begin = struct.unpack(">II", whole[at : at + 8])
  whole[at : at + 8] = struct.pack(">II", duration * 2 // 3, begin + 5 * 512)
  path.write_bytes(whole)
  assert decode.probe(path).frames == 40
  assert same(everything(path), frames[5:45])
  assert same(decode.read(path, np.array([30])), frames[[35]])


def test_a_frame_that_the_codec_leaves_out_is_the_one_before(tmp_path):
  """MPEG-4 as XviD writes it where nothing moves: a packet that says that no frame is coded."""
  not_coded = bytes.fromhex("000001b6") + int("0101000001001111", 2).to_bytes(2, "big")
  path = write(tmp_path / "a.avi", "mpeg4", bf="0")
  with av.open(str(path)) as old, av.open(str(tmp_path / "b.avi"), "w") as new:
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(video=0):
      if packet.size:
        if packet.pts in (7, 8, 39):
          empty = av.Packet(not_coded)
          empty.pts, empty.dts, empty.duration = packet.pts, packet.dts, packet.duration
          empty.time_base, packet = packet.time_base, empty
        packet.stream = stream
        new.mux(packet)
  assert len(decoded(tmp_path / "b.avi")) == 38  # at the end FFmpeg gives the last one again
  clip = everything(tmp_path / "b.avi")
  assert len(clip) == 40
  assert same(clip[:7], everything(path)[:7])
  for k in (7, 8, 39):
    assert same(clip[k], clip[k - 1])
  assert same(decode.read(tmp_path / "b.avi", np.array([8, 39])), clip[[8, 39]])


def test_many_readers_and_threads_of_a_decoder(tmp_path):
  path = write(tmp_path / "a.mp4")
  frames = everything(path)
  assert same(everything(path, threads=2), frames)
  with futures.ThreadPoolExecutor(4) as pool:
    for k, clip in enumerate(pool.map(lambda k: decode.read(path, np.array([k])), range(40))):
      assert same(clip[0], frames[k])


def test_positions_that_are_not_there(tmp_path):
  path = write(tmp_path / "a.mp4")
  for positions in ([40], [-1, 3], []):
    with pytest.raises(IndexError, match="there are 0 to 39"):
      decode.read(path, np.array(positions, np.int64))


def test_recordings_as_opencv(shared_data):
  """Real ones, whose rate is constant but for a frame that one of them lost."""
  files = sorted((shared_data / "asl_gestures").glob("*.mkv"))
  assert len(files) == 20
  lost = []
  for path in files:
    peers = opencv(path)
    facts = decode.probe(path)
    assert (facts.frames, facts.height, facts.width) == peers.shape[:3]
    with av.open(str(path)) as container:
      appear = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
    clip = everything(path)
    if np.diff(appear).max() <= 34:  # ms
      assert same(clip, peers)
    else:
      lost.append(pathlib.Path(path).name)
      middles = appear[0] + (np.arange(facts.frames) + 0.5) * 1000 / facts.fps
      shown = [max(k for k, ms in enumerate(appear) if ms <= middle) for middle in middles]
      assert np.abs(shown - np.arange(facts.frames)).max() == 1
      assert same(clip, peers[shown])
  assert lost == ["brother.mkv"]
