"""Files of sound: read as 16-bit mono at one rate, or refused in one line that says why.

libsndfile decodes (wav, flac, ogg, aiff, mp3, ...) and soxr resamples. A wav, aiff or ogg file that
was cut off is refused, though libsndfile takes it for a shorter one.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from train.errors import BadInput

try:
  import soundfile
  import soxr
except (ImportError, OSError):  # the latter where libsndfile itself is missing
  raise BadInput("reading sounds needs soundfile and soxr: pip install 'vqlab[audio]'") from None

_FULL = 32768  # of 16 bits
_RUN = 3  # samples at full scale in a row that are no coincidence
_UNKNOWN = 0x7FFFF000  # sizes from here on are written where the length is not known beforehand
_ENDLESS = 2**62  # frames from here on are libsndfile's word for a length that is not known
_PAGE = 65307  # bytes of the largest page of ogg


class Recording(NamedTuple):
  """What a file holds."""

  samples: np.ndarray  # i16[T], mono
  clipped: int  # samples of the file's own that are clipped, see `clipped`


def read(path: str | os.PathLike, *, rate: int, trim_db: float = 0.0) -> np.ndarray:
  """i16[T]: the sound in a file, mono at `rate` Hz.

  Channels are averaged, then resampled, trimmed, clipped to full scale and rounded to 16 bits. What
  is 16-bit mono at the rate already comes back bit for bit.

  Args:
    trim_db: silence at both ends is cut off where this is above 0, see `trim`.

  Raises:
    BadInput: no such file, no sound, cut off, broken, empty, silent, or with samples that are NaN
      or infinite; one line, which begins with the path.
  """
  return load(path, rate=rate, trim_db=trim_db).samples


def load(path: str | os.PathLike, *, rate: int, trim_db: float = 0.0) -> Recording:
  """As `read`, and how many samples of the file are clipped."""
  whole, found = _decoded(pathlib.Path(path))
  mono = resample(whole.mean(1, dtype=np.float32), rate=found, to=rate)
  if trim_db > 0 and mono.any():
    mono = trim(mono, rate=rate, below_db=trim_db)
  samples = np.clip(np.rint(mono * _FULL), -_FULL, _FULL - 1).astype(np.int16)
  if not samples.any():
    raise BadInput(f"{path}: silence, every sample is 0; replace or remove it")
  return Recording(samples, clipped(whole))


def resample(x: np.ndarray, *, rate: int, to: int) -> np.ndarray:
  """[T'] of x [T], float or i16, as many seconds at `to` Hz as it has at `rate` (soxr's VHQ)."""
  return x if rate == to else soxr.resample(x, rate, to, quality="VHQ")


def trim(x: np.ndarray, *, rate: int, below_db: float) -> np.ndarray:
  """x f32[T] without what is silent at both ends.

  Silent are frames of 10 ms whose power is more than `below_db` below the loudest frame's. One
  silent frame is left on each side.
  """
  size = max(rate // 100, 1)
  starts = np.arange(0, len(x), size)
  energy = np.add.reduceat(np.square(x, dtype=np.float64), starts)
  power = energy / np.diff(starts, append=len(x))
  loud = np.flatnonzero(power >= power.max() * 10 ** (-below_db / 10))
  return x[max(loud[0] - 1, 0) * size : (loud[-1] + 2) * size]


def clipped(x: np.ndarray) -> int:
  """How many samples of x, [T] or [T, channels] in [-1, 1], are clipped.

  Those at full scale, or within a 16-bit step of it, in runs of at least three.
  """
  full = np.abs(x.reshape(len(x), -1)) >= 1 - 1 / _FULL
  edges = np.diff(np.pad(full, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
  runs = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]  # channel after channel
  return int(runs[runs >= _RUN].sum())


def _decoded(path: pathlib.Path) -> tuple[np.ndarray, int]:
  """f32[T, channels] in [-1, 1], T >= 1, and the rate in Hz."""
  if not path.is_file():
    raise BadInput(f"{path}: no such file; give a file of sound")
  try:
    if not path.stat().st_size:
      raise BadInput(f"{path}: empty, 0 bytes; replace or remove it")
    short = _short(path)
  except OSError as error:
    raise BadInput(f"{path}: can't be read ({error.strerror}); replace or remove it") from error
  opened = False
  try:
    with soundfile.SoundFile(os.fsencode(path)) as file:
      opened = True
      promised, rate = file.frames, file.samplerate
      if promised >= _ENDLESS:
        raise BadInput(f"{path}: its header does not say how long it is; write it anew")
      x = file.read(promised, dtype="float32", always_2d=True)  # telephone codecs need the number
  except soundfile.LibsndfileError as error:
    reason = short or error.error_string.rstrip(".")
    what = "truncated or broken" if opened or short else "not a sound that libsndfile reads"
    raise BadInput(f"{path}: {what} ({reason}); replace or remove it") from error
  if len(x) < promised:
    short = short or f"{len(x):,} of {promised:,} frames"
  if short:
    raise BadInput(f"{path}: truncated ({short}); replace or remove it")
  if not len(x):
    raise BadInput(f"{path}: empty, no samples; replace or remove it")
  if (wrong := np.count_nonzero(~np.isfinite(x))) > 0:
    raise BadInput(f"{path}: {wrong:,} samples are NaN or infinite; replace or remove it")
  return x, rate


def _short(path: pathlib.Path) -> str:
  """What a wav, aiff or ogg file lacks at its end; '' where it is whole, or of another kind."""
  size = path.stat().st_size
  with path.open("rb") as file:
    kind = file.read(12)[:4]
    if kind == b"OggS":
      file.seek(max(size - 2 * _PAGE, 0))
      return _ogg_short(file.read())
    order = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}.get(kind)
    while order and len(head := file.read(8)) == 8:
      promised, left = int.from_bytes(head[4:], order), size - file.tell()
      if head[:4] in (b"data", b"SSND"):
        return f"{left:,} of {promised:,} bytes" if left < promised < _UNKNOWN else ""
      file.seek(promised + promised % 2, os.SEEK_CUR)
  return ""


def _ogg_short(tail: bytes) -> str:
  """The last page must be whole and say that it is the last (RFC 3533, section 6)."""
  page = tail[tail.rfind(b"OggS") :]
  lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
  whole = lengths and len(page) >= 27 + len(lengths) + sum(lengths)
  return "" if whole and page[5] & 4 else "its last page is missing"
