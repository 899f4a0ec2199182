"""Sources of sound: who speaks what by names, what is held out, and what is left out."""

import dataclasses
import shutil
import zipfile

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from train.audio import preparing  # noqa: E402
from train.audio.files import read  # noqa: E402
from train.audio.sources import Audio, AudioFolder, LibriSpeech, Vctk  # noqa: E402
from train.errors import BadInput  # noqa: E402
from train.fields import check  # noqa: E402

HALVES = {"eval_fraction": 0.5, "test_fraction": 0.0}
DIGITS = "{label}_{speaker}_{index}"


def write(path, seed=0, *, count=200, rate=16000):
  path.parent.mkdir(parents=True, exist_ok=True)
  x = np.random.default_rng(seed).integers(-9000, 9000, count).astype(np.int16)
  soundfile.write(path, x, rate)
  return x


def put(root, *names):
  for seed, name in enumerate(names):
    write(root / name, seed)
  return root


@pytest.fixture
def source(tmp_path):
  """Makes a source of tmp_path / "a"."""

  def make(kind=AudioFolder, **fields):
    made = kind(path=str(tmp_path / "a"), dir=str(tmp_path / "tfds"), num_threads=2, **fields)
    check(made)
    return made

  return make


def told(source):
  """{name: (speaker, label)} of all splits."""
  found = {}
  for sounds in source.open().values():
    labels = sounds.class_names or ("",)
    for name, speaker, label in zip(sounds.files, sounds.speaker, sounds.label, strict=True):
      found[name] = sounds.speakers[speaker], labels[label]
  return found


def refused(source, *words):
  with pytest.raises(BadInput) as caught:
    source.open()
  assert "\n" not in str(caught.value)
  for word in words:
    assert word in str(caught.value)
  return True


def test_spoken_digits(tmp_path, source, shared_data):
  archive = shared_data / "fsdd" / "fsdd_4speakers.zip"
  if not archive.is_file():
    pytest.skip(f"no {archive}")
  with zipfile.ZipFile(archive) as file:
    names = [name for name in file.namelist() if int(name.split("_")[2].split(".")[0]) < 5]
    file.extractall(tmp_path / "a", names)
  data = source(pattern=DIGITS, rate=8000, eval_fraction=0.1, test_fraction=0.1)
  splits = data.open()
  assert data.about(splits) == {
    "rate": 8000,
    "speakers": ["george", "jackson", "lucas", "nicolas"],
    "class_names": list("0123456789"),
    "num_classes": 10,
    "sounds": {"train": 160, "eval": 20, "test": 20},
    "seconds": {name: round(sounds.seconds, 3) for name, sounds in splits.items()},
    "left_out": {"train": 0, "eval": 0, "test": 0},
  }
  for split, share in (("eval", 20), ("test", 20)):
    sounds = splits[split]
    assert np.bincount(sounds.speaker).tolist() == [share / 4] * 4
    assert np.bincount(sounds.label).tolist() == [share / 10] * 10
  seen = []
  for sounds in splits.values():
    for i, file in enumerate(sounds.files):
      np.testing.assert_array_equal(sounds.read(i), read(tmp_path / "a" / file, rate=8000))
      assert file.startswith(f"{sounds.label[i]}_{sounds.speakers[sounds.speaker[i]]}_")
      assert sounds.lengths[i] == len(sounds.read(i))
    seen += sounds.files
  assert sorted(seen) == sorted(names)


def test_patterns(tmp_path, source):
  root = put(tmp_path / "a", "ann/go/1.wav", "ann/stop/x.y.flac", "bob/go/.hidden.wav")
  put(root, "bob/go/3.WAV")
  (root / "README.txt").write_text("not listed")
  expected = {
    "ann/go/1.wav": ("ann", "go"),
    "ann/stop/x.y.flac": ("ann", "stop"),
    "bob/go/3.WAV": ("bob", "go"),
  }
  data = {"eval_fraction": 0.3, "test_fraction": 0.0}
  assert told(source(pattern="{speaker}/{label}/{take}", **data)) == expected
  assert told(source(pattern="{speaker}/{}/{}", **data)) == {
    name: (speaker, "") for name, (speaker, _) in expected.items()
  }
  assert told(source(pattern="{take}/{label}/{take}", **data)) == {
    name: ("", label) for name, (_, label) in expected.items()
  }


