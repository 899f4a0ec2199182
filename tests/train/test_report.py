"""What is written for people: lines of metrics, sheets, pictures; and the compile cache's sweep."""

import errno
import json
import os
import warnings
import wave
import zlib

import jax
import numpy as np
import pytest
from jax._src import compilation_cache, config
from PIL import Image

from train import compile_cache, report
from train.__main__ import show_warning
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


def test_few_steps_are_under_way_at_once():
  waited = []

  class Figure:
    def __init__(self, step):
      self.step = step

    def block_until_ready(self):
      waited.append(self.step)

  window = _Window(None, None, None)
  for step in range(1, 40):
    window.add(step, {"loss": Figure(step)})
  assert set(range(1, 32)) <= set(waited) and 39 not in waited


def test_pictures_are_written_whole(tmp_path):
  report.write_png(tmp_path / "a" / "x.png", np.zeros((4, 5, 3), np.uint8))
  with Image.open(tmp_path / "a" / "x.png") as image:
    assert image.size == (5, 4)
  frames, sound = np.zeros((3, 4, 5, 3), np.uint8), np.arange(8, dtype=np.int16)
  frames[1:] += 90
  files = {"x.gif": frames, "x.wav": (8000, sound), "x.csv": [["a", "b"], [1, 2.5]]}
  report.write_report(tmp_path, files)
  with Image.open(tmp_path / "x.gif") as image:
    assert image.n_frames >= 2 and image.size == (5, 4)
  with wave.open(str(tmp_path / "x.wav")) as file:
    assert file.getframerate() == 8000
    np.testing.assert_array_equal(np.frombuffer(file.readframes(8), np.int16), sound)
  assert (tmp_path / "x.csv").read_text() == "a,b\n1,2.5\n"
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


@pytest.mark.slow
def test_torn_entries_neither_fail_nor_warn(tiny_run, train, tmp_path):
  cache = tmp_path / "cache"
  # Compiled as users compile: what takes less than 0.3 s has no entry.
  options = {"JAX_COMPILATION_CACHE_DIR": str(cache), "XLA_FLAGS": ""}
  first, _, err = train("evaluate", tiny_run, **options)
  entries = sorted(cache.glob("*-cache"))
  assert first == 0 and not err and entries
  for entry in entries:
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
  status, _, err = train("evaluate", tiny_run, **options)
  assert status == 0 and not err
  # Each is gone, or was compiled and written anew (where that took long enough).
  assert all(compile_cache.is_whole(e.read_bytes()) for e in entries if e.exists())


def test_a_compile_cache_that_cannot_be_written_warns_once(capsys, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(compilation_cache, "put_executable_and_time", full)
  monkeypatch.setattr(warnings, "showwarning", show_warning)
  with warnings.catch_warnings(), config.persistent_cache_min_compile_time_secs(0.0):
    warnings.simplefilter("always")
    for value in range(2):
      jax.jit(lambda value=value: jax.numpy.full(os.getpid(), value)).lower().compile()
    warnings.warn("another", stacklevel=1)
  err = capsys.readouterr().err.splitlines()
  assert len(err) == 2 and "Error writing persistent compilation cache" in err[0], err


def test_without_a_place_for_it_there_is_no_compile_cache(tmp_path, monkeypatch):
  (tmp_path / "file").touch()
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
  before = jax.config.jax_compilation_cache_dir
  try:
    with pytest.warns(UserWarning, match="no compile cache in .*file: File exists"):
      compile_cache.enable()
    assert jax.config.jax_compilation_cache_dir is None  # or JAX would warn of it again
  finally:
    jax.config.update("jax_compilation_cache_dir", before)
