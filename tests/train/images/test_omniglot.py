"""Omniglot: its zips and folders, ink that is bright, and alphabets that training never sees."""

import dataclasses
import io
import os
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from train.data import Groups, batch
from train.data.prepare import hold_the_same
from train.errors import BadInput
from train.images.builders.omniglot import config
from train.images.files import load_image
from train.images.sources import Omniglot

SMALL = {"Greek": 3, "Latin": 2, "Tifinagh": 4}  # characters of every alphabet
DRAWERS = 4


def drawing(seed, *, size=105):
  """A 1-bit PNG with some black ink on white, and how many of its pixels are ink."""
  rng = np.random.default_rng(seed)
  pixels = np.ones((size, size), bool)
  top, left = rng.integers(5, size - 20, 2)
  pixels[top : top + rng.integers(3, 15), left : left + rng.integers(3, 15)] = False
  file = io.BytesIO()
  Image.fromarray(pixels).convert("1").save(file, "png")
  return file.getvalue(), int((~pixels).sum())


def members(part="images_background", alphabets=SMALL, *, first=1):
  """Path -> PNG, as the zips that are distributed have it."""
  files, number = {}, first
  for alphabet, characters in alphabets.items():
    for c in range(1, characters + 1):
      for d in range(1, DRAWERS + 1):
        name = f"{part}/{alphabet}/character{c:02}/{number:04}_{d:02}.png"
        files[name] = drawing(number * 100 + d)[0]
      number += 1
  return files


def write_zip(path, files):
  path.parent.mkdir(exist_ok=True)
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for folder in sorted({f"{name.rpartition('/')[0]}/" for name in files if "/" in name}):
      archive.writestr(folder, "")
    for name, content in files.items():
      archive.writestr(name, content)
  return path


def extract(folder, files):
  for name, content in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
  return folder


@pytest.fixture
def omniglot(tmp_path):
  """Makes the source of a path."""
  return lambda path, **fields: Omniglot(
    **{"path": str(path), "dir": str(tmp_path / "tfds"), "image_size": 28} | fields
  )


def splits(source):
  """What is trained on, and what is evaluated."""
  found = source.open()
  assert found.keys() == {"train", "eval"}
  return found["train"], found["eval"]


def whole(source):
  """Images of a source that holds out nothing."""
  split = dataclasses.replace(source, eval_fraction=0, eval_split="train").open()["train"]
  return split.read(np.arange(len(split)))["image"]


def alphabets(split):
  return {split.class_names[label].split("/")[0] for label in split.labels()}


def contents(split):
  """(class, image) of every example, in an order of their own."""
  images, labels = split.read(np.arange(len(split))).values()
  return sorted((split.class_names[l], i.tobytes()) for i, l in zip(images, labels, strict=True))


