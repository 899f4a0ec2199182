"""Files of sound: one sound in many formats is one array; what is wrong is one line."""

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from train.audio.files import clipped, load, read, resample, trim  # noqa: E402
from train.errors import BadInput  # noqa: E402

RATE = 16000


def sine(hertz, *, rate=RATE, seconds=0.5, level=0.5):
  return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path, x, *, rate=RATE, subtype=None):
  soundfile.write(path, x, rate, subtype)
  return path


def loudest(x, rate):
  """Hz and level of the loudest bin of x i16[T]."""
  spectrum = np.abs(np.fft.rfft(x / 32768)) / (len(x) / 2)
  return spectrum.argmax() * rate / len(x), spectrum.max()


def refused(path, *words, **options):
  with pytest.raises(BadInput) as caught:
    read(path, rate=RATE, **options)
  message = str(caught.value)
  assert message.startswith(f"{path}: ") and "\n" not in message
  for word in words:
    assert word in message
  return True


def test_16_bit_mono_comes_back_bit_for_bit(tmp_path):
  x = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
  x[:2] = -32768, 32767
  for name in ("a.wav", "a.flac", "a.aiff"):
    back = read(write(tmp_path / name, x, subtype="PCM_16"), rate=RATE)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, x)


def test_bit_depths_and_formats_agree(tmp_path):
  x = np.rint(sine(440) * 32768) / 32768  # representable in 16 bits
  expected = np.int16(x * 32768)
  for name, subtype, off in (
    ("a.wav", "PCM_24", 0),
    ("a.wav", "PCM_32", 0),
    ("a.wav", "FLOAT", 0),
    ("a.wav", "DOUBLE", 0),
    ("a.flac", "PCM_24", 0),
    ("a.wav", "PCM_U8", 256),
    ("a.ogg", "VORBIS", 1600),
  ):
    found = read(write(tmp_path / name, x, subtype=subtype), rate=RATE)
    assert np.abs(found.astype(int) - expected).max() <= off, (name, subtype)
  # Floats beyond full scale are cut off there.
  found = read(write(tmp_path / "a.wav", np.array([2.0, -2.0, 1.0]), subtype="FLOAT"), rate=RATE)
  assert found.tolist() == [32767, -32768, 32767]


def test_channels_are_averaged(tmp_path):
  x = np.array([[1000, 3000], [-2, -6], [5, 0], [7, 0]], np.int16)
  found = read(write(tmp_path / "a.wav", x), rate=RATE)
  assert found.tolist() == [2000, -4, 2, 4]  # halves go to the even number


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_resampled_sine_keeps_its_pitch_its_level_and_its_length(tmp_path, rate):
  found = read(write(tmp_path / "a.wav", sine(440, rate=rate), rate=rate), rate=RATE)
  assert abs(len(found) - RATE / 2) <= 1
  hertz, level = loudest(found, RATE)
  assert abs(hertz - 440) <= 2 and abs(level - 0.5) < 0.005


def test_what_a_lower_rate_can_not_have_is_gone():
  both = np.float32(sine(440, rate=48000) + sine(9000, rate=48000))
  found = resample(both, rate=48000, to=RATE)
  assert np.abs(found[500:-500] - sine(440)[500:-500]).max() < 1e-3


def test_silence_is_trimmed_and_a_frame_is_left(tmp_path):
  rng, frame = np.random.default_rng(0), RATE // 100
  x = np.concatenate([np.zeros(20 * frame), sine(500, seconds=0.1), np.zeros(7 * frame)])
  x += 1e-4 * rng.standard_normal(len(x))  # 71 dB below
  path = write(tmp_path / "a.wav", x)
  whole, trimmed = read(path, rate=RATE), read(path, rate=RATE, trim_db=40.0)
  np.testing.assert_array_equal(trimmed, whole[19 * frame : 31 * frame])
  np.testing.assert_array_equal(read(path, rate=RATE, trim_db=100.0), whole)
  loud = np.float32(sine(500))
  np.testing.assert_array_equal(trim(loud, rate=RATE, below_db=40.0), loud)


