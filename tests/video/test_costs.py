"""Parameters and multiply-adds of every network are the published ones; nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest

from vqlab import video
from vqlab.nn.costs import macs

# By name: classes, millions of parameters, and by frames and side GMACs, as printed. Where projects
# print their own, they are theirs (torchvision, pytorchvideo, PySlowFast, VMZ, mmaction2).
TABLE = {
  "c3d": (101, "78.41", {(16, 112): "38.55"}),
  "r3d_18": (400, "33.37", {(16, 112): "40.70"}),
  "mc3_18": (400, "11.70", {(16, 112): "43.34"}),
  "r2plus1d_18": (400, "31.51", {(16, 112): "40.52"}),
  "r2plus1d_18_paper": (400, "33.37", {(16, 112): "41.50"}),
  "r2plus1d_34": (400, "63.70", {(32, 112): "152.4", (16, 112): "76.18"}),
  "r2plus1d_r50": (400, "28.11", {(16, 224): "57.534"}),
  "resnet3d_18": (700, "33.56", {(16, 112): "8.31"}),
  "resnet3d_34": (700, "63.87", {(16, 112): "12.70"}),
  "resnet3d_50": (700, "47.63", {(16, 112): "10.07"}),
  "densenet3d_121": (400, "11.66", {(32, 224): "34.1"}),
  "t3d_121": (400, "25.58", {(32, 224): "234.9"}),
  "t3d_169": (400, "33.62", {(32, 224): "238.4"}),
  "i3d": (400, "12.70", {(64, 224): "111.15", (79, 224): "138.94"}),
  "i3d_flow": (400, "12.68", {(64, 224): "102.34"}),
  "i3d_r50": (400, "28.04", {(8, 256): "37.106", (8, 224): "28.408"}),
  "c2d_r50": (400, "24.33", {(8, 256): "25.463", (8, 224): "19.493"}),
  "slow_r50": (400, "32.45", {(8, 256): "54.521", (8, 224): "41.741"}),
  "s3d": (400, "8.32", {(64, 224): "71.92", (16, 224): "17.979"}),
  "s3d_g": (400, "9.54", {(64, 224): "64.18"}),
  "slowfast_4x16_r50": (400, "34.48", {(32, 224): "27.6", (32, 256): "36.1"}),
  "slowfast_8x8_r50": (400, "34.57", {(32, 256): "65.712", (32, 224): "50.309"}),
  "slowfast_8x8_r101": (400, "62.83", {(32, 256): "125.908", (32, 224): "96.397"}),
  "slowfast_16x8_r101_50_50": (400, "53.77", {(64, 256): "213.024", (64, 224): "163.095"}),
  "x3d_xs": (400, "3.794", {(4, 160): "0.605"}),
  "x3d_s": (400, "3.794", {(13, 160): "1.963"}),
  "x3d_m": (400, "3.794", {(16, 224): "4.732"}),  # 4.73247, as pytorchvideo's own modules have
  "x3d_l": (400, "6.153", {(16, 312): "18.368"}),
  "x3d_xl": (400, "11.096", {(16, 312): "35.838"}),
}


def printed(value, like):
  """A figure in units as many places as another has."""
  return f"{value:.{len(like.partition('.')[2])}f}"


def test_every_network_has_its_line():
  assert set(video.names()) == set(TABLE)


# Tracing the deepest of families takes long.
DEEP = ("slowfast_8x8_r101", "slowfast_16x8_r101_50_50", "x3d_xl", "t3d_169")


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=pytest.mark.slow if n in DEEP else ()) for n in TABLE]
)
def test_parameters_and_costs_are_the_published_ones(name):
  classes, millions, costs = TABLE[name]
  *_, channels = video.input_shape(name)
  network = video.create(name, classes)
  variables = None  # which are the same for all clips
  for (frames, side), expected in costs.items():
    clip = jax.ShapeDtypeStruct((1, frames, side, side, channels), jnp.float32)
    variables = variables or jax.eval_shape(network.init, jax.random.key(0), clip)
    found = macs(network.apply, variables, clip) / 1e9
    assert printed(found, expected) == expected
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  assert printed(parameters / 1e6, millions) == millions


def test_the_last_cost_is_at_the_published_input():
  for name, (_, _, costs) in TABLE.items():
    frames, height, width, _ = video.input_shape(name)
    assert height == width and (frames, height) in costs
