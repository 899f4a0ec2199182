"""Frames of video files by their positions: found by time, decoded once, upright, as RGB."""

import contextlib
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import numpy as np

from train.errors import BadInput
from train.video.videos import Facts, Unreadable

try:
  import av
except ImportError:
  raise BadInput("reading videos needs PyAV: pip install 'vqlab[video]'") from None

# FFmpeg's names. Of others, playlists would open more files, and text or an image be a video.
FORMATS = ("avi", "asf", "flv", "gif", "matroska", "mov", "mpeg", "mpegts", "ogg", "webm")

_BROKEN = (
  f"{{}}: broken, or not a video that can be read ({', '.join(FORMATS)}); "
  "replace or remove it, or hide it with a leading dot"
)


def probe(path: pathlib.Path) -> Facts:
  """What is known from reading all of a file and decoding its first frame.

  Raises:
    Unreadable: the file is missing, is none of `FORMATS`, has no video stream (a cover picture is
      none), or ends before all frames that its index names. Matroska's index doesn't name all of
      them, and FFmpeg doesn't say that such a file was cut off: it has the frames that are there.
  """
  return _facts_and_frames(path, np.zeros(1, np.int64))[0]


def read(
  path: pathlib.Path, positions: np.ndarray, *, short_side: int | None = None, threads: int = 1
) -> np.ndarray:
  """u8[T, H, W, 3], RGB, the frames of a video at i64[T] positions, in any order, also repeated.

  With n frames that are shown for d seconds, position i is what is shown (i + 1/2) d / n seconds
  after the first frame appears: frame i itself at a constant rate; even steps in time at a varying
  one. Frames are decoded from the last keyframe before the first that is wanted, each once; from
  the file's start if the container can't find that keyframe or doesn't know the order of frames.
  A frame that the codec leaves out is the one before it.

  Args:
    short_side: pixels that the shorter side is scaled to, by bicubic interpolation; the longer one
      keeps the ratio, rounded down. None: frames as they are.
    threads: of the decoder. Calls may run side by side in threads: decoding releases the GIL.

  Raises:
    Unreadable: as `probe`; or a packet on the way, or a wanted frame, is corrupt.
    IndexError: a position that the file doesn't have, or no position.
  """
  return _facts_and_frames(path, positions, short_side, threads)[1]


class _Packet(NamedTuple):
  """What is kept of a packet: FFmpeg's would keep its bytes in memory."""

  pts: int | None  # when its frame appears, in the stream's units
  duration: int  # 0 where it isn't known
  key: bool
  hidden: bool  # by an edit list: others need it to be decoded
  corrupt: bool

  @classmethod
  def of(cls, packet: av.Packet) -> Self:
    flags = packet.is_keyframe, packet.is_discard, packet.is_corrupt
    return cls(packet.pts, packet.duration or 0, *flags)


class _Table(NamedTuple):
  """What the packets of a video say, which are read without decoding them."""

  times: np.ndarray  # i64[N], when frames appear, in the stream's units, rising
  keys: np.ndarray  # i64[K], those of keyframes
  end: float  # when the last frame disappears
  ordered: bool  # whether the times belong to the frames; otherwise only their order is known

  def shown(self, positions: np.ndarray) -> np.ndarray:
    """i64[T], when the frames appear that are shown at positions i64[T]."""
    first, n = self.times[0], len(self.times)
    middles = first + (positions + 0.5) * (self.end - first) / n
    return self.times[np.searchsorted(self.times, middles, side="right") - 1]


def _facts_and_frames(
  path: pathlib.Path, positions: np.ndarray, short_side: int | None = None, threads: int = 1
) -> tuple[Facts, np.ndarray]:
  with opened(path, threads) as (container, stream):
    table = _table(path, container, stream)
    n, size = len(table.times), _size(stream, short_side)
    if not positions.size or positions.min() < 0 or positions.max() >= n:
      asked = f"{positions.min()} to {positions.max()}" if positions.size else "none"
      raise IndexError(f"{path}: positions asked for: {asked}; there are 0 to {n - 1}")
    seconds = float((table.end - table.times[0]) * stream.time_base)
    times, which = np.unique(table.shown(positions), return_inverse=True)
    packets = _from_keyframe(container, stream, table, times[0])
    frames = ((frame.pts, frame) for frame in _decoded(packets, stream))
    clip = _clip(path, _shown(frames, times, seeked=True), which, size)
  if clip is None:
    with opened(path, threads) as (container, stream):
      frames = _decoded(container.demux(stream), stream)
      if table.ordered:
        frames = ((frame.pts, frame) for frame in frames)
      else:
        frames = zip(table.times, frames, strict=False)
      clip = _clip(path, _shown(frames, times, seeked=False), which, size)
  if clip is None:
    raise Unreadable(f"{path}: corrupt video, no frame of it can be decoded; replace or remove it")
  return Facts(n, n / seconds, *clip.shape[1:3]), clip


