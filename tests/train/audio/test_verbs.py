"""The verbs of sound: what each writes, and one line for whatever can't be used."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

soundfile = pytest.importorskip("soundfile")

from train.audio import generating, prior, speaking  # noqa: E402
from train.errors import BadInput  # noqa: E402

RATE, HOP, PAUSE = 8000, 32, 2000
CONFIG = """
import dataclasses
from tests.train import tiny_sound

def get_config():
  whole = tiny_sound.get_config()
  stages = {name: whole.stages[name] for name in ("tokenizer", "prior")}
  return dataclasses.replace(whole, stages=stages)
"""


@pytest.fixture(scope="session")
def sound_run(train, tmp_path_factory):
  """The folder of the tiny experiment on sound without its judges, finished. Only read it."""
  root = tmp_path_factory.mktemp("sound")
  (root / "two_stages.py").write_text(CONFIG)
  status, out, err = train("fit", root / "two_stages.py", "--workdir", root / "run")
  assert status == 0, out + err
  return root / "run"


def tone(count, *, rate=RATE, hertz=317):
  """f64[count] that 16 bits represent, where the rate is the run's."""
  return np.rint(0.7 * np.cos(2 * np.pi * hertz * np.arange(count) / rate) * 32768) / 32768


def codes_of(path):
  with np.load(path) as saved:
    return saved["codes"]


def is_picture(path):
  with Image.open(path) as image:
    image.load()
    return min(image.size) > 100


def test_samples_are_the_same_however_many(sound_run, here, tmp_path):
  sounds = {}
  for num in (2, 34):  # of which 32 are drawn at once
    path, length = tmp_path / "new" / f"{num}.wav", 400
    status, out, err = here("sample", sound_run, "--num", num, "--seconds", 0.05, "--output", path)
    assert status == 0 and str(path) in out, err
    rate, x = wavfile.read(path)
    assert rate == RATE and x.dtype == np.int16 and x.shape == (num * (length + PAUSE),)
    assert is_picture(path.with_suffix(".png"))
    sounds[num] = x.reshape(num, -1)
    assert not sounds[num][:, length:].any() and sounds[num][:, :length].any(axis=1).all()
    assert codes_of(path.with_suffix(".npz")).shape == (num, math.ceil(length / HOP))
  np.testing.assert_array_equal(sounds[2], sounds[34][:2])
  assert (sounds[34][0] != sounds[34][1]).any()


