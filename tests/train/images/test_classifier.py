"""The classifier task, and what it is for: rejection, scores."""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from train.images import rejection

TINY_CLASSIFIER = pathlib.Path(__file__).parents[1] / "tiny_classifier.py"


@pytest.fixture(scope="module")
def classifier_run(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "classifier"
  status, out, err = train("fit", TINY_CLASSIFIER, "--workdir", folder)
  assert status == 0, out + err
  assert "accuracy" in out and (folder / "classifier" / "hardest.png").exists()
  return folder


def test_shifts_are_the_examples_own(data_dir):
  from train.images.augment import shifted

  image = jax.random.uniform(jax.random.key(0), (8, 8, 1))
  keys = jax.random.split(jax.random.key(1), 64)
  moved = np.asarray(shifted(np.broadcast_to(image, (64, 8, 8, 1)), keys, 1))
  padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
  windows = [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
  which = [[np.array_equal(m, w) for w in windows].index(True) for m in moved]
  assert set(which) == set(range(9))


def test_as_many_are_drawn_of_each_class_as_keeping_needs():
  labels = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)
  assert np.bincount(rejection.draws(labels, 1.0)).tolist() == [3, 2, 2]
  assert np.bincount(rejection.draws(labels, 0.25)).tolist() == [12, 8, 8]
  assert np.bincount(rejection.draws(labels, 0.3)).tolist() == [10, 7, 7]


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.3, 0.25])
def test_the_best_are_selected_for_the_labels_asked_for(keep):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 20).astype(np.int32)
  drawn = rejection.draws(labels, 0.25)
  scores = rng.normal(size=len(drawn))
  kept = rejection.select(scores, drawn, labels, keep)
  np.testing.assert_array_equal(drawn[kept], labels)
  assert len(set(kept)) == 20  # none twice
  for label in range(3):
    n = int((labels == label).sum())
    first = np.flatnonzero(drawn == label)[: int(np.ceil(round(n / keep, 9)))]
    best = first[np.argsort(-scores[first])][:n]
    assert set(kept[labels == label]) == set(best)


def test_sample_keeps_the_best(tiny_run, classifier_run, here, tmp_path):
  args = ("sample", tiny_run, "--num", 20, "--classifier", classifier_run, "--keep", 0.25)
  status, out, err = here(*args, "--output", tmp_path / "a.png")
  assert status == 0 and "20 samples, the best of 80" in out, err
  with np.load(tmp_path / "a.npz") as saved:
    assert saved["codes"].shape == (20, 4, 4)
    assert list(saved["labels"]) == list(range(10)) * 2


def test_score(tiny_run, classifier_run, here):
  args = ("--num", 20, "--keep", 1, 0.5, "--classifier", classifier_run, "--accuracy_steps", 2)
  status, out, err = here("score", tiny_run, *args)
  assert status == 0, err
  for word in (
    "keep 1 ",
    "keep 0.5",
    "held-out",
    "FID",
    "recall",
    "CAS top 1",
    "drawing 40 samples",
  ):
    assert word in out
  assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (
      ["score", "{run}", "--classifier", "{run}"],
      "has no stage of the kind ClassifierStage",
    ),
    (
      ["score", "{classifier}", "--classifier", "{classifier}"],
      "has no stage of the kind TokenizerStage",
    ),
    (
      ["score", "{run}", "--classifier", "{classifier}", "--keep", "0"],
      "--keep is 0.0; it must be",
    ),
    (["score", "{run}", "--classifier", "{classifier}", "--keep"], "--keep is empty"),
    (["score", "{run}", "--classifier", "{classifier}", "--temperature", "-1"], "--temperature is"),
    (["upsample", "{run}", "a.png"], "has one level; upsample keeps the upper ones of several"),
    (["score", "{run}", "--classifier", "{classifier}", "--num", "3"], "--num is 3; it must be at"),
    (
      ["score", "{run}", "--classifier", "{classifier}", "--inception", "gone.npz"],
      "--inception gone.npz is missing",
    ),
    (["sample", "{run}", "--classifier", "{classifier}", "--keep", "2"], "--keep is 2.0; it must"),
  ],
)
def test_bad_input(tiny_run, classifier_run, here, args, message):
  status, _, err = here(*(a.format(run=tiny_run, classifier=classifier_run) for a in args))
  assert status == 2 and err.count("\n") == 1 and message in err, err


def test_images_without_classes_are_refused(here, tmp_path):
  photos = tmp_path / "photos"
  photos.mkdir()

  for i in range(12):
    Image.new("L", (32, 32), i).save(photos / f"{i}.png")
  args = ("--data", "Folder", "--data.path", photos, "--workdir", tmp_path / "run")
  status, _, err = here("fit", TINY_CLASSIFIER, *args)
  assert status == 2 and "classifier: the data have 0 classes; a classifier needs at least 2" in err
  assert not (tmp_path / "run").exists()