def test_clipping_is_counted(tmp_path):
  x = sine(100, level=2.0).clip(-1, 1)
  path = write(tmp_path / "a.wav", x, subtype="PCM_16")
  assert load(path, rate=RATE).clipped == np.count_nonzero(np.abs(x) == 1) > 1000
  assert load(write(tmp_path / "b.wav", sine(100, level=0.99)), rate=RATE).clipped == 0
  # Of a file's own samples, though they are full scale no more where they are mixed and resampled.
  both = np.stack([x, np.zeros_like(x)], axis=1)
  assert load(write(tmp_path / "c.flac", both), rate=8000).clipped == load(path, rate=RATE).clipped
  assert clipped(np.array([1, 1, 0, 1, 1, 1, 0, -1, -1, -1, -1])) == 7  # two are no run
  assert clipped(np.array([[0, 1], [1, 1], [1, 0], [0, 0]])) == 0  # nor across channels


@pytest.mark.parametrize("kept", [0.999, 0.6, 0.3])
@pytest.mark.parametrize("name", ["a.wav", "a.big", "a.flac", "a.ogg", "a.aiff", "a.mp3"])
def test_cut_off(tmp_path, name, kept):
  path = tmp_path / name.replace("big", "wav")
  x = 0.1 * np.random.default_rng(0).standard_normal(30000)
  soundfile.write(path, x, RATE, endian="BIG" if name == "a.big" else None)
  whole = read(path, rate=RATE)
  assert len(whole) == 30000
  path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
  assert refused(path, "truncated")


def test_a_wav_that_was_streamed_does_not_know_its_length(tmp_path):
  path = write(tmp_path / "a.wav", sine(440))
  whole, data = read(path, rate=RATE), bytearray(path.read_bytes())
  for at in (4, data.index(b"data") + 4):
    data[at : at + 4] = b"\xff" * 4
  path.write_bytes(data)
  np.testing.assert_array_equal(read(path, rate=RATE), whole)


def test_telephone_speech_in_blocks(tmp_path):
  found = read(write(tmp_path / "a.wav", sine(440), subtype="GSM610"), rate=RATE)
  assert len(found) == 8320  # 26 blocks of 320
  hertz, level = loudest(found[:8000], RATE)
  assert hertz == 440 and level == pytest.approx(0.5, abs=0.05)


def test_a_flac_that_was_streamed_is_refused(tmp_path):
  path = write(tmp_path / "a.flac", sine(440))
  data = bytearray(path.read_bytes())
  data[21] &= 0xF0
  data[22:26] = bytes(4)  # STREAMINFO's samples in total: 0 is unknown
  path.write_bytes(data)
  assert refused(path, "its header does not say how long it is; write it anew")


def test_damaged_within(tmp_path):
  path = write(tmp_path / "a.flac", 0.1 * np.random.default_rng(0).standard_normal(30000))
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)
  assert refused(path, "truncated or broken")


def test_what_is_no_sound(tmp_path):
  assert refused(tmp_path / "missing.wav", "no such file")
  assert refused(tmp_path, "no such file")
  for name, data, word in (
    ("empty.wav", b"", "empty, 0 bytes"),
    ("text.wav", b"no sound\n" * 100, "not a sound that libsndfile reads"),
    ("zeros.flac", bytes(1000), "not a sound that libsndfile reads"),
  ):
    (tmp_path / name).write_bytes(data)
    assert refused(tmp_path / name, word, "; replace or remove it")


def test_what_holds_nothing(tmp_path):
  assert refused(write(tmp_path / "none.wav", np.zeros(0)), "empty, no samples")
  for x in (np.zeros(100), np.full(100, 1e-6), np.outer(sine(440), [1, -1])):
    path = write(tmp_path / "silent.wav", x, subtype="FLOAT")
    assert refused(path, "silence")
    assert refused(path, "silence", trim_db=40.0)
  for value in (np.nan, np.inf):
    path = write(tmp_path / "nan.wav", np.array([0.1, value, value]), subtype="FLOAT")
    assert refused(path, "2 samples are NaN or infinite")