def test_a_zip(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background_small1.zip", members("images_background_small1"))
  train, held_out = splits(omniglot(path, eval_fraction=0.3))
  assert train.image_shape == held_out.image_shape == (28, 28, 1)
  names = [f"{a}/character{c:02}" for a in SMALL for c in range(1, SMALL[a] + 1)]
  assert train.class_names == held_out.class_names == tuple(sorted(names))
  assert len(alphabets(held_out)) == 1
  assert alphabets(train) | alphabets(held_out) == set(SMALL)
  assert not alphabets(train) & alphabets(held_out)
  assert len(train) + len(held_out) == DRAWERS * len(names)
  for split in (train, held_out):
    assert set(np.bincount(split.labels())) <= {0, DRAWERS}
  b = batch(Groups(train, train.labels(), group_size=DRAWERS), 0, 0, 12)
  assert np.bincount(b["group"]).tolist() == [DRAWERS] * 3


def test_ink_is_bright_and_keeps_its_place_and_amount(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background.zip", members())
  large = whole(omniglot(path, image_size=None))
  assert large.shape == (36, 105, 105, 1)
  assert set(np.unique(large)) == {0, 255}
  found = {image.tobytes() for image in large}
  with zipfile.ZipFile(path) as archive:
    for name in members():
      black = ~np.asarray(Image.open(io.BytesIO(archive.read(name))))
      assert (black * np.uint8(255)).tobytes() in found
  small = whole(omniglot(path))
  assert len(np.unique(small)) > 50  # antialiased
  ink = np.sort(small.mean((1, 2, 3)))
  np.testing.assert_allclose(ink, np.sort(large.mean((1, 2, 3))), atol=0.6)  # of 255


def test_files_are_named(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background.zip", {f"x/{n}": c for n, c in members().items()})
  builder = tfds.builder_from_directory(omniglot(path, eval_fraction=0).dataset())
  examples = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
  assert sorted(example["file"].decode() for example in examples) == sorted(members())


def test_three_channels(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background.zip", members())
  images = whole(omniglot(path, channels=3, image_size=20))
  assert images.shape == (36, 20, 20, 3)
  assert (images[..., :1] == images).all()


def test_zip_and_folders_hold_the_same(tmp_path, omniglot):
  files = members()
  zipped = write_zip(tmp_path / "zips" / "images_background.zip", files)
  folder = extract(tmp_path / "extracted", files)
  beside = extract(tmp_path / "both", files)
  write_zip(beside / "images_background.zip", files)
  write_zip(beside / "strokes_background.zip", {"strokes/Greek/character01/1_01.txt": ""})
  bare = {name.partition("/")[2]: content for name, content in files.items()}
  same = (
    zipped,
    zipped.parent,
    folder,
    folder / "images_background",
    beside,
    write_zip(tmp_path / "bare.zip", bare),
    write_zip(tmp_path / "deep.zip", {f"a/b/{name}": content for name, content in files.items()}),
  )
  expected = [contents(split) for split in splits(omniglot(zipped))]
  for path in same[1:]:
    assert [contents(split) for split in splits(omniglot(path))] == expected


def test_wherever_it_lies_it_is_the_same_data(tmp_path, omniglot):
  """Order included, which the names of folders above must not decide."""
  files = members()
  zipped = write_zip(tmp_path / "a" / "images_background.zip", files)
  (tmp_path / "b").mkdir()
  bare = extract(tmp_path / "c", files) / "images_background"
  other = shutil.copytree(bare, tmp_path / "any name", copy_function=shutil.copy)
  for one, same in (
    (zipped, zipped.parent),
    (zipped, shutil.copy(zipped, tmp_path / "b")),
    (bare, other),
  ):
    folders = [omniglot(one).dataset(), omniglot(same, dir=str(tmp_path / "more")).dataset()]
    assert folders[0].parent.name == folders[1].parent.name
    assert hold_the_same(*folders)


def test_the_benchmarks_own_split(tmp_path, omniglot):
  other = {"Atlantean": 2, "Ge_ez": 3}
  evaluation = members("images_evaluation", other, first=500)
  folder = tmp_path / "omniglot"
  write_zip(folder / "images_background.zip", members())
  extract(folder, evaluation)
  train, held_out = splits(omniglot(folder))
  assert alphabets(train) == set(SMALL) and alphabets(held_out) == set(other)
  assert (len(train), len(held_out)) == (9 * DRAWERS, 5 * DRAWERS)
  assert train.num_classes == held_out.num_classes == 14
  small = members("images_background_small2", {"Greek": 3})
  write_zip(folder / "images_background_small2.zip", small)  # a part of images_background
  assert [contents(s) for s in splits(omniglot(folder))] == [contents(train), contents(held_out)]
  assert alphabets(splits(omniglot(folder, eval_alphabets="Greek"))[1]) == {"Greek"}


def test_evaluation_alone_is_split_by_alphabets(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_evaluation.zip", members("images_evaluation"))
  train, held_out = splits(omniglot(path))
  assert len(alphabets(train)) == 2 and len(alphabets(held_out)) == 1


def test_how_many_alphabets_are_held_out(tmp_path):
  named = {f"Script_{i}": 1 for i in range(10)}
  path = write_zip(tmp_path / "images_background.zip", members(alphabets=named))
  for fraction, count in ((0.01, 1), (0.24, 2), (0.25, 3), (0.5, 5), (0.95, 9)):
    found = config(Omniglot(path=str(path), eval_fraction=fraction)).splits
    parts = [{d.alphabet for d in found[name]} for name in ("train", "test")]
    assert [len(part) for part in parts] == [10 - count, count]
    assert parts[0] | parts[1] == set(named)


def test_alphabets_by_name(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background.zip", members())
  train, held_out = splits(omniglot(path, eval_alphabets="Tifinagh, Greek"))
  assert alphabets(held_out) == {"Tifinagh", "Greek"}
  assert alphabets(train) == {"Latin"}
  for named, message in (
    ("Greek,latin", r"eval_alphabets: .*has no 'latin'; name some of Greek, Latin, Tifinagh$"),
    ("Greek,Latin,Tifinagh", "none would be left to train on; name fewer"),
  ):
    with pytest.raises(BadInput, match=message):
      omniglot(path, eval_alphabets=named).prepare()


def test_what_file_managers_leave_is_ignored(tmp_path, omniglot):
  files = members()
  junk = {
    "__MACOSX/images_background/Greek/character01/._0001_01.png": b"junk",
    "images_background/Greek/character01/._0001_01.png": b"junk",
    "images_background/Greek/character01/.DS_Store": b"junk",
    "images_background/.DS_Store": b"junk",
    "images_background/Greek/notes.txt": b"junk",
  }
  clean = write_zip(tmp_path / "clean" / "images_background.zip", files)
  mixed = write_zip(tmp_path / "mixed" / "images_background.zip", files | junk)
  folder = extract(tmp_path / "folder", files | junk)
  expected = [contents(split) for split in splits(omniglot(clean))]
  for path in (mixed, folder):
    assert [contents(split) for split in splits(omniglot(path))] == expected


def test_a_changed_zip_is_prepared_anew(tmp_path, omniglot):
  path = write_zip(tmp_path / "images_background.zip", members())
  before = omniglot(path).prepare()
  assert omniglot(path).prepare() == before
  write_zip(path, members(alphabets=SMALL | {"Latin": 3}))
  os.utime(path, (1, 1))
  assert omniglot(path).prepare() != before
  assert len(splits(omniglot(path, eval_alphabets="Latin"))[1]) == 3 * DRAWERS
  assert omniglot(path, image_size=20).prepare() != omniglot(path).prepare()


def no_zip(path):
  path.write_bytes(b"not a zip")


def truncated(path):
  path.write_bytes(path.read_bytes()[:-200])


def corrupt(path):
  content = bytearray(path.read_bytes())
  with zipfile.ZipFile(path) as archive:
    info = archive.getinfo("images_background/Latin/character02/0005_03.png")
  content[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
  path.write_bytes(content)


def other_layout(path):
  write_zip(path, {"images_background/Greek/0001_01.png": drawing(0)[0]})


def no_image(path):
  write_zip(path, members() | {"images_background/Latin/character02/0005_03.png": b"hello"})


def half_an_image(path):
  half = {"images_background/Latin/character02/0005_03.png": drawing(0)[0][:-30]}
  write_zip(path, members() | half)


@pytest.mark.parametrize("inside", [True, False], ids=["a zip", "a folder of it"])
@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (no_zip, r"background\.zip: not a whole zip"),
    (truncated, r"background\.zip: not a whole zip"),
    (corrupt, r"background\.zip/images_background/Latin/character02/0005_03\.png: truncated or c"),
    (other_layout, r"zips.*: no images_\*/ALPHABET/characterNN/NNNN_NN\.png in it"),
    (no_image, r"Latin/character02/0005_03\.png: not an image"),
    (half_an_image, r"Latin/character02/0005_03\.png: truncated or corrupt"),
  ],
)
def test_bad_zip_is_one_line_and_leaves_nothing(tmp_path, omniglot, inside, damage, message):
  path = write_zip(tmp_path / "zips" / "images_background.zip", members())
  damage(path)
  with pytest.raises(BadInput, match=message) as raised:
    omniglot(path if inside else path.parent).prepare()
  assert "\n" not in str(raised.value)
  assert not list((tmp_path / "tfds").glob("*"))


def test_nothing_there(tmp_path, omniglot):
  for path in ("", tmp_path / "nowhere.zip"):
    with pytest.raises(BadInput, match=r"data\.path: no file or folder"):
      omniglot(path).prepare()
  with pytest.raises(BadInput, match=r"no images_\*/ALPHABET/.* in it, and no zip of that"):
    omniglot(tmp_path).prepare()


def test_omniglot_itself(shared_data, tmp_path, omniglot):
  path = shared_data / "omniglot_small1" / "images_background_small1.zip"
  if not path.is_file():
    pytest.skip(f"no real data: {path} is missing")
  train, held_out = splits(omniglot(path))
  assert len(train) + len(held_out) == 2720
  assert train.num_classes == 136
  counts = [np.bincount(split.labels(), minlength=136) for split in (train, held_out)]
  assert (sum(counts) == 20).all() and not (counts[0] * counts[1]).any()
  assert not alphabets(train) & alphabets(held_out) and len(alphabets(held_out)) == 1
  for split in (train, held_out):
    images = split.read(np.arange(len(split)))["image"]
    assert images.mean() < 128 and images.max() == 255
    assert np.median(images) == 0


def test_a_drawing_from_a_file_is_as_the_source_has_it(tmp_path):
  """What verbs are given and what was trained on have their ink alike."""
  files = members(alphabets={"Greek": 2, "Latin": 2})
  extract(tmp_path / "omniglot", files)
  source = Omniglot(path=str(tmp_path / "omniglot"), dir=str(tmp_path / "datasets"))
  split, _ = splits(source)
  read = split.read(np.arange(len(split)))
  first = next(name for name in files if split.class_names[read["label"][0]] in name)
  loaded = load_image(tmp_path / "omniglot" / first, split.image_shape, inverted=source.inverted)
  assert any(np.array_equal(loaded, image) for image in read["image"]) and loaded.mean() < 64
  assert load_image(tmp_path / "omniglot" / first, split.image_shape).mean() > 191
