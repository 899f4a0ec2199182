"""What tests of ratings share: where shops are kept, files as they are written, refusals."""

import gzip

import pytest

from train.errors import BadInput


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
  """The folder of the prepared datasets."""
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "datasets"))
  return tmp_path / "datasets"


def write(path, *lines, end="\n"):
  """A file of these lines, packed where its name says so; its path as fields have it."""
  content = "".join(f"{line}{end}" for line in lines).encode()
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
  return str(path)


def table(path, *rows, header="user_id,item_id,time"):
  return write(path, header, *rows)


def found(shop):
  """(user, item, split) of every row, as they are called in the data."""
  names = zip(shop.user_ids[shop.user], shop.item_ids[shop.item], strict=True)
  return [(str(u), str(i), int(k)) for (u, i), k in zip(names, shop.split, strict=True)]


def refused(source, message, datasets=None):
  """Asserts that a source says in one line what is wrong, and leaves nothing behind."""
  with pytest.raises(BadInput, match=message) as raised:
    source.prepare()
  assert "\n" not in str(raised.value)
  if datasets is not None:
    assert not (datasets / "ratings").exists()
