"""Folders of images: layouts, held-out parts, kinds of files, and what can be wrong with them."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from train.data.fingerprint import fingerprint
from train.data.folders import held_out_names
from train.data.prepare import hold_the_same
from train.errors import BadInput
from train.fields import check
from train.images.sources import Folder

WHOLE = {"eval_fraction": 0, "eval_split": "train"}  # nothing held out


def write_images(folder, count, *, size=(12, 10), mode="RGB", suffix=".png", seed=0):
  """`count` random images of size (width, height)."""
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(seed)
  for i in range(count):
    pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}{suffix}")


@pytest.fixture
def photos(tmp_path):
  return tmp_path / "photos"


@pytest.fixture
def folder_data(tmp_path, photos):
  """Makes the source of the folder photos."""
  return lambda **fields: Folder(path=str(photos), dir=str(tmp_path / "tfds"), **fields)


def opened(source):
  """What is trained on, and what is evaluated."""
  splits = source.open()
  assert splits.keys() == {"train", "eval"}
  return splits["train"], splits["eval"]


def read(split):
  """All images, all labels."""
  return split.read(np.arange(len(split))).values()


def all_images(split):
  return {image.tobytes() for image in split.read(np.arange(len(split)))["image"]}


def test_without_classes(photos, folder_data):
  write_images(photos, 20)
  train, held_out = opened(folder_data())
  assert (len(train), len(held_out)) == (18, 2)
  assert train.image_shape == (10, 12, 3)
  assert (train.num_classes, train.class_names) == (0, ())
  assert not train.labels().any()
  written = {np.asarray(Image.open(file)).tobytes() for file in photos.iterdir()}
  assert all_images(train) | all_images(held_out) == written
  assert not all_images(train) & all_images(held_out)


def test_classes_are_subfolders_and_each_is_held_out_alike(photos, folder_data):
  for i, (name, count) in enumerate({"dog": 40, "cat": 20, "eel/young": 10}.items()):
    write_images(photos / name, count, seed=i)
  train, held_out = opened(folder_data(eval_fraction=0.2))
  assert train.class_names == held_out.class_names == ("cat", "dog", "eel")
  assert train.num_classes == 3
  assert np.bincount(held_out.labels()).tolist() == [4, 8, 2]
  cats = {np.asarray(Image.open(file)).tobytes() for file in (photos / "cat").iterdir()}
  for split in (train, held_out):
    for image, label in zip(*read(split), strict=True):
      assert (image.tobytes() in cats) == (label == 0)


@pytest.mark.parametrize(("held_out", "split"), [("test", "test"), ("val", "validation")])
def test_own_splits(photos, folder_data, held_out, split):
  write_images(photos / "train" / "a", 3, seed=0)
  write_images(photos / "train" / "b", 3, seed=1)
  write_images(photos / held_out / "b", 2, seed=2)
  train, evaluated = opened(folder_data())
  assert (len(train), len(evaluated)) == (6, 2)
  assert evaluated.name.endswith(f" {split}")
  assert evaluated.class_names == ("a", "b")
  assert evaluated.labels().tolist() == [1, 1]


def test_classes_that_only_one_split_has(photos, folder_data):
  write_images(photos / "train" / "b", 3, seed=0)
  write_images(photos / "test" / "a", 4, seed=1)
  write_images(photos / "test" / "c", 2, seed=2)
  train, evaluated = opened(folder_data())
  assert train.class_names == evaluated.class_names == ("a", "b", "c")
  assert train.labels().tolist() == [1] * 3
  assert np.bincount(evaluated.labels()).tolist() == [4, 0, 2]


@pytest.mark.parametrize(("fraction", "classes"), [(0.3, 2), (0.9, 4), (0.0, 0)])
@pytest.mark.parametrize("inner", ["", "train"])
def test_whole_classes_held_out(photos, folder_data, tmp_path, fraction, classes, inner):
  for i, name in enumerate("abcde"):
    write_images(photos / inner / name, 2 + i, seed=i)
  if not classes:
    train = folder_data(hold_out="classes", **WHOLE).open()["train"]
    assert np.bincount(train.labels()).tolist() == [2, 3, 4, 5, 6]
    return
  train, held_out = opened(folder_data(eval_fraction=fraction, hold_out="classes"))
  seen, unseen = (np.bincount(split.labels(), minlength=5) for split in (train, held_out))
  assert train.class_names == held_out.class_names == tuple("abcde")
  assert (seen + unseen).tolist() == [2, 3, 4, 5, 6]
  assert not (seen * unseen).any() and np.count_nonzero(unseen) == classes
  folder_data(eval_fraction=fraction).prepare()  # another dataset
  assert len(list((tmp_path / "tfds" / "folder").iterdir())) == 2


def test_held_out_classes_are_the_same_whatever_else_there_is():
  names = [f"class {i}" for i in range(50)]
  held_out = held_out_names(names, 0.2)
  assert len(held_out) == 10
  assert held_out_names(names[::-1], 0.2) == held_out
  assert len(held_out_names([*names, "one more"], 0.2) - held_out) <= 1


def test_how_many_names_are_held_out():
  """Rounded, but at least one, and at least one is left."""
  for fraction, of_five, of_ten in (
    (0, 0, 0),
    (0.01, 1, 1),
    (0.24, 1, 2),
    (0.25, 1, 3),
    (0.3, 2, 3),
    (0.5, 3, 5),
    (0.9, 4, 9),
    (0.95, 4, 9),
  ):
    assert len(held_out_names("abcde", fraction)) == of_five
    assert len(held_out_names("abcdefghij", fraction)) == of_ten


def test_classes_that_can_not_be_held_out(photos, folder_data, tmp_path):
  write_images(photos / "train" / "a", 2)
  data = folder_data(hold_out="classes")
  write_images(photos / "test" / "b", 2)
  with pytest.raises(BadInput, match=r"has splits of its own \(t.*set it to examples"):
    data.open()
  write_images(tmp_path / "flat", 2)
  with pytest.raises(BadInput, match=r"flat has no subfolders; set it to examples"):
    Folder(path=str(tmp_path / "flat"), hold_out="classes").open()
  with pytest.raises(BadInput, match=r"hold_out is .alphabets.; it must be .*examples.*classes"):
    check(folder_data(hold_out="alphabets"))
  assert not (tmp_path / "tfds").exists()


def test_other_options_leave_a_prepared_folder_its_name(photos, folder_data):
  """A run that was recorded finds its dataset again by this name."""
  write_images(photos / "a", 2)
  write_images(photos / "b", 2)
  listed = sorted(photos.glob("*/*.png"))
  for fields, more in (({}, ()), ({"tile": 8}, (8, 8)), ({"image_size": 9}, ())):
    options = (fields.get("image_size"), None, 0.1, ("a", "b"), *more)
    name = fingerprint(photos, listed, options=options)
    assert folder_data(**fields).prepare() == f"folder/{name}/1.0.0"


def test_only_train_holds_out_of_it(photos, folder_data):
  write_images(photos / "train", 10)
  assert [len(split) for split in opened(folder_data())] == [9, 1]


def test_held_out_part_depends_on_names_alone(photos, folder_data, tmp_path):
  held_out = []
  for seed in (0, 1):
    write_images(photos, 30, seed=seed)
    found = all_images(folder_data().open()["eval"])
    images = {file.name: np.asarray(Image.open(file)).tobytes() for file in photos.iterdir()}
    held_out.append({name for name, image in images.items() if image in found})
  assert len(held_out[0]) == 3 and held_out[0] == held_out[1]
  assert len(list((tmp_path / "tfds" / "folder").iterdir())) == 2


def test_wherever_it_lies_it_is_the_same_data(photos, folder_data, tmp_path):
  """Order included; and it is not prepared again."""
  for i, name in enumerate(("b", "a")):
    write_images(photos / name, 9, seed=i)
  first, moved = folder_data().dataset(), tmp_path / "elsewhere" / "a name"
  times = [file.stat().st_mtime_ns for file in sorted(first.iterdir())]
  shutil.copytree(photos, moved, copy_function=shutil.copy)
  os.utime(photos / "a" / "000.png", (1, 1))
  again = Folder(path=str(moved), dir=str(tmp_path / "tfds"))
  assert folder_data().dataset() == again.dataset() == first
  assert [file.stat().st_mtime_ns for file in sorted(first.iterdir())] == times
  anew = Folder(path=str(moved), dir=str(tmp_path / "other")).dataset()
  assert anew.relative_to(tmp_path / "other") == first.relative_to(tmp_path / "tfds")
  assert hold_the_same(anew, first)


def test_nothing_held_out(photos, folder_data):
  write_images(photos, 3)
  assert len(folder_data(**WHOLE).open()["train"]) == 3
  with pytest.raises(BadInput, match=r"data\.eval_split: .*train \(3 examples\)"):
    folder_data(eval_fraction=0).open()


def test_changed_folder_is_prepared_anew(photos, folder_data):
  write_images(photos, 10)
  assert len(folder_data().open()["train"]) == 9
  write_images(photos, 20, seed=1)
  assert len(folder_data().open()["train"]) == 18


def test_sizes_and_channels(photos, folder_data):
  write_images(photos, 4, size=(30, 16))
  write_images(photos / ".hidden", 1)
  (photos / "Thumbs.db").write_text("not an image")
  (photos / ".DS_Store").write_text("not an image")
  Image.new("L", (9, 20), 7).save(photos / "x.jpg", quality=100)
  with pytest.raises(BadInput, match=r"x\.jpg: 20x9 pixels, but 00.\.png 16x30; set data\.im"):
    folder_data().open()
  assert folder_data(image_size=16).open()["train"].image_shape == (16, 16, 3)
  grey = folder_data(image_size=16, channels=1, **WHOLE).open()["train"]
  assert grey.image_shape == (16, 16, 1)
  centre = Image.open(photos / "000.png").crop((7, 0, 23, 16)).convert("L")
  assert np.asarray(centre).tobytes() in all_images(grey)
  assert len(grey) == 5


def test_kinds_of_files(photos, folder_data):
  photos.mkdir()
  ramp = np.arange(120, dtype=np.uint8).reshape(10, 12)
  wide = ramp.astype(np.uint16) * 256 + 255
  for suffix in ("png", "bmp", "webp", "tiff", "gif", "pgm"):
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(ramp).save(photos / f"image.{suffix}", **options)
  Image.fromarray(wide).save(photos / "deep.png")
  turned = Image.fromarray(np.rot90(ramp))
  exif = Image.Exif()
  exif[0x0112] = 6  # shown after a quarter turn clockwise
  turned.save(photos / "turned.png", exif=exif)
  split = folder_data(channels=1, **WHOLE).open()["train"]
  assert len(split) == 8
  assert all_images(split) == {ramp.tobytes()}


def test_links_and_names_of_any_bytes(photos, folder_data):
  write_images(photos / "a", 3)
  (photos / "a" / "back").symlink_to(photos, target_is_directory=True)
  (photos / "a" / "000.png").rename(os.fsdecode(os.fsencode(photos / "a") + b"/caf\xe9.png"))
  train, held_out = opened(folder_data(eval_fraction=0.34))
  assert (len(train), len(held_out), train.class_names) == (2, 1, ("a",))


def test_one_bit_images(photos, folder_data):
  write_images(photos, 3, mode="1")
  images, _ = read(folder_data(**WHOLE).open()["train"])
  assert images.shape == (3, 10, 12, 1)
  assert set(np.unique(images)) == {0, 255}


def test_tiles(photos, folder_data):
  """All squares of the stride in training; held-out ones side by side; of images of any size."""
  rng = np.random.default_rng(0)
  photos.mkdir()
  for i, (width, height) in enumerate([(20, 12), (13, 9), (8, 8), (17, 30)] * 5):
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photos / f"{i:03}.png")
  options = {"tile": 8, "tile_stride": 3, "eval_fraction": 0.2}
  splits = folder_data(**options).open()
  found = {
    name: list(map(bytes, split.read(np.arange(len(split)))["image"]))
    for name, split in splits.items()
  }
  expected = {3: {}, 8: {}}
  for file in photos.iterdir():
    whole = np.asarray(Image.open(file))
    for stride in expected:
      expected[stride][file] = [
        whole[y : y + 8, x : x + 8].tobytes()
        for y in range(0, whole.shape[0] - 7, stride)
        for x in range(0, whole.shape[1] - 7, stride)
      ]
  held_out = {f for f, cuts in expected[8].items() if set(cuts) <= set(found["eval"])}
  assert len(held_out) == 4 and splits["train"].image_shape == (8, 8, 3)
  assert sorted(found["eval"]) == sorted(c for f in held_out for c in expected[8][f])
  others = set(expected[3]) - held_out
  assert sorted(found["train"]) == sorted(c for f in others for c in expected[3][f])


def test_tiles_of_resized_images(photos, folder_data):
  write_images(photos, 4, size=(40, 33))
  split = folder_data(image_size=16, tile=8, **WHOLE).open()["train"]
  assert len(split) == 16 and split.image_shape == (8, 8, 3)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"tile": 11}, r"000\.png: 10x12 pixels, smaller than data\.tile \(11\)"),
    ({"tile_stride": 3}, r"data\.tile_stride: 3, but data\.tile is 0"),
  ],
)
def test_impossible_tiles(photos, folder_data, fields, message):
  write_images(photos, 2)
  with pytest.raises(BadInput, match=message):
    folder_data(**WHOLE, **fields).open()


def test_kodak(shared_data, tmp_path):
  path, folder = str(shared_data / "kodak"), str(tmp_path)
  train, held_out = opened(Folder(path=path, dir=folder, image_size=64, eval_fraction=0.25))
  assert (len(train), len(held_out)) == (6, 2)
  assert train.image_shape == (64, 64, 3)
  assert train.read(np.arange(6))["image"].std() > 30
  with pytest.raises(BadInput, match=r"kodim\d+\.png: .*set data\.image_size"):
    Folder(path=path, dir=folder).open()


def empty(photos):
  photos.mkdir()


def no_image(photos):
  (photos / "notes.txt").write_text("hello")


def truncated(photos):
  content = (photos / "000.png").read_bytes()
  (photos / "zz.png").write_bytes(content[: len(content) // 2])


def corrupt(photos):
  content = bytearray((photos / "000.png").read_bytes())
  content[len(content) // 2] ^= 0xFF
  (photos / "zz.png").write_bytes(content)


def mixed(photos):
  write_images(photos / "cat", 2)


def broken_link(photos):
  (photos / "zz.png").symlink_to(photos / "nowhere.png")


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (empty, "photos: no images in it"),
    (no_image, r"notes\.txt: not an image"),
    (truncated, r"zz\.png: truncated or corrupt"),
    (corrupt, r"zz\.png: truncated or corrupt"),
    (mixed, r"photos: files directly in it \(000\.png, \.\.\.\) and in subfolders \(cat"),
    (broken_link, r"zz\.png: can't be read"),
    (lambda photos: None, "data.path: no folder"),
  ],
)
def test_bad_folder_is_one_line_and_leaves_nothing(photos, folder_data, tmp_path, damage, message):
  if message not in ("photos: no images in it", "data.path: no folder"):
    write_images(photos, 3)
  damage(photos)
  with pytest.raises(BadInput, match=message) as raised:
    folder_data().open()
  assert "\n" not in str(raised.value)
  assert not list((tmp_path / "tfds").glob("*"))
