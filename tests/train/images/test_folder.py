"""Folders of images: layouts, held-out parts, kinds of files, and what can be wrong with them."""

import os

import numpy as np
import pytest
from PIL import Image

from train.data import Data, open_split, prepare
from train.data.fingerprint import fingerprint
from train.data.hold_out import held_out_names
from train.errors import BadInput


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
  """Makes `Data` for the folder photos."""
  return lambda **fields: Data(
    source="folder", path=str(photos), dir=str(tmp_path / "tfds"), **fields
  )


def all_images(split):
  return {image.tobytes() for image in split.gather(range(len(split)))[0]}


def test_without_classes(photos, folder_data):
  write_images(photos, 20)
  train, held_out = open_split(folder_data(), "train"), open_split(folder_data(), "eval")
  assert (len(train), len(held_out)) == (18, 2)
  assert train.image_shape == (10, 12, 3)
  assert (train.num_classes, train.class_names) == (0, ())
  assert train[0]["label"] == 0
  written = {np.asarray(Image.open(file)).tobytes() for file in photos.iterdir()}
  assert all_images(train) | all_images(held_out) == written
  assert not all_images(train) & all_images(held_out)


def test_classes_are_subfolders_and_each_is_held_out_alike(photos, folder_data):
  for i, (name, count) in enumerate({"dog": 40, "cat": 20, "eel/young": 10}.items()):
    write_images(photos / name, count, seed=i)
  train = open_split(folder_data(eval_fraction=0.2), "train")
  held_out = open_split(folder_data(eval_fraction=0.2), "eval")
  assert train.class_names == held_out.class_names == ("cat", "dog", "eel")
  assert train.num_classes == 3
  _, labels = held_out.gather(range(len(held_out)))
  assert np.bincount(labels).tolist() == [4, 8, 2]
  cats = {np.asarray(Image.open(file)).tobytes() for file in (photos / "cat").iterdir()}
  for split in (train, held_out):
    for image, label in zip(*split.gather(range(len(split))), strict=True):
      assert (image.tobytes() in cats) == (label == 0)


@pytest.mark.parametrize(("held_out", "split"), [("test", "test"), ("val", "validation")])
def test_own_splits(photos, folder_data, held_out, split):
  write_images(photos / "train" / "a", 3, seed=0)
  write_images(photos / "train" / "b", 3, seed=1)
  write_images(photos / held_out / "b", 2, seed=2)
  train, evaluated = open_split(folder_data(), "train"), open_split(folder_data(), "eval")
  assert (len(train), len(evaluated)) == (6, 2)
  assert evaluated.name.endswith(f" {split}")
  assert evaluated.class_names == ("a", "b")
  assert evaluated.gather([0, 1])[1].tolist() == [1, 1]


def test_classes_that_only_one_split_has(photos, folder_data):
  write_images(photos / "train" / "b", 3, seed=0)
  write_images(photos / "test" / "a", 4, seed=1)
  write_images(photos / "test" / "c", 2, seed=2)
  train, evaluated = open_split(folder_data(), "train"), open_split(folder_data(), "eval")
  assert train.class_names == evaluated.class_names == ("a", "b", "c")
  assert train.labels().tolist() == [1] * 3
  assert np.bincount(evaluated.labels()).tolist() == [4, 0, 2]


@pytest.mark.parametrize(
  ("fraction", "classes"), [(0.01, 1), (0.3, 2), (0.5, 3), (0.9, 4), (0.0, 0)]
)
@pytest.mark.parametrize("inner", ["", "train"])
def test_whole_classes_held_out(photos, folder_data, tmp_path, fraction, classes, inner):
  for i, name in enumerate("abcde"):
    write_images(photos / inner / name, 2 + i, seed=i)
  data = folder_data(eval_fraction=fraction, hold_out="classes")
  train = open_split(data, "train")
  seen = np.bincount(train.labels(), minlength=5)
  if not classes:
    assert seen.tolist() == [2, 3, 4, 5, 6]
    return
  held_out = open_split(data, "eval")
  unseen = np.bincount(held_out.labels(), minlength=5)
  assert train.class_names == held_out.class_names == tuple("abcde")
  assert (seen + unseen).tolist() == [2, 3, 4, 5, 6]
  assert not (seen * unseen).any() and np.count_nonzero(unseen) == classes
  open_split(folder_data(eval_fraction=fraction), "train")  # another dataset
  assert len(list((tmp_path / "tfds" / "folder").iterdir())) == 2


def test_held_out_classes_are_the_same_whatever_else_there_is():
  names = [f"class {i}" for i in range(50)]
  held_out = held_out_names(names, 0.2)
  assert len(held_out) == 10
  assert held_out_names(names[::-1], 0.2) == held_out
  assert len(held_out_names([*names, "one more"], 0.2) - held_out) <= 1