def test_a_placeholder_twice_is_the_same_twice(tmp_path, source):
  put(tmp_path / "a", "p1/p1_a.wav", "p2/p2_b.wav")
  pattern = "{speaker}/{speaker}_{label}"
  assert set(told(source(pattern=pattern, **HALVES)).values()) == {("p1", "a"), ("p2", "b")}
  put(tmp_path / "a", "p2/p1_a.wav")
  assert refused(source(pattern=pattern, **HALVES), repr(pattern), "'p2/p1_a'", "(1 of 3 such)")


def test_patterns_that_can_not_be(tmp_path, source):
  put(tmp_path / "a", "1_ann.wav", "2_bob.wav", "two.wav")
  assert refused(source(pattern="{label}_{speaker}"), "'{label}_{speaker}'", "'two'", "(1 of 3")
  assert refused(source(pattern="{word}_{who}"), "'{word}_{who}'", "neither {speaker} nor {label}")


def test_subfolders(tmp_path, source):
  put(tmp_path / "a", "ann/x/1.wav", "bob/2.wav")
  assert set(told(source(**HALVES)).values()) == {("ann", ""), ("bob", "")}
  labels = told(source(subfolders="label", **HALVES))
  assert set(labels.values()) == {("", "ann"), ("", "bob")}
  put(tmp_path / "a", "3.wav")
  assert refused(source(**HALVES), "directly in it (3.wav, ...) and in subfolders")


def test_nobody_is_known(tmp_path, source):
  put(tmp_path / "a", "1.wav", "2.wav")
  data = source(**HALVES)
  about = data.about(data.open())
  assert (about["speakers"], about["class_names"], about["num_classes"]) == ([""], [], 0)
  assert about["sounds"] == {"train": 1, "eval": 1}


def test_vctk(tmp_path, source):
  old = ("wav48/p225/p225_001.wav", "wav48/p225/p225_002.wav", "wav48/p226/p226_001.wav")
  put(tmp_path / "a", *old, "txt/p225/p225_001.wav")
  data = {"eval_fraction": 0.4, "test_fraction": 0.0}
  assert told(source(Vctk, **data)) == {name: (name.split("/")[1], "") for name in old}
  new = [f"wav48_silence_trimmed/{s}/{s}_00{n}_mic" for s in ("p225", "s5") for n in (1, 2)]
  put(tmp_path / "a", *(f"{name}{mic}.flac" for name in new for mic in (1, 2)))
  for microphone in (1, 2):
    found = told(source(Vctk, microphone=microphone, **data))
    assert found == {f"{n}{microphone}.flac": (n.split("/")[1], "") for n in new}
  shutil.rmtree(tmp_path / "a")
  put(tmp_path / "a", "p225/p225_001.wav")
  assert refused(source(Vctk), "data.path: no folder", "wav48")


def test_librispeech(tmp_path, source):
  names = ("dev-clean/84/121123/84-121123-0000.flac", "dev-clean/174/50561/174-50561-0000.flac")
  put(tmp_path / "a", *names, "dev-other/1/2/1-2-0000.flac")
  found = told(source(LibriSpeech, parts=("dev-clean",), **HALVES))
  assert found == {names[0]: ("84", ""), names[1]: ("174", "")}
  assert len(told(source(LibriSpeech, parts=("dev-clean", "dev-other"), **HALVES))) == 3
  assert refused(
    source(LibriSpeech),
    "data.parts: no folder 'train-clean-100' in ",
    "there are dev-clean, dev-other",
  )


