"""A checkpoint as its trainer saved it, imported and loaded, says what PyTorch's network says."""

import jax
import numpy as np
import pytest

from train import run
from train.video.imported import Imported

torch = pytest.importorskip("torch", reason="peer PyTorch not installed")
pytest.importorskip("pytorchvideo", reason="peer pytorchvideo not installed")
from benchmarks.peers import video as peers  # noqa: E402
from benchmarks.peers.random_weights import randomize  # noqa: E402


def test_a_checkpoint_of_training_in_the_older_format(here, tmp_path):
  theirs = randomize(peers.network("x3d_xs"))
  state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
  optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9).state_dict()
  checkpoint = {"epoch": 9, "model_state": state, "optimizer_state": optimizer, "cfg": "A: 1\n"}
  path = tmp_path / "X3D_XS.pyth"
  torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
  status, _, err = here("import", "x3d_xs", path, "--workdir", tmp_path / "run")
  assert status == 0 and not err

  done = run.load(tmp_path / "run").the(Imported)
  clip = np.random.default_rng(1).standard_normal((1, 4, 160, 160, 3)).astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(clip.transpose(0, 4, 1, 2, 3))).numpy()
  found = np.asarray(jax.jit(done.model.apply)(done.learned, clip))
  assert done.stage.num_classes == expected.shape[-1]
  assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