@contextlib.contextmanager
def opened(
  path: pathlib.Path, threads: int
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
  """A file and the stream of it that FFmpeg finds best; FFmpeg's errors inside are Unreadable."""
  if not pathlib.Path(path).is_file():
    raise Unreadable(f"{path}: no such file; give a video file")
  only = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
  try:
    container = av.open(f"file:{path}", container_options=only)
  except av.FFmpegError:
    raise Unreadable(_BROKEN.format(path)) from None
  with container:
    stream = container.streams.best("video")
    if not len(container.streams):  # an MP4 whose index is cut off
      raise Unreadable(_BROKEN.format(path))
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
      raise Unreadable(f"{path}: has no video stream; remove it, or hide it with a leading dot")
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "AUTO"
    try:
      yield container, stream
    except av.FFmpegError as error:
      raise Unreadable(
        f"{path}: truncated or corrupt video ({error.strerror}); replace or remove it"
      ) from error


def _table(
  path: pathlib.Path, container: av.container.InputContainer, stream: av.VideoStream
) -> _Table:
  indexed = len(stream.index_entries)  # before packets are read: they are entered too
  packets = [_Packet.of(packet) for packet in container.demux(stream) if packet.size]
  whole = sum(not packet.corrupt for packet in packets)
  if whole < max(indexed, len(packets)):
    raise Unreadable(
      f"{path}: truncated or corrupt video, {whole} of {max(indexed, len(packets))} frames are "
      "whole; replace or remove it"
    )
  packets = [packet for packet in packets if not packet.hidden]
  if not packets or any(packet.pts is None for packet in packets):
    what = "frames without times" if packets else "no frames"
    raise Unreadable(f"{path}: has {what}; write it anew (ffmpeg -i FILE NEW.mkv), or remove it")
  last = max(packets, key=lambda packet: packet.pts)
  pts = np.array([packet.pts for packet in packets])
  keys = np.array([packet.pts for packet in packets if packet.key], np.int64)
  times = np.unique(pts)
  mean = (times[-1] - times[0]) / max(1, len(times) - 1)
  # AVI knows when packets are decoded; of H.264 with B-frames FFmpeg then gives no other times.
  reordered = stream.codec_context.has_b_frames and container.format.name == "avi"
  ordered = not reordered or bool((np.diff(pts) < 0).any())
  return _Table(times, np.unique(keys), times[-1] + (last.duration or mean or 1), ordered)


def _from_keyframe(
  container: av.container.InputContainer, stream: av.VideoStream, table: _Table, time: int
) -> Iterator[av.Packet]:
  """The packets from the last keyframe that appears by a time on; none if they can't be found."""
  keys = table.keys[table.keys <= time]
  if not table.ordered or not keys.size:
    return
  try:
    container.seek(int(keys[-1]), stream=stream)
  except av.FFmpegError:
    return
  packets = container.demux(stream)
  first = next(packets)
  # MP4 is searched by when packets are decoded, and may find a later keyframe.
  if first.pts is not None and first.pts <= time:
    yield first
    yield from packets


def _decoded(packets: Iterable[av.Packet], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
  for packet in packets:
    if packet.size:  # the decoder would take an empty one for the end
      yield from stream.codec_context.decode(packet)
  yield from stream.codec_context.decode(None)


def _shown(
  frames: Iterable[tuple[int, av.VideoFrame]], times: np.ndarray, *, seeked: bool
) -> Iterator[av.VideoFrame]:
  """Of frames and when they appear, which is shown at each of some rising times.

  Before the first appears, it is the first; but none where `seeked`: there were others before it.
  """
  done, last = 0, None
  for time, frame in frames:
    if seeked and last is None and time > times[0]:
      return
    while done < len(times) and times[done] < time:
      yield last or frame
      done += 1
    if done < len(times) and times[done] == time:
      yield frame
      done += 1
    if done == len(times):
      return
    last = frame
  if last:
    yield from itertools.repeat(last, len(times) - done)


def _clip(
  path: pathlib.Path, frames: Iterable[av.VideoFrame], which: np.ndarray, size: tuple[int, int]
) -> np.ndarray | None:
  """u8[T, H, W, 3], at place t the frame number which[t]; None where there are no frames.

  size: (height, width) before frames are turned upright.
  """
  clip, (height, width) = None, size
  for k, frame in enumerate(frames):
    if frame.is_corrupt:
      raise Unreadable(f"{path}: corrupt frame at {frame.time:.3f} s; replace or remove it")
    # Bicubic also where only colours are brought to odd sizes, as OpenCV does. One thread: others
    # would be started for each frame.
    image = frame.to_ndarray(
      format="rgb24", height=height, width=width, interpolation="BICUBIC", threads=1
    )
    image = np.rot90(image, frame.rotation // 90 if frame.rotation % 90 == 0 else 0)
    if clip is None:
      clip = np.empty((len(which), *image.shape), np.uint8)
    for place in np.flatnonzero(which == k):
      clip[place] = image
  return clip


def _size(stream: av.VideoStream, short_side: int | None) -> tuple[int, int]:
  """(height, width) of frames in the file, scaled."""
  height, width = stream.codec_context.height, stream.codec_context.width
  shorter = min(height, width)
  side = short_side or shorter
  return height * side // shorter, width * side // shorter