@pytest.mark.parametrize("fractions", [(0.05, 0.05), (0.25, 0.1), (0.1, 0.0)])
def test_each_speaker_and_each_label_is_held_out_alike(tmp_path, source, fractions):
  counts = {("a", "x"): 50, ("a", "y"): 50, ("b", "x"): 50, ("b", "y"): 30, ("c", "y"): 20}
  names = [f"{s}_{label}_{i}.wav" for (s, label), n in counts.items() for i in range(n)]
  for name in names:
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / name).touch()  # not read here
  held_out = dict(zip(("eval", "test"), fractions, strict=True))
  shares = {f"{split}_fraction": share for split, share in held_out.items()}
  data = source(pattern="{speaker}_{label}_{}", **shares)
  listing = data.listed()
  parts = preparing._parted(data, *listing)
  assert list(parts) == ["train", "eval", "test"][: 2 + (fractions[1] > 0)]
  for split in list(parts)[1:]:
    assert len(parts[split]) == 200 * held_out[split]
    for field in ("speaker", "label"):
      whole = [getattr(entry, field) for entry in listing.entries]
      found = [getattr(entry, field) for entry in parts[split]]
      for value in set(whole):
        assert abs(found.count(value) - whole.count(value) * held_out[split]) <= 1
  assert sorted(e.path.name for part in parts.values() for e in part) == sorted(names)


def test_nothing_to_hold_out_or_to_train_on(tmp_path, source):
  put(tmp_path / "a", "1.wav", "2.wav", "3.wav")
  assert refused(source(), "data.test_fraction: 0.05 of 3 sounds is none; raise it")
  assert refused(source(test_fraction=0.0), "data.eval_fraction: 0.05 of 3 sounds is none")
  assert refused(source(eval_fraction=0.6, test_fraction=0.5), "leave no sound to train on")
  for name in ("1.wav", "2.wav", "3.wav"):
    (tmp_path / "a" / name).unlink()
  assert refused(source(), "no sounds in it")
  assert refused(AudioFolder(path=str(tmp_path / "b")), f"no folder '{tmp_path / 'b'}'")
  assert refused(AudioFolder(), "no folder ''")


def test_known_by_contents_wherever_they_lie(tmp_path, source):
  put(tmp_path / "a", *(f"{i}.wav" for i in range(4)))
  data = source(**HALVES)
  name = data.prepare()
  assert data.prepare() == name and data.differs(name, name) == ""
  (tmp_path / "a").rename(tmp_path / "b")
  moved = dataclasses.replace(data, path=str(tmp_path / "b"), num_threads=1, broken="stop")
  assert moved.prepare() == name
  others = {"rate": 8000}, {"trim_db": 40.0}, {"eval_fraction": 0.25}, {"test_fraction": 0.25}
  assert len({name, *(dataclasses.replace(moved, **x).prepare() for x in others)}) == 5
  file = tmp_path / "b" / "2.wav"
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  changed = moved.prepare()
  assert changed != name
  assert "1 changed (2.wav)" in moved.differs(name, changed)


@pytest.fixture
def some_broken(tmp_path):
  """Ten sounds, and one of each kind that can't be read."""
  root = put(tmp_path / "a", *(f"{i}.wav" for i in range(10)))
  (root / "text.wav").write_text("no sound" * 50)
  (root / "nothing.flac").touch()
  soundfile.write(root / "silent.wav", np.zeros(100), 16000)
  soundfile.write(root / "nan.wav", np.array([0.1, np.nan]), 16000, subtype="FLOAT")
  for name in ("cut.wav", "cut.flac"):
    write(root / name, count=5000)
    (root / name).write_bytes((root / name).read_bytes()[:3000])
  return root


