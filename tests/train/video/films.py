"""Videos that tests write, and what others read of them."""

import fractions

import numpy as np
import pytest

av = pytest.importorskip("av")

from train.video import decode  # noqa: E402

SHORT_GROUPS = {"g": "12", "bf": "2"}  # frames from a keyframe to the next, B-frames in a row


def write(path, codec="libx264", *, times=range(40), size=(48, 64), muxer=None, rotation=0, **more):
  """A video whose frame k appears at times[k] / 25 s, each other than the rest."""
  height, width = size
  rows, columns = np.mgrid[:height, :width]
  with av.open(str(path), "w", options=muxer or {}) as container:
    stream = container.add_stream(codec, rate=25, options=SHORT_GROUPS | more)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.bit_rate = 2_000_000
    stream.codec_context.time_base = fractions.Fraction(1, 25)
    stream.set_display_rotation(rotation)
    for k, time in enumerate(times):
      image = np.stack([columns * 3 + k * 4, rows * 4 + k * 2, 0 * rows + k * 6], -1) % 256
      frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
      frame.pts, frame.time_base = time, fractions.Fraction(1, 25)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return path


def decoded(path):
  """All frames of a file as the decoder gives them: [(seconds, u8[H, W, 3])]."""
  with av.open(str(path)) as container:
    to_rgb = lambda frame: frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
    return [(frame.time, to_rgb(frame)) for frame in container.decode(video=0)]


def opencv(path):
  """u8[N, H, W, 3], all frames of a file as OpenCV gives them."""
  capture = pytest.importorskip("cv2").VideoCapture(str(path))
  frames = []
  while (given := capture.read())[0]:
    frames.append(given[1][..., ::-1])
  capture.release()
  return np.stack(frames)


def everything(path, **options):
  return decode.read(path, np.arange(decode.probe(path).frames), **options)


def same(a, b):
  return a.shape == b.shape and np.array_equal(a, b)
