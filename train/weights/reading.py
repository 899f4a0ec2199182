"""`read`: a file's format by its content, never by its name; then the state dict that is in it."""

import pathlib
import zipfile
from typing import Any, BinaryIO

import numpy as np

from train.errors import BadInput
from train.weights import pickles, pytorch
from train.weights.choosing import state_dict_of
from train.weights.tensors import Refused, Wrong

_WANTED = "it must be a state dict as PyTorch's .pth, Caffe2's .pkl, .npz or .safetensors"


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """The tensors of the state dict in a file, by name; needs no other framework, runs no code.

  The formats are those of torch.save, both the zip archives of now and what was before 1.6; of
  pickles of arrays, such as Caffe2's in PySlowFast's model zoo; of numpy.savez; and safetensors.
  Of a checkpoint it is the state dict, under "state_dict", "model_state" and the like: optimizer
  and settings are left aside. Types are those stored, but for bfloat16, which becomes float32.
  Names are as they are stored (`vqlab.interop` drops what data-parallel training puts before them).

  Raises:
    BadInput: the file is missing, is none of these, is cut short or damaged, holds no state dict
      or several, or calls for anything that tensors do not need.
  """
  path = pathlib.Path(path)
  try:
    if not path.is_file():
      found = "is a folder" if path.is_dir() else "is no file" if path.exists() else "is missing"
      raise BadInput(f"{path} {found}; {_WANTED}")
    with open(path, "rb") as file:
      return state_dict_of(_load(file))
  except Wrong as error:
    raise BadInput(f"{path}: {error}") from None
  except OSError as error:
    raise BadInput(f"{path} can't be read: {error.strerror or error}") from None
  except (BadInput, MemoryError):
    raise
  # Libraries raise what they please of bytes that are not what they seem.
  except Exception as error:
    said = " ".join(str(error).split())[:120] or type(error).__name__
    raise BadInput(f"{path}: it is cut short or damaged ({said})") from None


def _load(file: BinaryIO) -> Any:
  """What is in a file: a pickle's values, or arrays by name."""
  start = file.read(16)
  file.seek(0)
  if not start:
    raise Wrong(f"it is empty; {_WANTED}")
  if start.startswith(b"PK"):
    return _archive(file)
  if start[8:9] == b"{" and start[4:8] == bytes(4):  # a header of JSON, its length first
    return _safetensors(file)
  try:
    first = pickles.load(file)
  except Wrong as error:
    # Bytes that are no pickle end soon, with nothing found.
    if start[:1] == b"\x80" or isinstance(error, Refused):
      raise
    raise Wrong(f"{_described(start)}; {_WANTED}") from None
  return pytorch.load_row(file) if first == pytorch.MAGIC else first


def _described(start: bytes) -> str:
  """What a file is that holds no weights."""
  known = {
    b"<": "it is a web page, not the file that it may lead to",
    b"version https://": "it is a pointer of Git LFS, not the file that it stands for",
    b"\x89PNG": "it is a picture",
    b"\x89HDF": "it is an HDF5 file",
  }
  for magic, said in known.items():
    if start.lstrip().startswith(magic):
      return said
  return f"it is no file of weights: it begins with {start[:12]!r}"


def _archive(file: BinaryIO) -> Any:
  archive = zipfile.ZipFile(file)  # which leaves the file open: storages are read later
  names = archive.namelist()
  if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
    raise Wrong("it is a TorchScript program; give the state dict alone (model.state_dict())")
  if objects := [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]:
    return pytorch.load_zip(archive, objects[0])
  if names and all(name.endswith(".npy") for name in names):
    file.seek(0)
    return dict(np.load(file, allow_pickle=False))
  raise Wrong(f"it is an archive of {', '.join(map(ascii, names[:4])) or 'nothing'}; {_WANTED}")


def _safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
  try:
    from safetensors import safe_open
  except ImportError:
    raise Wrong("it is a .safetensors file; to read it: pip install 'vqlab[train]'") from None
  with safe_open(file.name, framework="numpy") as opened:
    arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
  return {k: x.astype(np.float32) if x.dtype.name == "bfloat16" else x for k, x in arrays.items()}
