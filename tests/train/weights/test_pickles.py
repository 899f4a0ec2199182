"""Pickles written by hand: none runs anything, and none gets more than its file holds."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from train.errors import BadInput
from train.weights import pytorch, read


class Calls:
  """Pickles as a call."""

  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


class Names:
  """Pickles, by hand, as the global of a name."""

  def __init__(self, module, name):
    self.module, self.name = module, name


class Refers:
  """Pickles as a persistent id."""

  def __init__(self, *values):
    self.values = values


class Pickler(pickle._Pickler):  # in Python: names need not be importable
  dispatch = pickle._Pickler.dispatch.copy()

  def save_name(self, value):
    self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

  dispatch[Names] = save_name

  def persistent_id(self, value):
    return value.values if isinstance(value, Refers) else None

  def save_reduce(self, func, args, *rest, **options):
    if isinstance(func, Names):
      self.save(func)
      self.save(args)
      self.write(pickle.REDUCE)
    else:
      super().save_reduce(func, args, *rest, **options)


def dumped(value, protocol: int = 2) -> bytes:
  Pickler(out := io.BytesIO(), protocol).dump(value)
  return out.getvalue()


def legacy(pickled: bytes) -> bytes:
  """PyTorch's older format around a pickle, without storages."""
  system = {"protocol_version": 1001, "little_endian": True}
  parts = [pickle.dumps(pytorch.MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps(system, 2)]
  return b"".join([*parts, pickled, pickle.dumps([], 2)])


def zipped(path, pickled: bytes, storages: dict[str, bytes] | None = None):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickled)
    for key, data in (storages or {}).items():
      archive.writestr(f"archive/data/{key}", data)
  return path


def refused(path) -> str:
  with pytest.raises(BadInput) as caught:
    read(path)
  said = str(caught.value)
  assert said.startswith(f"{path}: ") and "\n" not in said
  return said


WEIGHTS = {"w": np.ones(3, np.float32)}


def attacks(marker):
  touch = f"touch {marker}"
  objects = np.array([Calls(os.system, touch)], object)
  return {
    "posix.system": Calls(os.system, touch),
    "subprocess.Popen": {
      "model": WEIGHTS,
      "meta": [({"x": Calls(Names("subprocess", "Popen"), touch)},)],
    },
    "builtins.eval": {**WEIGHTS, "x": Calls(eval, f"open({str(marker)!r}, 'w')")},
    "builtins.exec": collections.OrderedDict(a=Calls(exec, f"open({str(marker)!r}, 'w')")),
    "builtins.getattr": Calls(getattr, {}, "clear"),
    "os.system": Calls(Names("os", "system"), touch),
    "numpy.load": {**WEIGHTS, "x": Names("numpy", "load")},
    "torch.load": Calls(Names("torch", "load"), str(marker)),
    "torch._utils.sys.modules": Names("torch._utils", "sys.modules"),
    "collections.namedtuple": Names("collections", "namedtuple"),
    "posix.system ": {"model": {"w": objects}},  # within an array
  }


@pytest.mark.parametrize("form", ["pickle", "zip", "legacy", "protocol 0", "protocol 4"])
@pytest.mark.parametrize("name", attacks(None))
def test_what_is_called_is_refused_by_its_name(tmp_path, name, form):
  marker, path = tmp_path / "marker", tmp_path / "weights"
  protocol = {"protocol 0": 0, "protocol 4": 4}.get(form, 2)
  pickled = dumped(attacks(marker)[name], protocol)
  if form == "zip":
    zipped(path, pickled)
  else:
    path.write_bytes(legacy(pickled) if form == "legacy" else pickled)
  said = refused(path)
  assert f"its pickle calls for {name.strip()}, which no weights need" in said
  assert not marker.exists()


def test_the_attack_would_work_on_an_ordinary_unpickler(tmp_path):
  marker = tmp_path / "marker"
  pickle.loads(dumped(attacks(marker)["posix.system"]))
  assert marker.exists()


