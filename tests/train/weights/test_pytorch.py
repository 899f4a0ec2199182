"""What torch.save writes, in both its formats, is read to the bit by what has no torch."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from train.errors import BadInput
from train.weights import read

torch = pytest.importorskip("torch", reason="peer PyTorch not installed")
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(value, path, zipped: bool):
  torch.save(value, path, _use_new_zipfile_serialization=zipped)
  return path


def tensors() -> dict:
  base = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
  return {
    "plain": base,
    "transposed": base.permute(2, 0, 1),  # three views of one storage
    "sliced": base[1:5:2, ::3, 1],
    "parameter": torch.nn.Parameter(base[0].clone()),
    "double": base.double() / 3,
    "half": base.half(),
    "bfloat16": base.bfloat16().transpose(0, 1),
    "num_batches_tracked": torch.tensor(2**40),
    "int": torch.arange(3, dtype=torch.int32),
    "short": torch.arange(3, dtype=torch.int16),
    "char": torch.arange(-3, 3, dtype=torch.int8),
    "byte": torch.arange(250, 256, dtype=torch.uint8),
    "bool": torch.tensor([[True, False]]),
    "empty": torch.zeros(0, 3),
    "module.prefix": torch.ones(1),
  }


def expected(tensor) -> np.ndarray:
  tensor = tensor.detach()
  return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def assert_read(path, wanted: dict):
  found = read(path)
  assert list(found) == list(wanted)
  for key, tensor in wanted.items():
    assert found[key].dtype == expected(tensor).dtype, key
    np.testing.assert_array_equal(found[key], expected(tensor), err_msg=key)


@FORMATS
def test_types_views_and_shared_storages(tmp_path, zipped):
  assert_read(save(tensors(), tmp_path / "weights", zipped), tensors())


@FORMATS
@pytest.mark.parametrize(
  "key", ["model_state", "state_dict", "model_state_dict", "model", "net", "blobs"]
)
def test_the_state_dict_is_chosen_from_a_checkpoint(tmp_path, zipped, key):
  net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
  optimizer = torch.optim.Adam(net.parameters())
  net(torch.ones(2, 3)).sum().backward()
  optimizer.step()
  scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
  checkpoint = {
    "epoch": 3,
    "best": torch.tensor(0.5),
    "meta": {"when": "now", "device": torch.device("cpu"), "shape": net[0].weight.shape},
    "accuracy": np.float64(0.5),
    "history": np.arange(6.0).reshape(2, 3).T,
    key: net.state_dict(),
    "optimizer": optimizer.state_dict(),
    "scheduler": scheduler.state_dict(),
  }
  assert_read(save(checkpoint, tmp_path / "weights", zipped), net.state_dict())


@FORMATS
def test_records_of_settings_beside_the_weights_are_left_aside(tmp_path, zipped):
  import argparse
  import pathlib
  import types

  settings = {
    "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a").name),
    "more": types.SimpleNamespace(steps=(1, 2)),
    "file": pathlib.Path("a/b"),
  }
  weights = {"weight": torch.ones(2)}
  path = save({"state_dict": weights, **settings}, tmp_path / "weights", zipped)
  assert_read(path, weights)


@FORMATS
def test_a_whole_model_is_refused_by_its_class(tmp_path, zipped):
  path = save(torch.nn.Linear(2, 3), tmp_path / "model.pth", zipped)
  with pytest.raises(BadInput, match=r"model.pth: its pickle calls for torch\.nn\.\S+Linear"):
    read(path)


def test_a_torchscript_program_is_named(tmp_path):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit itself
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), tmp_path / "model.pt")
  with pytest.raises(
    BadInput, match=r"model\.pt: it is a TorchScript program; give the state dict"
  ):
    read(tmp_path / "model.pt")


@pytest.mark.parametrize(
  ("value", "said"),
  [
    ({"epoch": 3, "optimizer": {"lr": 0.1}}, "it holds no state dict: its keys are 'epoch', 'opt"),
    ({}, "it holds no state dict: its keys are none"),
    (torch.ones(3), "it holds a tensor; it must be a state dict"),
    ([torch.ones(3)], "it holds a list; it must be a state dict"),
    (
      {"model": {"a": torch.ones(1)}, "state_dict": {"a": torch.ones(1)}},
      "several state dicts, 'state_dict', 'model'; give a file of one",
    ),
    ({"model": {"a": torch.ones(1), "b": "x"}}, "its state dict has 'b', a str, among its tensors"),
  ],
)
def test_no_state_dict_or_several(tmp_path, value, said):
  with pytest.raises(BadInput) as caught:
    read(save(value, tmp_path / "weights.pth", True))
  assert said in str(caught.value) and "\n" not in str(caught.value)


@FORMATS
def test_needs_no_torch(tmp_path, zipped):
  path = save(tensors(), tmp_path / "weights.pth", zipped)
  program = (
    "import sys; sys.modules['torch'] = None\n"
    "from train.weights import read\n"
    "print(sum(float(x.astype('f8').sum()) for x in read(sys.argv[1]).values()))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 0, done.stderr
  wanted = sum(float(expected(tensor).astype("f8").sum()) for tensor in tensors().values())
  assert float(done.stdout) == wanted


@FORMATS
def test_a_file_that_was_cut_says_so(tmp_path, zipped):
  whole = save(tensors(), tmp_path / "whole", zipped).read_bytes()
  cut = tmp_path / "cut.pth"
  for at in np.linspace(0, len(whole) - 1, 40).astype(int):
    cut.write_bytes(whole[:at])
    with pytest.raises(BadInput) as caught:
      read(cut)
    assert str(caught.value).startswith(f"{cut}: it is") and "\n" not in str(caught.value)


@FORMATS
def test_a_damaged_file_is_read_or_says_so(tmp_path, zipped):
  whole = save(tensors(), tmp_path / "whole", zipped).read_bytes()
  random, damaged = np.random.default_rng(0), tmp_path / "damaged.pth"
  for _ in range(300):
    data = bytearray(whole)
    for at in random.integers(0, len(data), 3):
      data[at] = random.integers(0, 256)
    damaged.write_bytes(data)
    try:
      read(damaged)
    except BadInput as error:
      assert str(error).startswith(f"{damaged}: ") and "\n" not in str(error)
