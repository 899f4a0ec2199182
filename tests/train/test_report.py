"""What is written for people: lines of metrics, sheets, pictures; and the compile cache's sweep."""

import json
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from train import compile_cache, judge, report
from train.files import write_json
from train.loop import _Window


def test_metrics_are_cut_back_to_the_restored_step(tmp_path):
  path = tmp_path / "metrics.jsonl"
  records = [("tokenizer", 4), ("prior", 2), ("prior", 4), ("prior", 6)]
  path.write_text("".join(json.dumps({"stage": s, "step": k}) + "\n" for s, k in records))
  with open(path, "a") as file:
    file.write('{"stage": "prior", "st')  # killed while writing
  metrics = report.Metrics(tmp_path, "prior", 4)
  metrics.write(5, "train", {"loss": 0.5})
  metrics.close()
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(r["stage"], r["step"]) for r in lines] == [*records[:3], ("prior", 5)]


def test_metrics_do_not_depend_on_how_often_they_are_written():
  class Recorder:
    def __init__(self):
      self.lines = {}

    def write(self, step, kind, figures):
      self.lines[step] = figures

    def update(self, step, figures): ...
    def flush(self): ...

  def record(every):
    recorder = Recorder()
    window = _Window(recorder, recorder, None)
    for step in range(1, 13):
      window.add(step, {"loss": np.float32(1 / step), "grad_norm": np.float32(step)})
      if step % every == 0:
        window.log(step)
    window.drain()
    return recorder.lines

  often, seldom = record(1), record(4)
  assert list(often) == list(range(1, 13)) and list(seldom) == [4, 8, 12]
  assert all(often[step] == seldom[step] for step in seldom)


def test_sheet_places_every_image():
  images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 8, 8, 1), np.uint8)
  sheet = report.sheet(images, 3, scale=1)
  assert sheet.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
  assert [sheet[2 + 10 * (i // 3), 2 + 10 * (i % 3), 0] for i in range(5)] == list(range(5))
  assert (sheet[12:, 22:] == 255).all()


def test_uint8_rounds_and_clips():
  values = np.array([-0.7, -0.5, 0.0, 0.25, 0.5, 0.9])
  np.testing.assert_array_equal(report.to_uint8(values), [0, 0, 128, 191, 255, 255])


def test_pictures_are_written_whole(tmp_path):
  report.write_png(tmp_path / "a" / "x.png", np.zeros((4, 5, 3), np.uint8))
  with Image.open(tmp_path / "a" / "x.png") as image:
    assert image.size == (5, 4)
  with pytest.raises(TypeError):
    write_json(tmp_path / "x.json", {"no json": object()})
  assert not (tmp_path / "x.json").exists()


def test_usage_plot_is_a_picture():
  plot = report.usage_plot(np.array([5.0, 0, 2, 1]), 2.5)
  assert plot.dtype == np.uint8 and plot.ndim == 3 and plot.shape[2] == 3
  assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 3


def test_the_sweep_removes_torn_entries_and_no_others(tmp_path):
  whole, torn, empty = (tmp_path / f"{name}-cache" for name in ("whole", "torn", "empty"))
  data = zlib.compress(os.urandom(5000))
  whole.write_bytes(data)
  torn.write_bytes(data[:2000])
  empty.write_bytes(b"")
  (tmp_path / "other").write_text("not an entry")
  assert set(compile_cache.sweep(tmp_path)) == {torn, empty}
  assert whole.read_bytes() == data and (tmp_path / "other").exists()
  assert compile_cache.sweep(tmp_path) == []


def test_torn_entries_neither_fail_nor_warn(tiny_run, train, tmp_path):
  cache = tmp_path / "cache"
  first, _, err = train("evaluate", tiny_run, JAX_COMPILATION_CACHE_DIR=str(cache))
  entries = sorted(cache.glob("*-cache"))
  assert first == 0 and not err and entries
  for entry in entries:
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
  status, _, err = train("evaluate", tiny_run, JAX_COMPILATION_CACHE_DIR=str(cache))
  assert status == 0 and not err
  # Each is gone, or was compiled and written anew (where that took long enough).
  assert all(compile_cache._whole(e.read_bytes()) for e in entries if e.exists())


def test_the_judge_sees_what_is_there():
  class Split:
    def __init__(self, seed):
      rng = np.random.default_rng(seed)
      self.labels = np.arange(40) % 2
      level = 60 + 120 * self.labels[:, None, None, None]
      self.images = np.uint8(level + rng.integers(0, 20, (40, 9, 9, 1)))

    def __len__(self):
      return 40

    def gather(self, indices):
      return self.images[indices], self.labels[indices]

  train, held_out = Split(0), Split(1)
  figures = judge.class_accuracy(train, held_out, held_out.images, held_out.labels, size=4)
  assert figures == {"judge_accuracy": 1.0, "sample_accuracy": 1.0}
  wrong = judge.class_accuracy(train, held_out, held_out.images, 1 - held_out.labels, size=4)
  assert wrong["sample_accuracy"] == 0.0
  blocks = judge.shrink(np.full((1, 9, 9, 1), 255, np.uint8), 4)
  np.testing.assert_allclose(blocks, np.ones((1, 16)))


def test_digits_shrink_back_to_what_scikit_learn_gives(data_dir):
  from sklearn.datasets import load_digits
  from sklearn.model_selection import train_test_split

  from train.data import Data, open_split

  x, y = load_digits(return_X_y=True)
  x, held_out, y, held_out_y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
  for which, images, labels in (("train", x, y), ("eval", held_out, held_out_y)):
    split = open_split(Data(dir=str(data_dir)), which)
    ours, our_labels = split.gather(np.arange(len(split)))
    ours = judge.shrink(ours, 8) * 16
    # The order within a split is its own: match by sorting rows.
    assert len(ours) == len(images)
    order = np.lexsort(np.rint(ours).T)
    theirs = np.lexsort(images.T)
    np.testing.assert_allclose(ours[order], images[theirs], atol=0.05)
    assert sorted(our_labels) == sorted(labels)
