"""The table of networks."""

from train.video import models
from vqlab import video
from vqlab.interop.video import LAYOUTS


def test_lists_sizes_costs_and_weights(here):
  status, out, err = here("models", "x3d_xs", "r3d_18", "densenet3d_121")
  assert status == 0 and not err
  (xs,) = [line for line in out.splitlines() if " x3d_xs " in line]
  for cell in ("4x160x160", "3.79 M", "0.61", "pytorchvideo, PySlowFast"):
    assert cell in xs
  (plain,) = [line for line in out.splitlines() if " r3d_18 " in line]
  for cell in ("16x112x112", "33.37 M", "40.70", "torchvision"):
    assert cell in plain
  assert "torchvision: download.pytorch.org/models (r3d_18-b3b3357e.pth)" in out
  assert "mmaction2" not in out
  assert "layouts are tested, published files were not tried" in out


def test_an_unknown_name(here):
  status, out, err = here("models", "r3d_19")
  assert status == 2 and not out
  assert err.startswith("error: no network is called 'r3d_19'; did you mean r3d_18?")


def test_every_layout_and_file_is_of_a_network():
  projects = {layout.project for layouts in LAYOUTS.values() for layout in layouts}
  assert projects == models.WHERE.keys()
  for project, files in models.FILES.items():
    for name in files:
      assert name in video.names()
      assert project in {layout.project for layout in LAYOUTS[name]}