@pytest.mark.parametrize(
  "opcodes",
  [
    b"cposix\nsystem\n(S'touch MARKER'\ntR.",  # protocol 0
    b"(S'touch MARKER'\niposix\nsystem\n.",  # INST
    b"(cposix\nsystem\nS'touch MARKER'\no.",  # OBJ
    b"\x80\x02cposix\nsystem\nU\x0ctouch MARKER\x85\x81.",  # NEWOBJ
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",  # STACK_GLOBAL
  ],
)
def test_every_way_to_call(tmp_path, monkeypatch, opcodes):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / "weights.pkl"
  path.write_bytes(opcodes)
  assert "calls for posix.system" in refused(path)
  assert not (tmp_path / "MARKER").exists()


def test_a_name_is_told_in_one_line(tmp_path):
  path = tmp_path / "weights.pkl"
  path.write_bytes(b"\x80\x04\x8c\x04a\nb\x1b\x8c\x04\xc3\xa9\r\n\x93.")
  assert r"calls for a\nb\x1b.\xe9\r\n," in refused(path)


@pytest.mark.parametrize(
  ("opcodes", "said"),
  [
    (b"\x80\x02\x82\x01.", "opcode EXT1"),
    (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    (b"\x80\x02U\x01aQ.", "persistent id"),
    (b"\x80\x02}]K\x01s.", "list for a dict's key"),
    (b"\x80\x02K\x01K\x02K\x03s.", "sets items of a int"),
    (b"\x80\x02K\x01K\x02a.", "appends to a int"),
    (b"\x80\x02K\x01)R.", "calls what is no function"),
    (b"\x80\x02ctorch\nfloat32\n)R.", "calls for torch.float32"),
    (b"\x80\x02r\xff\xff\xff\x7f.", "cut short or damaged"),  # a memo of gigabytes
    (b"\x80\x04\x8e" + struct.pack("<q", 2**60) + b".", "cut short or damaged"),
    (b"\x80\x05\x96" + struct.pack("<q", 2**40) + b".", "cut short or damaged"),
    (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "holds a tensor"),
    (b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\n)Rs.", "never filled"),
    (b"\x80\x02cnumpy\ndtype\nK\x01\x85R.", "type that is no string"),
    (b"\x80\x02c_codecs\nencode\nU\x01aU\x03rot\x86R.", "not written as latin1"),
  ],
)
def test_what_weights_do_not_have(tmp_path, opcodes, said):
  path = tmp_path / "weights.pkl"
  path.write_bytes(opcodes)
  assert said in refused(path)


@pytest.mark.parametrize("values", [[{}, 1], np.zeros(2, "f4,i4"), np.zeros(1, "M8[s]")])
def test_arrays_of_other_than_numbers_are_left_aside_and_no_weights(tmp_path, values):
  path, array = tmp_path / "weights.pkl", np.asarray(values)
  path.write_bytes(pickle.dumps({"model": WEIGHTS, "meta": array}))
  np.testing.assert_array_equal(read(path)["w"], WEIGHTS["w"])
  path.write_bytes(pickle.dumps({"model": {"w": array}}))
  assert "which is not one of numbers" in refused(path)


def test_values_can_be_set_on_nothing_that_is_real(tmp_path):
  """BUILD on a function of ours, on the stand-in of a class, on a dict: all are as before."""
  path, before = tmp_path / "weights.pkl", dict(vars(pytorch.load_row))
  for target in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"}"):
    path.write_bytes(b"\x80\x02" + target + b"}U\x08__dict__K\x01sb.")
    assert "it holds" in refused(path)
    path.write_bytes(b"\x80\x02" + target + b"N}U\x05itemsK\x01s\x86b.")
    assert "it holds" in refused(path)
  assert vars(pytorch.load_row) == before


def test_a_method_of_a_known_record_is_left_aside(tmp_path):
  """mmengine's checkpoints have these."""
  buffer = Names("mmengine.logging.history_buffer", "HistoryBuffer")
  path = tmp_path / "weights.pkl"
  method = Calls(Names("__builtin__", "getattr"), buffer, "min")
  path.write_bytes(dumped({"state_dict": WEIGHTS, "hub": {"methods": {"min": method}}}))
  np.testing.assert_array_equal(read(path)["w"], WEIGHTS["w"])


