"""Caffe2's pickles, .npz, .safetensors; what is no file of weights; formats by content."""

import collections
import io
import pickle
import shutil
import sys

import numpy as np
import pytest

from train.errors import BadInput
from train.weights import read


def blobs() -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)
  return {
    "conv1_w": random.normal(size=(4, 3, 1, 7, 7)).astype(np.float32),
    "fortran": np.asfortranarray(random.normal(size=(4, 3))),
    "big_endian": np.arange(5, dtype=">i4"),
    "half": np.arange(3, dtype=np.float16),
    "lr": np.float32(0.1),
    "model_iter": np.array([200], np.int64),
  }


def assert_same(found, wanted):
  assert found.keys() == wanted.keys()
  for key, value in wanted.items():
    assert found[key].dtype == value.dtype.newbyteorder("="), key
    np.testing.assert_array_equal(found[key], value, err_msg=key)


def of_python_2(value) -> bytes:
  """A pickle as Python 2 writes it: the bytes of arrays are strings, as all of its strings are."""

  class Pickler(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, value):
      data = value.encode("latin1") if isinstance(value, str) else value
      short = len(data) < 256
      head = b"U" + bytes([len(data)]) if short else b"T" + len(data).to_bytes(4, "little")
      self.write(head + data)
      self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text

  Pickler(out := io.BytesIO(), 2).dump(value)
  return out.getvalue().replace(b"numpy._core.", b"numpy.core.")


def test_caffe2_pickles_of_python_2(tmp_path):
  path = tmp_path / "SLOWFAST.pkl"
  path.write_bytes(of_python_2({"blobs": blobs(), "weight_order": None, "cfg": "A: 1\n"}))
  assert_same(read(path), blobs())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_arrays_in_every_protocol(tmp_path, protocol):
  path = tmp_path / "weights"
  path.write_bytes(pickle.dumps({"blobs": collections.OrderedDict(blobs())}, protocol))
  assert_same(read(path), blobs())


def test_npz(tmp_path):
  for save in (np.savez, np.savez_compressed):
    with open(tmp_path / "weights.pth", "wb") as file:  # whatever its name
      save(file, **blobs())
    assert_same(read(tmp_path / "weights.pth"), blobs())


def test_safetensors(tmp_path):
  import ml_dtypes
  from safetensors.numpy import save_file

  arrays = {k: v for k, v in blobs().items() if k not in ("fortran", "lr", "big_endian")}
  save_file(arrays, tmp_path / "plain", metadata={"format": "pt"})
  assert_same(read(tmp_path / "plain"), arrays)
  exact = np.array([1, -2.5, 3e38], ml_dtypes.bfloat16)
  save_file({"w": exact}, tmp_path / "bfloat16")
  assert_same(read(tmp_path / "bfloat16"), {"w": exact.astype(np.float32)})


def test_safetensors_without_its_library(tmp_path, monkeypatch):
  from safetensors.numpy import save_file

  save_file({"w": np.ones(3)}, tmp_path / "w.safetensors")
  monkeypatch.setitem(sys.modules, "safetensors", None)
  with pytest.raises(BadInput, match=r"w.safetensors: .*pip install 'vqlab\[train\]'"):
    read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("form", ["caffe2", "pickle", "npz", "safetensors"])
def test_a_file_that_was_cut_says_so(tmp_path, form):
  from safetensors.numpy import save_file

  whole, cut = tmp_path / "whole", tmp_path / "cut"
  if form == "npz":
    np.savez(whole.with_suffix(".npz"), **blobs())
    shutil.move(whole.with_suffix(".npz"), whole)
  elif form == "safetensors":
    save_file({"w": np.arange(99.0), "v": np.ones(3)}, whole)
  else:
    data = {"blobs": blobs()}
    whole.write_bytes(of_python_2(data) if form == "caffe2" else pickle.dumps(data))
  data = whole.read_bytes()
  for at in np.linspace(0, len(data) - 1, 40).astype(int):
    cut.write_bytes(data[:at])
    with pytest.raises(BadInput) as caught:
      read(cut)
    assert str(caught.value).startswith(f"{cut}: it is") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("data", "said"),
  [
    (b"", "it is empty; it must be a state dict"),
    (b"<!DOCTYPE html><html>404", "it is a web page"),
    (b"\n<html>", "it is a web page"),
    (b"\x89PNG\r\n\x1a\n0000", "it is a picture"),
    (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
    (b"Some words about the weights.\n", "it is no file of weights: it begins with b'Some words"),
    (b"\x93NUMPY\x01\x00", "it is no file of weights"),
    (b'{"json": {"a": 1}}', "it is no file of weights"),
    (bytes(64), "it is no file of weights"),
    (b".", "it is no file of weights"),
    (b"PK\x05\x06" + bytes(18), "it is an archive of nothing"),
    (
      pickle.dumps({"blobs": {"a": np.array(["x"])}}),
      "'a' is of the type <U1, which",
    ),
  ],
)
def test_what_is_no_file_of_weights(tmp_path, data, said):
  path = tmp_path / "weights.pth"
  path.write_bytes(data)
  with pytest.raises(BadInput) as caught:
    read(path)
  assert str(caught.value).startswith(f"{path}: {said}") and "\n" not in str(caught.value)


def test_npz_of_objects_is_refused(tmp_path):
  np.savez(tmp_path / "w.npz", w=np.array([{}], object))
  with pytest.raises(BadInput, match="Object arrays cannot be loaded"):
    read(tmp_path / "w.npz")


def test_missing_or_a_folder(tmp_path):
  with pytest.raises(BadInput, match=r"gone\.pth is missing; it must be a state dict"):
    read(tmp_path / "gone.pth")
  with pytest.raises(BadInput, match="is a folder; it must be"):
    read(tmp_path)
