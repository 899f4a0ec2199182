"""docs/margin_losses.md is what its generator writes, and names every loss."""

import dataclasses
import importlib.util
import pathlib

import pytest

from vqlab import losses

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
  spec = importlib.util.spec_from_file_location("margin_losses_docs", DOCS / "margin_losses.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_page_is_the_generators(generator):
  assert (DOCS / "margin_losses.md").read_text() == generator.page()
  assert (DOCS / "margin_losses.png").stat().st_size > 10_000


def test_the_table_is_of_the_flags(generator):
  rows = [line.strip("| ").split(" | ") for line in generator.traits().splitlines()]
  table = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
  assert len(table) == 11
  for loss, *_ in generator.ROWS:
    cells = table[loss.name]
    assert cells["convex"] == ("yes" if loss.convex else "no")
    assert cells["Fisher"] == ("yes" if loss.fisher_consistent else "no")
    assert (cells["Lipschitz"] == "no") == (loss.lipschitz is None)
  assert table["ZeroOneLoss"]["calibrated"] == "no" and table["DWDMarginLoss"]["clips at"] == "-"
  names = {name for name in losses.__all__ if name.endswith("Loss")}
  assert names - set(table) == {"HingeLoss", "MarginLoss", "ScaledLoss", "WeightedLoss"}


def test_symbols_are_the_points_of_the_flags(generator):
  for loss, *_ in generator.ROWS:
    parameters = dataclasses.asdict(loss)
    symbols = generator.SYMBOLS.get(loss.name, {})
    assert bool(symbols) == bool(parameters)
    for other in (0.3, 1.7):
      loss = type(loss)(**dict.fromkeys(parameters, other))
      for flag, text in symbols.items():
        points = [eval(formula, dataclasses.asdict(loss)) for formula in text.split(",")]
        assert points == pytest.approx(getattr(loss, flag), rel=1e-15)


def test_it_draws(generator, tmp_path):
  pytest.importorskip("matplotlib")
  generator.plot(tmp_path / "all.png", generator.ROWS[:1] + generator.ROWS[5:6])
  assert (tmp_path / "all.png").stat().st_size > 10_000
