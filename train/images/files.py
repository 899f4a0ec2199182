"""Reading image files and bringing images to the size and channels asked for."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from train.errors import BadInput

# Only these are tried: Pillow would run Ghostscript on others.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

# Raised by Pillow on broken pixel data, depending on the format (PNG: SyntaxError), and by zips.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_BROKEN += (zipfile.BadZipFile, zlib.error, RuntimeError)


@contextlib.contextmanager
def _opened(path: pathlib.Path | zipfile.Path) -> Iterator[Image.Image]:
  try:
    with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
      yield image
  except UnidentifiedImageError:
    raise BadInput(
      f"{path}: not an image that can be read ({', '.join(FORMATS)}); "
      "remove it, or hide it with a leading dot"
    ) from None
  except _BROKEN as error:
    raise BadInput(f"{path}: truncated or corrupt image ({error}); replace or remove it") from error


def read_image(path: pathlib.Path | zipfile.Path) -> Image.Image:
  """The image in a file, upright (EXIF), its first frame, in mode L (grey) or RGB.

  Alpha is dropped, palettes are resolved and 16-bit grey is reduced to 8 bits.

  Raises:
    BadInput: the file is no image, or is truncated or corrupt; names it.
  """
  with _opened(path) as image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
      return Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return upright.convert("L" if _is_grey(upright.mode) else "RGB")


def image_header(path: pathlib.Path) -> tuple[int, int, int]:
  """(height, width, channels) that `read_image` would give, from the file's header alone.

  Raises:
    BadInput: the file is no image; names it.
  """
  with _opened(path) as image:
    width, height = image.size
    if image.getexif().get(0x0112, 1) >= 5:  # orientations that swap the sides
      width, height = height, width
    return height, width, 1 if _is_grey(image.mode) else 3


def _is_grey(mode: str) -> bool:
  return mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;16")


def fit(image: Image.Image, *, size: int | None, channels: int | None) -> Image.Image:
  """Resizes the shorter side to `size` and cuts out the centre square; makes it grey or RGB.

  What is None, or already as asked for, is left as it is.
  """
  mode = {None: image.mode, 1: "L", 3: "RGB"}[channels]
  if image.mode != mode:  # otherwise `convert` would copy
    image = image.convert(mode)
  if size is not None and image.size != (size, size):
    image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
  return image


def to_array(image: Image.Image) -> np.ndarray:
  """uint8[H, W, C] of an image in mode L or RGB."""
  array = np.asarray(image)
  return array[..., None] if array.ndim == 2 else array


def load_image(
  path: pathlib.Path, shape: tuple[int, int, int], *, inverted: bool = False
) -> np.ndarray:
  """An image file as uint8[H, W, C] of the given shape: resized to cover it, then cropped.

  inverted: with light and dark exchanged, as the Omniglot source does with its drawings.

  Raises:
    BadInput: the file is missing, or no image.
  """
  if not path.is_file():
    raise BadInput(f"{path}: no such file; give a PNG or JPEG image")
  height, width, channels = shape
  image = fit(read_image(path), size=None, channels=channels)
  image = ImageOps.invert(image) if inverted else image
  return to_array(ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC))