@pytest.mark.parametrize(
  "call",
  [
    b"c_codecs\nencode\nh\x00U\x06latin1\x86R0",
    b"ccollections\nOrderedDict\nh\x01\x85R0",
    b"cbuiltins\nset\nh\x02\x85R0",
    b"ctorch\nSize\nh\x02\x85R0",
    b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01)cnumpy\ndtype\nU\x02f4\x85R\x89h\x00tb0",
  ],
)
def test_the_same_again_and_again_is_not_made(tmp_path, call):
  path, n = tmp_path / "weights.pkl", 10_000
  text = b"T" + struct.pack("<i", n) + b"x" * n + b"q\x000"
  items = b"}(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(n)) + b"uq\x010"
  values = b"](" + b"N" * n + b"eq\x020"
  path.write_bytes(b"\x80\x02" + text + items + values + call * 20_000 + b"}.")
  assert "makes far more than it holds" in refused(path)


def test_nesting_without_end(tmp_path):
  path = tmp_path / "weights.pkl"
  path.write_bytes(b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.")
  assert "dict's key" in refused(path)
  path.write_bytes(b"\x80\x02]" + b"]a" * 10 + b"\x85" * 100_000 + b".")
  assert "it holds a tuple" in refused(path)
  # A reference whose kind, written out, would take 2^60 characters.
  doubled = b"Nq\x00" + b"".join(
    b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60)
  )
  zipped(path, b"\x80\x02" + doubled + b"(" + b"h\x3c" + b"N" * 4 + b"tQ.")
  assert "its pickle refers to a tuple; it must be a storage of tensors" in refused(path)


def tensor(count=6, offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage", key="0"):
  storage = Refers("storage", Names("torch", kind), key, "cpu", count)
  call = Names("torch._utils", "_rebuild_tensor_v2")
  return Calls(call, storage, offset, shape, strides, False, {})


SIX = {"0": np.arange(6, dtype="<f4").tobytes()}


def test_a_tensor_by_hand(tmp_path):
  path = zipped(tmp_path / "x", dumped({"w": tensor(strides=(1, 2))}), SIX)
  np.testing.assert_array_equal(read(path)["w"], [[0, 2, 4], [1, 3, 5]])


def test_the_other_byte_order(tmp_path):
  six = {"0": np.arange(6, dtype=">f4").tobytes()}
  path = zipped(tmp_path / "x", dumped({"w": tensor()}), six)
  with zipfile.ZipFile(path, "a") as archive:
    archive.writestr("archive/byteorder", "big")
  np.testing.assert_array_equal(read(path)["w"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
  ("value", "said"),
  [
    (tensor(offset=1), "does not fit its storage of 6 elements"),
    (tensor(offset=-1), "does not fit"),
    (tensor(shape=(3, 3)), "does not fit"),
    (tensor(shape=(2, -3)), "does not fit"),
    (tensor(strides=(4, 1)), "does not fit"),
    (tensor(strides=(-3, 1)), "does not fit"),
    (tensor(strides=(1,)), "does not fit"),
    (tensor(shape=(10**9, 10**9), strides=(0, 0)), "does not fit"),  # much of little
    (tensor(shape=(1,) * 40, strides=(1,) * 40), "an axis each"),
    (tensor(shape=(2.0, 3)), "whole numbers"),
    (tensor(count=7), "a storage of 7 elements has 24 bytes"),
    (tensor(count=10**15), "elements has 24 bytes"),
    (tensor(count=-1), "a storage that can't be"),
    (tensor(key="1"), "its member archive/data/1 is missing"),
    (tensor(key="../data.pkl"), "is missing"),
    (tensor(kind="UntypedStorage"), "calls for torch.UntypedStorage"),
    (Refers("module", "x"), "damaged"),
    (Refers("module", "x", "0", "cpu", 6), "refers to 'module'"),
    (Refers("storage", "x", "0", "cpu", 6), "it must be a storage"),
  ],
)
def test_a_tensor_must_fit_its_storage(tmp_path, value, said):
  assert said in refused(zipped(tmp_path / "x", dumped({"w": value}), SIX))


def test_a_compressed_member_is_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", dumped({"w": tensor()}))
    archive.writestr("archive/data/0", bytes(10**6))
  assert "is compressed" in refused(tmp_path / "x")
