"""Files known by their names and contents: wherever they lie, and read once."""

import os
import pathlib
import shutil

import pytest

from train.data import fingerprint
from train.data.fingerprint import Contents, difference
from train.errors import BadInput


@pytest.fixture
def root(tmp_path):
  root = tmp_path / "root"
  (root / "sub").mkdir(parents=True)
  for name in ("a", "b", "sub/a"):
    (root / name).write_text(f"content of {name}")
  return root


@pytest.fixture
def look(tmp_path, monkeypatch):
  """Looks at all files of a folder: what is found, and which files were read for it."""
  hashed, read = fingerprint._hashed, []
  monkeypatch.setattr(fingerprint, "_hashed", lambda file: read.append(file.name) or hashed(file))

  def look(root):
    read.clear()
    found = Contents(root, sorted(p for p in root.rglob("*") if p.is_file()), tmp_path / "memory")
    return found, sorted(read)

  return look


def dataset(folder, contents):
  """A folder as a prepared dataset of these contents is."""
  folder.mkdir(exist_ok=True)
  contents.remember_with(folder)
  return folder


def test_names_and_contents_alone_count(root, look, tmp_path):
  name = look(root)[0].name()
  assert len(name) == 16 and name != look(root)[0].name(("another option",))
  copy = shutil.copytree(root, tmp_path / "elsewhere" / "another name", copy_function=shutil.copy)
  os.utime(copy / "a", (1, 1))
  (copy.parent / "link").symlink_to(copy)
  assert look(copy)[0].name() == look(copy.parent / "link")[0].name() == name
  for change in (
    lambda: (copy / "b").write_text("content of c"),
    lambda: (copy / "b").rename(copy / "c"),
    lambda: (copy / "c").unlink(),
  ):
    before = look(copy)[0].name()
    change()
    assert look(copy)[0].name() not in (before, name)


def test_what_was_read_is_not_read_again(root, look, tmp_path):
  made = dataset(tmp_path / "dataset", (first := look(root))[0])
  kept = sorted((tmp_path / "memory").rglob("*.json"))
  times = [path.stat().st_mtime_ns for path in kept]
  assert first[1] == ["a", "a", "b"] and len(kept) == 1
  found, read = look(root)
  found.remember_with(made)
  assert not read and found.name() == first[0].name()
  assert [path.stat().st_mtime_ns for path in kept] == times, "written again"
  os.utime(root / "b", (1, 1))
  assert look(root)[1] == ["b"]
  assert look(shutil.copytree(root, tmp_path / "copy"))[1] == ["a", "a", "b"]


@pytest.mark.parametrize("damage", ["", "[]", '{"1 2 a": ', '{"1 2 a": 3}', None])
def test_a_damaged_or_unwritable_memory_costs_time_alone(root, look, tmp_path, damage):
  name, memory = look(root)[0].name(), tmp_path / "memory"
  dataset(tmp_path / "dataset", look(root)[0])
  if damage is None:
    shutil.rmtree(memory)
    memory.write_text("a file")
  else:
    (kept,) = memory.rglob("*.json")
    kept.write_text(damage)
  for again in (["a", "a", "b"], ["a", "a", "b"] if damage is None else []):
    found, read = look(root)
    dataset(tmp_path / "dataset", found)
    assert found.name() == name and read == again


def test_what_differs_is_named(root, look, tmp_path):
  before = dataset(tmp_path / "before", look(root)[0])
  (root / "a").write_text("content of x")
  (root / "b").unlink()
  for name in "klmno":
    (root / name).write_text(name)
  (root / os.fsdecode(b"caf\xe9")).write_text("a name that is not UTF-8")
  now = dataset(tmp_path / "now", look(root)[0])
  said = difference(before, now)
  assert said == r"6 added (caf\udce9, k, l, ...), 1 gone (b), 1 changed (a)"
  assert difference(now, before).startswith("1 added (b), 6 gone (")
  assert difference(before, before) == difference(before, tmp_path / "nowhere") == ""


def test_what_can_not_be_read_is_named(root, look):
  (root / "a").unlink()
  (root / "a").symlink_to(root / "nowhere")
  with pytest.raises(BadInput, match=r"root/a: can't be read \(No such file.*\); remove or repl"):
    Contents(root, [root / "a"])
  with pytest.raises(BadInput, match=r"root/sub: can't be read \(Is a directory\)"):
    Contents(root, [pathlib.Path(root, "sub")])
