"""The ML-VAE task: figures that leak no label, sheets, every device the same, bad input."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.train import tiny_mlvae
from tests.train.conftest import (
  assert_same,
  fit_in_two_processes,
  lines,
  one_device,
  replaced,
  steps_of,
  untrained,
)
from train import parallel
from train.config import Parallel
from train.data import Examples, disjoint_groups
from train.images import mlvae_figures
from train.run import evaluate
from vqlab.autoencoders import mlvae
from vqlab.features import LinearClassifier

TINY = pathlib.Path(__file__).parents[1] / "tiny_mlvae.py"
SHEETS = ("reconstructions", "swaps", "interpolations", "generations")


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def mlvae_run(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "mlvae"
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  return folder, out


def figures_of(folder):
  return json.loads((folder / "mlvae" / "done.json").read_text())["figures"]


def test_it_learns_and_shows_it(mlvae_run):
  folder, out = mlvae_run
  figures = figures_of(folder)
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  losses = [line["loss"] for line in lines if line["kind"] == "train"]
  assert losses[-1] < losses[0] and figures["negative_elbo"] < 27
  for kind in ("linear", "mlp"):
    for name in ("content", "style"):
      alone, together = figures[f"{name}_alone_{kind}@k=1"], figures[f"{name}_{kind}@k=1"]
      assert alone == together  # with one image the strategies are the same
    one, four = (figures[f"content_{kind}@k={k}"] for k in (1, 4))
    assert one > 0.6 and four > one + 0.02
  one, four = (figures[f"content_variance@k={k}"] for k in (1, 4))
  assert one > 3 * four
  for name in SHEETS:
    assert str(folder / "mlvae" / f"{name}.png") in out
    with Image.open(folder / "mlvae" / f"{name}.png") as picture:
      assert np.ptp(np.asarray(picture)) == 255
  assert "class by k images' content (strategy 2)" in " ".join(out.split()) and "k = 1, 4" in out
  assert max(map(len, out.splitlines())) <= 110


@pytest.mark.slow
def test_evaluate_says_the_same(mlvae_run, data_dir, monkeypatch):
  folder, _ = mlvae_run
  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  again, recorded = evaluate(folder)["mlvae"], figures_of(folder)
  assert again.keys() == recorded.keys()
  for name, value in recorded.items():
    np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=0.01, err_msg=name)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_all_devices_equal_one_in_float64(data_dir, mode):
  """Groups lie across devices; draws, sums and gradients are those of one."""
  fields = {"dtype": "float64", "param_dtype": "float64", "group_size": 7, "max_shift": 1}
  with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
    task = untrained(replaced(tiny_mlvae.get_config(), data_dir, mlvae=fields))["mlvae"]
    ways = [(one_device(), "jit"), (parallel.make_mesh(Parallel()), mode)]
    alone, many = (steps_of(task, *way, steps=3, batch_size=64)[1] for way in ways)
  assert_same(many, alone, tolerance=1e-10)


@pytest.mark.slow
def test_two_processes_equal_one(train, environment, tmp_path):
  """Each reads its own rows of the global batch; groups lie across both."""
  options = ("--mlvae.steps", "20", "--mlvae.eval_every", "10", "--log.every", "5")
  options += ("--mlvae.probe_steps", "0")
  status, out, err = train("fit", TINY, "--workdir", tmp_path / "one", *options)
  assert status == 0, out + err
  devices = {"JAX_NUM_CPU_DEVICES": "2"}
  fit_in_two_processes(TINY, tmp_path / "two", environment | devices, *options)
  ours, theirs = lines(tmp_path / "two"), lines(tmp_path / "one")
  assert len(ours) == len(theirs) == 6
  for a, b in zip(ours, theirs, strict=True):
    for figure in {"loss", "negative_elbo", "content_kl"} & a.keys():
      np.testing.assert_allclose(a[figure], b[figure], rtol=1e-2)


def random_posterior(num, seed):
  rng = np.random.default_rng(seed)
  normal = lambda: mlvae.Normal(*np.float32(rng.normal(size=(2, num, 4))))
  return mlvae.Posterior(normal(), normal())


def test_accumulation_leaks_no_label(monkeypatch):
  """Of contents that know nothing the class can't be told, however many are accumulated.

  Groups made of a batch by its labels would give all of a class one content, and 100 %.
  """
  rng = np.random.default_rng(0)
  labels, test_labels = rng.integers(0, 10, 4000), rng.integers(0, 10, 4000)
  stage = dataclasses.replace(tiny_mlvae.get_config().stages["mlvae"], probe_steps=300)
  monkeypatch.setattr(mlvae_figures, "PROBES", {"linear": LinearClassifier})
  data = [(random_posterior(4000, 1), labels), (random_posterior(4000, 2), test_labels)]
  figures = mlvae_figures.probes(stage, *data)
  for name, value in figures.items():
    if "@" in name:
      assert value < 0.16, name  # chance is 0.1; 1,000 groups: a standard error of 0.01
  groups = disjoint_groups(labels, 4, 0)
  assert len(np.unique(groups)) == groups.size  # no image is in two groups


def test_unseen_classes_are_told_by_a_few_examples(here, data_dir, tmp_path):
  """A folder whose classes are held out: few-shot accuracy in place of probes."""
  rng = np.random.default_rng(0)
  patterns = rng.integers(0, 2, (12, 4, 4)).repeat(2, axis=1).repeat(2, axis=2) * 200
  for c, pattern in enumerate(patterns):
    folder = tmp_path / "photos" / f"class{c:02d}"
    folder.mkdir(parents=True)
    for i in range(12):
      noisy = np.uint8(np.clip(pattern + rng.integers(0, 56, (8, 8)), 0, 255))
      Image.fromarray(noisy).save(folder / f"{i}.png")
  options = ("--data", "Folder", "--data.path", tmp_path / "photos")
  options += ("--data.hold_out", "classes", "--data.eval_fraction", "0.5")
  options += ("--mlvae.ways", "5", "--mlvae.steps", "100", "--mlvae.likelihood", "gaussian")
  status, out, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 0, out + err
  assert "5-way accuracy" in out
  figures = figures_of(tmp_path / "run")
  assert not any("linear" in name for name in figures)
  assert figures["pixel_5way@shots=5"] > 0.9  # patterns differ by more than the noise
  assert figures["content_5way@shots=5"] > 0.4


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (("--mlvae.min_group_size", 9), "min_group_size: 9; give 1 to 5 (group_size)"),
    (("--mlvae.group_size", 65), "mlvae: group_size is 65; it must be at most batch_size, 64"),
    (("--mlvae.network", "conv", "--mlvae.hidden", 8, 8), "network=conv has one fully connected"),
    (("--mlvae.network", "conv", "--data.image_size", 10), "H and W multiples of 4"),
    (("--mlvae.scale", 0), "mlvae.scale is 0.0; it must be at least 1e-06"),
    (("--mlvae.variance", "sum"), "invalid choice 'sum' for argument '--mlvae.variance'"),
  ],
)
def test_bad_input(here, tmp_path, options, message):
  status, _, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 2 and err.count("\n") == 1 and message in err, err
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("folder", "message"),
  [("", "mlvae: the data have 0 classes; groups need at least 2"), ("one", "have 1 classes")],
)
def test_images_that_make_no_groups_are_refused(here, tmp_path, folder, message):
  (tmp_path / "photos" / folder).mkdir(parents=True)
  for i in range(12):
    Image.new("L", (8, 8), i).save(tmp_path / "photos" / folder / f"{i}.png")
  options = ("--data", "Folder", "--data.path", tmp_path / "photos")
  status, _, err = here("fit", TINY, "--workdir", tmp_path / "run", *options)
  assert status == 2 and err.count("\n") == 1 and message in err
  assert not (tmp_path / "run").exists()


class Few(Examples):
  """Labels alone; an image is its index."""

  def __init__(self, labels):
    self.labels = np.asarray(labels, np.int32)

  def __len__(self):
    return len(self.labels)

  def read(self, indices, draws):
    image = np.asarray(indices, np.float32)[:, None, None, None]
    return {"image": image, "label": self.labels[indices]}


def test_of_each_held_out_class_what_can_be_asked_is():
  """Classes 0 and 1 are training's, 2 to 4 are not, 4 has too few images; k = 16 fits no class."""
  train, held_out = Few([0, 1] * 8), Few([0, 1, 2, 3] * 7 + [4])

  def encode(params, images):
    del params
    label = jnp.asarray(held_out.labels)[images[:, 0, 0, 0].astype(jnp.int32)]
    mu = 3.0 * jax.nn.one_hot(label, 5)
    return mlvae.Posterior(mlvae.Normal(mu, jnp.zeros_like(mu)), mlvae.Normal(mu, mu))

  stage = dataclasses.replace(
    tiny_mlvae.get_config().stages["mlvae"], accumulated=(1, 4, 16), probe_steps=1, ways=20
  )
  figures = mlvae_figures.judge(stage, {}, encode, train, held_out)
  ks = {name.partition("@k=")[2] for name in figures if name.startswith("content_linear")}
  assert ks == {"1", "4"}
  assert figures["content_2way@shots=1"] == figures["content_2way@shots=5"] == 1
  assert not any("3way" in name or "4way" in name for name in figures)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  folder = tmp_path_factory.mktemp("images")
  for i in range(3):
    Image.new("L", (9, 9), 80 * i).save(folder / f"{i}.png")
  return [folder / f"{i}.png" for i in range(3)]