def test_a_sample_of_a_speaker_and_a_label_is_as_long_as_the_priors_examples(
  sound_run, here, tmp_path
):
  args = ("--num", 2, "--speaker", "flute", "--label", 1, "--temperature", 0.5, "--top_k", 9)
  status, _, err = here("sample", sound_run, *args, "--output", tmp_path / "a.wav")
  assert status == 0, err
  with np.load(tmp_path / "a.npz") as saved:
    assert list(saved["speakers"]) == [1, 1] and list(saved["labels"]) == [1, 1]
    assert saved["codes"].shape == (2, 1024 // HOP)
  assert wavfile.read(tmp_path / "a.wav")[1].shape == (2 * (1024 + PAUSE),)


@pytest.mark.parametrize("sizes", [(2, 6), (3, 4), (4, 6), (5, 1), (1, 1)])
def test_every_pair_comes_once_a_round(sizes):
  speakers, labels = (list(range(size)) for size in sizes)
  count = math.prod(sizes)
  pairs = list(zip(*prior.every_pair(speakers, labels, 2 * count), strict=True))
  assert len(set(pairs[:count])) == len(set(pairs[count:])) == count
  assert set(next(zip(*pairs[: sizes[0]], strict=True))) == set(speakers)


def test_formats_of_a_sound_have_its_codes(sound_run, here, tmp_path):
  smooth, count = tone(1700), math.ceil(1700 / HOP)
  x = np.rint(smooth * 4) / 4  # which 8 bits represent
  written = {  # and of which of them it has all the codes, or most
    "16": (x, RATE, "PCM_16", "16", 1.0),
    "stereo": (np.stack([x, x], 1), RATE, "PCM_16", "16", 1.0),
    "8": (x, RATE, "PCM_U8", "16", 1.0),
    "24": (x, RATE, "PCM_24", "16", 1.0),
    "32": (x, RATE, "PCM_32", "16", 1.0),
    "float": (x, RATE, "FLOAT", "16", 1.0),
    "smooth": (smooth, RATE, "PCM_16", "smooth", 1.0),
    "rate": (tone(3400, rate=2 * RATE), 2 * RATE, "PCM_16", "smooth", 0.8),
  }
  for name, (y, rate, subtype, *_) in written.items():
    soundfile.write(tmp_path / f"{name}.wav", y, rate, subtype)
  paths, folder = [tmp_path / f"{name}.wav" for name in written], tmp_path / "out"
  args = ("--speaker", "horn", "--output", folder)
  status, out, err = here("reconstruct", sound_run, *paths, *args)
  assert status == 0, err
  codes = {name: codes_of(folder / f"{name}.npz") for name in written}
  assert len(np.unique(codes["16"])) > 2 and (codes["16"] != codes["smooth"]).any()
  for name, (*_, other, same) in written.items():
    assert codes[name].shape == (count,)
    assert np.mean(codes[name] == codes[other]) >= same, name
    rate, copy = wavfile.read(folder / f"{name}.wav")
    assert (rate, copy.dtype, copy.shape) == (RATE, np.int16, (1700,))
    assert is_picture(folder / f"{name}.png")
    figures = json.loads((folder / f"{name}.json").read_text())
    assert figures["codes"] == count and figures["seconds"] == 1700 / RATE
    assert figures["bits_per_second_nominal"] == RATE / HOP * 4  # 16 codes
    assert figures["log_spectral_distance"] > 0
    assert f"{figures['log_spectral_distance']:.2f}" in out


@pytest.fixture
def three(tmp_path):
  """Files of a sound, of one that is shorter than a code, and of a long one."""
  for name, length in (("a", 700), ("short", 5), ("long", 1500)):
    soundfile.write(tmp_path / f"{name}.wav", tone(length), RATE, "PCM_16")
  return [tmp_path / f"{name}.wav" for name in ("a", "short", "long")]


def test_in_ones_own_voice_a_sound_is_reconstructed(sound_run, here, three, tmp_path):
  said = {}
  for verb, speaker in (("reconstruct", "flute"), ("convert", "flute"), ("convert", "0")):
    folder = tmp_path / (verb + speaker)
    args = ("--speaker", speaker, "--seed", 3, "--output", folder)
    status, _, err = here(verb, sound_run, *three, *args)
    assert status == 0, err
    end = {"reconstruct": "", "convert": "-flute" if speaker == "flute" else "-horn"}[verb]
    said[verb + speaker] = [wavfile.read(folder / f"{path.stem}{end}.wav")[1] for path in three]
    assert all(is_picture(folder / f"{path.stem}{end}.png") for path in three)
  assert [len(x) for x in said["convert0"]] == [700, 5, 1500]
  for mine, own, other in zip(*said.values(), strict=True):
    np.testing.assert_array_equal(mine, own)
    assert len(mine) == 5 or (own != other).any()


def test_a_sound_depends_on_none_that_is_drawn_with_it(
  sound_run, here, three, tmp_path, monkeypatch
):
  def said(*paths, name):
    args = ("--speaker", "horn", "--output", tmp_path / name)
    status, _, err = here("convert", sound_run, *paths, *args)
    assert status == 0, err
    return [(tmp_path / name / f"{path.stem}-horn.wav").read_bytes() for path in paths]

  together = said(*three, name="together")
  assert said(three[0], name="alone") == together[:1]
  monkeypatch.setattr(speaking, "AT_ONCE", 1)
  assert said(*three, name="one_after_another") == together


BAD = {
  "sample to a picture": (["sample", "{run}", "--output", "{new}/a.png"], "ends in .wav"),
  "sample to a folder": (["sample", "{run}", "--output", "{in}"], "ends in .wav"),
  "label": (["sample", "{run}", "--label", "hum"], "must be one of steady, rise, fall, up and"),
  "speaker": (["sample", "{run}", "--speaker", "2"], "--speaker is '2'; it must be one of horn, "),
  "top_k": (["sample", "{run}", "--top_k", "17"], "--top_k is 17; the prior has 16 codes"),
  "seconds": (["sample", "{run}", "--seconds", "0"], "--seconds is 0.0; it must be at least 0.001"),
  "an option of images": (["sample", "{run}", "--keep", "0.5"], "--keep"),
  "whose voice": (
    ["reconstruct", "{run}", "{in}/a.wav"],
    "--speaker is missing: the decoder is told of speakers; name that of the sounds, one of horn, ",
  ),
  "no file": (["reconstruct", "{run}", "--speaker", "0"], "name at least one sound, after DIR"),
  "missing": (["convert", "{run}", "{in}/x.wav", "--speaker", "0"], "{in}/x.wav: no such file"),
  "no sound": (
    ["convert", "{run}", "{in}/a.wav", "{in}/text.wav", "--speaker", "0"],
    "{in}/text.wav: not a sound",
  ),
  "NaN": (
    ["reconstruct", "{run}", "{in}/a.wav", "{in}/nan.wav", "--speaker", "0"],
    "{in}/nan.wav: 1 samples are NaN or infinite",
  ),
  "silence": (["convert", "{run}", "{in}/zero.wav", "--speaker", "0"], "{in}/zero.wav: silence"),
  "empty": (["convert", "{run}", "{in}/empty.wav", "--speaker", "0"], "{in}/empty.wav: empty"),
  "no voice": (["convert", "{run}", "{in}/a.wav"], "--speaker"),
  "unknown voice": (
    ["convert", "{run}", "{in}/a.wav", "--speaker", "flut"],
    "--speaker is 'flut'; it must be one of horn, flute\n",
  ),
  "temperature": (
    ["convert", "{run}", "{in}/a.wav", "--speaker", "0", "--temperature", "-1"],
    "--temperature is -1.0; it must be at least 0",
  ),
  "over its input": (
    ["convert", "{run}", "{in}/a.wav", "--speaker", "0", "--output", "{in}"],
    "--output {in} is the folder of {in}/a.wav, which would be overwritten",
  ),
  "one name": (
    ["convert", "{run}", "{in}/a.wav", "x/a.wav", "--speaker", "0"],
    "{in}/a.wav: another sound has the name 'a'",
  ),
  "a verb of images": (
    ["upsample", "{run}", "{in}/a.wav"],
    "{run}: upsample is for runs of images, which this is not",
  ),
  "a run of images": (
    ["convert", "{images}", "{in}/a.wav", "--speaker", "0"],
    "{images}: convert is for runs of sound, which this is not",
  ),
  "a run of neither": (
    ["sample", "{neither}", "--num", "3"],
    "{neither}: sample is for runs of images or sound, which this is not",
  ),
  "no run": (
    ["sample", "{new}", "--speaker", "0"],
    "{new} holds no experiment: {new}/config.json is missing",
  ),
  "nothing": (["reconstruct"], "DIR"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, sound_run):
  root = tmp_path_factory.mktemp("places")
  for name, about in {"images": {"image_shape": [8, 8, 1]}, "neither": {"users": 3}}.items():
    (root / name).mkdir()
    record = {"config": {}, "data": "", "about": about}
    (root / name / "config.json").write_text(json.dumps(record))
  (root / "in").mkdir()
  sounds = {
    "a": tone(400),
    "nan": np.where(np.arange(400) == 9, np.nan, 0.5),
    "zero": 0 * tone(400),
  }
  for name, x in sounds.items():
    soundfile.write(root / "in" / f"{name}.wav", x, RATE, "FLOAT")
  (root / "in" / "text.wav").write_text("no sound")
  (root / "in" / "empty.wav").touch()
  return {"run": sound_run} | {name: root / name for name in ("images", "neither", "in", "new")}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_status_2_and_nothing_written(case, places, here):
  def everything():
    files = [p for folder in places.values() for p in folder.rglob("*")]
    return {p: p.stat().st_mtime_ns for p in files}

  args, message = BAD[case]
  before = everything()
  status, _, err = here(*(a.format(**places) for a in args))
  assert status == 2, err
  assert err.startswith("error: ") and err.count("\n") == 1, err
  assert message.format(**places) in err
  assert not places["new"].exists() and everything() == before


def test_of_many_names_the_nearest_is_named(tmp_path):
  names = [f"p{i}" for i in range(225, 334)]
  assert generating.asked("speaker", "p300", names, tmp_path) == [75]
  assert generating.asked("speaker", "3", names, tmp_path) == [3]
  # Where names are numbers, a number that is none of them is nobody.
  assert generating.asked("speaker", "14", ["1034", "14"], tmp_path) == [1]
  with pytest.raises(BadInput, match="'1'; it must be one of 1034, 14"):
    generating.asked("speaker", "1", ["1034", "14"], tmp_path)
  with pytest.raises(BadInput, match=r"of 109, such as p225; did you mean p300\?$"):
    generating.asked("speaker", "P300", names, tmp_path)
  with pytest.raises(BadInput, match=r"^--speaker is 'x', but what .* learned knows no speakers$"):
    generating.asked("speaker", "x", [], tmp_path)


def test_help_without_a_run_is_that_of_each_subject(here):
  status, out, err = here("sample", "--help")
  assert status == 0 and not err and out.count("usage: python -m train sample") == 2
  assert "--classifier" in out and "--seconds" in out