def test_broken_files_are_left_out_and_named(source, some_broken, capsys):
  data = source(eval_fraction=0.5, test_fraction=0.0)
  first = data.about(data.open())
  said = capsys.readouterr().out
  assert len(said.splitlines()) == 1
  assert f"of 16 sounds in {some_broken} 6 can't be read (" in said
  assert said.count("; ") == 6 and "...); they are left out" in said  # five and the dots
  assert sum(first["left_out"].values()) == 6 and sum(first["sounds"].values()) == 10
  assert set(told(data)) == {f"{i}.wav" for i in range(10)}
  assert data.about(data.open()) == first  # which needs no second look
  assert capsys.readouterr().out == ""
  stop = dataclasses.replace(data, broken="stop")
  for _ in range(2):
    assert refused(stop, "6 can't be read", "replace them, or set data.broken to skip")


def test_broken_files_stop(source, some_broken):
  assert refused(source(broken="stop", **HALVES), "6 can't be read", "set data.broken to skip")
  for name in ("text.wav", "nothing.flac", "silent.wav", "nan.wav", "cut.wav", "cut.flac"):
    (some_broken / name).unlink()
  assert len(told(source(broken="stop", **HALVES))) == 10


def test_a_split_of_which_nothing_can_be_read(tmp_path, source):
  (tmp_path / "a").mkdir()
  for name in ("1.wav", "2.wav"):
    (tmp_path / "a" / name).write_text("no sound")
  assert refused(source(**HALVES), "no sound of the split", "not a sound")
  assert not list((tmp_path / "tfds" / "sounds").glob("*/*"))


def test_files_that_clip_are_counted_in_a_line(tmp_path, source, capsys):
  put(tmp_path / "a", "1.wav", "2.wav")
  soundfile.write(tmp_path / "a" / "loud.wav", np.ones(100), 44100)
  source(**HALVES).open()
  assert "of 3 sounds in" in (said := capsys.readouterr().out) and " 1 clip, " in said
  source(**HALVES).open()
  assert capsys.readouterr().out == ""


def test_prepared_at_the_rate_and_trimmed(tmp_path, source):
  x = np.concatenate([np.zeros(8000), 0.5 * np.sin(np.arange(8000) / 8), np.zeros(8000)])
  for name in ("1.wav", "2.wav"):
    (tmp_path / "a").mkdir(exist_ok=True)
    soundfile.write(tmp_path / "a" / name, np.stack([x, x], 1), 48000)
  sounds = source(rate=8000, trim_db=40.0, **HALVES).open()["train"]
  expected = read(tmp_path / "a" / "1.wav", rate=8000, trim_db=40.0)
  np.testing.assert_array_equal(sounds.read(0), expected)
  assert 1333 < sounds.lengths[0] < 1700


def test_read_from_disk_as_from_memory(tmp_path, source, monkeypatch):
  put(tmp_path / "a", *(f"{s}/{i}.wav" for s in "ab" for i in range(5)))
  data = source(**HALVES)
  memory = data.open()
  monkeypatch.setattr(preparing, "_CACHE_BYTES", 0)
  for _ in range(2):  # the second time what is known of them is in a file
    for name, disk in data.open().items():
      assert disk.num_threads == 2 and disk.files == memory[name].files
      for field in ("lengths", "speaker", "label"):
        np.testing.assert_array_equal(getattr(disk, field), getattr(memory[name], field))
        assert getattr(disk, field).dtype == getattr(memory[name], field).dtype
      for i in range(len(disk)):
        np.testing.assert_array_equal(disk.read(i), memory[name].read(i))
  assert len(list((tmp_path / "tfds").glob("sounds/*/*/*.npz"))) == 2


def test_a_source_of_ones_own(tmp_path, source):
  from train.audio.names import Entry
  from train.audio.sources import Listing

  class Own(Audio):
    def listed(self):
      root = self.folder()
      return Listing(root, [Entry(p, speaker="me", label=p.stem) for p in sorted(root.iterdir())])

  put(tmp_path / "a", "x.wav", "y.wav")
  assert told(source(Own, **HALVES)) == {"x.wav": ("me", "x"), "y.wav": ("me", "y")}