def test_swap(mlvae_run, here, images, tmp_path):
  folder, _ = mlvae_run
  path = tmp_path / "new" / "grid.png"
  status, out, err = here("swap", folder, *images[:2], "--styles", *images, "--output", path)
  assert status == 0 and str(path) in out, err
  with np.load(path.with_suffix(".npz")) as latents:
    assert latents["content"].shape == (2, 4) and latents["style"].shape == (3, 4)
    contents = latents["content"]
  with Image.open(path) as picture:
    assert picture.width > picture.height  # three styles, two contents
  status, out, err = here("swap", folder, *images[:2], "--together", "--output", path)
  assert status == 0 and "all images together" in out, err
  with np.load(path.with_suffix(".npz")) as latents:
    assert latents["content"].shape == (1, 4) and latents["style"].shape == (2, 4)
    assert np.all(np.abs(latents["content"] - contents.mean(0)) <= np.ptp(contents, axis=0))


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["sample", "{run}"], "has no stage of the kind TokenizerStage"),
    (["reconstruct", "{run}", "{image}"], "has no stage of the kind TokenizerStage"),
    (["swap", "{run}", "gone.png"], "gone.png: no such file"),
    (["swap", "{run}", "{image}", "--output", "{image}"], "would overwrite an image"),
    (["swap", "{run}", "{image}", "--output", "a.jpg"], "it must be a file that ends in .png"),
  ],
)
def test_verbs_that_cannot_say_why(mlvae_run, here, images, args, message):
  status, _, err = here(*(a.format(run=mlvae_run[0], image=images[0]) for a in args))
  assert status == 2 and err.count("\n") == 1 and message in err, err