def test_classes_that_can_not_be_held_out(photos, folder_data, tmp_path):
  write_images(photos / "train" / "a", 2)
  data = folder_data(hold_out="classes")
  with pytest.raises(
    BadInput, match=r"hold_out: 'classes', but .* the subfolder a alone; give two"
  ):
    open_split(data, "train")
  write_images(photos / "test" / "b", 2)
  with pytest.raises(BadInput, match=r"has splits of its own \(t.*set it to examples"):
    open_split(data, "train")
  write_images(tmp_path / "flat", 2)
  with pytest.raises(BadInput, match=r"flat has no subfolders; give two classes"):
    open_split(Data(source="folder", path=str(tmp_path / "flat"), hold_out="classes"), "train")
  with pytest.raises(BadInput, match=r"hold_out: 'classes', but only source=folder"):
    open_split(Data(hold_out="classes"), "train")
  with pytest.raises(BadInput, match=r"hold_out: 'alphabets'; give one of examples, classes"):
    open_split(folder_data(hold_out="alphabets"), "train")
  assert not (tmp_path / "tfds").exists()


def test_other_options_leave_a_prepared_folder_its_name(photos, folder_data):
  """A run that was recorded finds its dataset again by this name."""
  write_images(photos / "a", 2)
  write_images(photos / "b", 2)
  listed = sorted(photos.glob("*/*.png"))
  for fields, more in (({}, ()), ({"tile": 8}, (8, 8)), ({"image_size": 9}, ())):
    options = (fields.get("image_size"), None, 0.1, ("a", "b"), *more)
    assert prepare(folder_data(**fields)).parent.name == fingerprint(
      photos, listed, options=options
    )


def test_only_train_holds_out_of_it(photos, folder_data):
  write_images(photos / "train", 10)
  assert len(open_split(folder_data(), "train")) == 9
  assert len(open_split(folder_data(), "eval")) == 1


def test_held_out_part_depends_on_names_alone(photos, folder_data, tmp_path):
  write_images(photos, 30)
  before = all_images(open_split(folder_data(), "eval"))
  for file in photos.iterdir():
    os.utime(file, (1, 1))
  assert all_images(open_split(folder_data(), "eval")) == before
  assert len(list((tmp_path / "tfds" / "folder").iterdir())) == 2


def test_nothing_held_out(photos, folder_data):
  write_images(photos, 3)
  data = folder_data(eval_fraction=0)
  assert len(open_split(data, "train")) == 3
  with pytest.raises(BadInput, match=r"data\.eval_split: .*train \(3 examples\)"):
    open_split(data, "eval")


def test_changed_folder_is_prepared_anew(photos, folder_data):
  write_images(photos, 10)
  assert len(open_split(folder_data(), "train")) == 9
  write_images(photos, 20, seed=1)
  assert len(open_split(folder_data(), "train")) == 18


def test_sizes_and_channels(photos, folder_data):
  write_images(photos, 4, size=(30, 16))
  write_images(photos / ".hidden", 1)
  (photos / "Thumbs.db").write_text("not an image")
  (photos / ".DS_Store").write_text("not an image")
  Image.new("L", (9, 20), 7).save(photos / "x.jpg", quality=100)
  with pytest.raises(BadInput, match=r"x\.jpg: 20x9 pixels, but 00.\.png 16x30; set data\.im"):
    open_split(folder_data(), "train")
  assert open_split(folder_data(image_size=16), "train").image_shape == (16, 16, 3)
  grey = open_split(folder_data(image_size=16, channels=1, eval_fraction=0), "train")
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
  split = open_split(folder_data(channels=1, eval_fraction=0), "train")
  assert len(split) == 8
  assert all_images(split) == {ramp.tobytes()}


def test_one_bit_images(photos, folder_data):
  write_images(photos, 3, mode="1")
  images, _ = open_split(folder_data(eval_fraction=0), "train").gather([0, 1, 2])
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
  splits = {name: open_split(folder_data(**options), name) for name in ("train", "eval")}
  found = {
    name: list(map(bytes, split.gather(range(len(split)))[0])) for name, split in splits.items()
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
  split = open_split(folder_data(image_size=16, tile=8, eval_fraction=0), "train")
  assert len(split) == 16 and split.image_shape == (8, 8, 3)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"tile": 11}, r"000\.png: 10x12 pixels, smaller than data\.tile \(11\)"),
    ({"tile": -1}, r"data\.tile=-1"),
    ({"tile_stride": 3}, r"data\.tile_stride: 3, but data\.tile is 0"),
  ],
)
def test_impossible_tiles(photos, folder_data, fields, message):
  write_images(photos, 2)
  with pytest.raises(BadInput, match=message):
    open_split(folder_data(eval_fraction=0, **fields), "train")


def test_tiles_are_of_folders_alone(tmp_path):
  with pytest.raises(BadInput, match=r"data\.tile: 8, but only source=folder cuts tiles"):
    open_split(Data(source="digits", tile=8, dir=str(tmp_path)), "train")


def test_kodak(shared_data, tmp_path):
  data = Data(
    source="folder",
    path=str(shared_data / "kodak"),
    image_size=64,
    eval_fraction=0.25,
    dir=str(tmp_path),
  )
  train, held_out = open_split(data, "train"), open_split(data, "eval")
  assert (len(train), len(held_out)) == (6, 2)
  assert train.image_shape == (64, 64, 3)
  assert train.gather(range(6))[0].std() > 30
  with pytest.raises(BadInput, match=r"kodim\d+\.png: .*set data\.image_size"):
    open_split(Data(source="folder", path=data.path, dir=data.dir), "train")


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
    open_split(folder_data(), "train")
  assert "\n" not in str(raised.value)
  assert not list((tmp_path / "tfds").glob("*"))
