"""What tests of ratings share: where shops are kept, files as written, refusals, finished runs."""

import dataclasses
import gzip

import jax
import pytest

from train import run
from train.config import Experiment, Log, Parallel
from train.errors import BadInput
from train.optimizer import Adam
from train.ratings.checks import ChecksStage
from train.ratings.encoder import Encoder, Walk
from train.ratings.factors import FactorStage
from train.ratings.judging import Judge
from train.ratings.pretrain import PretrainStage
from train.ratings.sources import Market
from train.ratings.starts import Encoded


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


ENCODER = Encoder(
  layers=2, hidden=16, dim=16, walk=Walk(steps=32, restart=0.5, max_nodes=16, eigenvectors=8)
)
FACTORS = FactorStage(
  steps=200,
  batch_size=1024,
  eval_batch_size=360,
  eval_every=100,
  checkpoint_every=100,
  dim=16,
  penalty=1e-3,
  optimizer=Adam(learning_rate=1e-2),
  judge=Judge(ks=(5, 20), negatives=20),
)


def fitted(folder, name, **stages):
  """The folder of a run in a market made up that is done. Read it, never write to it."""
  one = {"log": Log(every=1000), "parallel": Parallel(devices=1)}
  experiment = Experiment(name=name, data=Market(), stages=stages, **one)
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    run.fit(experiment, folder)
  return folder


@pytest.fixture(scope="session")
def market_run(tmp_path_factory):
  """An encoder, hardly trained, vectors that begin as its, and checks, in a market made up."""
  return fitted(
    tmp_path_factory.mktemp("runs") / "encoded",
    "encoded",
    pretrain=PretrainStage(
      steps=8, batch_size=64, eval_batch_size=256, queue=256, encoder=ENCODER, probe_nodes=0
    ),
    factors=dataclasses.replace(FACTORS, start=Encoded(scale=2.0)),
    checks=ChecksStage(judge=FACTORS.judge),
  )


@pytest.fixture(scope="session")
def layered_run(tmp_path_factory):
  """LightGCN's vectors in the same market."""
  stage = dataclasses.replace(FACTORS, layers=2)
  return fitted(tmp_path_factory.mktemp("runs") / "layered", "layered", factors=stage)
