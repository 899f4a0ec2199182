"""Networks that name the action in a clip; which frames it has (sampling), what they see (views).

All networks work under `jit` over meshes with Auto axes, `vmap`, `shard_map` and `pmap`; on a mesh
with Explicit axes wrap the calls in `jax.sharding.auto_axes`.
"""

from vqlab.video import sampling, views
from vqlab.video.c3d import C3D
from vqlab.video.inception3d import Inception3D
from vqlab.video.inflate import cross_modality, inflate
from vqlab.video.layers import Features
from vqlab.video.models import create, input_shape, names, variable_shapes
from vqlab.video.resnet3d import ResNet3D
from vqlab.video.slowfast import SlowFast, slow_frames
from vqlab.video.t3d import DenseNet3D
from vqlab.video.x3d import X3D

__all__ = [
  "C3D",
  "X3D",
  "DenseNet3D",
  "Features",
  "Inception3D",
  "ResNet3D",
  "SlowFast",
  "create",
  "cross_modality",
  "inflate",
  "input_shape",
  "names",
  "sampling",
  "slow_frames",
  "variable_shapes",
  "views",
]
