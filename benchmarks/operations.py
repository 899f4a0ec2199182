"""Single operations over clips: 3D convolutions, max-pools, batch norm; XLA's, PyTorch's and ours.

    python -m benchmarks.operations [--only TEXT] [--batch 1]

Each row is one operation, forward and forward with all gradients (`*`: without that of the clip, as
of a network's first layer): milliseconds of one matrix product with as many multiplications, of
XLA's own operation where it can be waited for, of PyTorch and of ours, PyTorch's time over ours,
and the temporary memory of the compiled program in MiB. The sides take turns in one process and the
least time of each counts; PyTorch has the better of one thread and all.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from benchmarks.timing import print_row
from vqlab.nn.conv3d import conv3d
from vqlab.nn.norm import BatchNorm
from vqlab.nn.pool3d import max_pool3d

Triple = tuple[int, int, int]


class Conv(NamedTuple):
  shape: tuple[int, int, int, int]  # T, H, W, I
  outputs: int
  kernel: Triple
  stride: Triple = (1, 1, 1)
  groups: int = 1
  first: bool = False  # of a network: the clip needs no gradient


class Pool(NamedTuple):
  shape: tuple[int, int, int, int]
  window: Triple
  stride: Triple
  padding: Triple


class Norm(NamedTuple):
  shape: tuple[int, int, int, int]


OPERATIONS = {
  "C3D 3-64": Conv((16, 112, 112, 3), 64, (3, 3, 3), first=True),
  "C3D 64-128": Conv((16, 56, 56, 64), 128, (3, 3, 3)),
  "R3D 64": Conv((16, 56, 56, 64), 64, (3, 3, 3)),
  "R3D 256 28": Conv((8, 28, 28, 256), 256, (3, 3, 3)),
  "R3D 256 14": Conv((4, 14, 14, 256), 256, (3, 3, 3)),
  "R3D 512": Conv((2, 7, 7, 512), 512, (3, 3, 3)),
  "R3D /2": Conv((16, 56, 56, 64), 128, (3, 3, 3), (2, 2, 2)),
  "R3D stem": Conv((16, 112, 112, 3), 64, (3, 7, 7), (1, 2, 2), first=True),
  "I3D stem": Conv((64, 224, 224, 3), 64, (7, 7, 7), (2, 2, 2), first=True),
  "slow stem": Conv((32, 224, 224, 3), 64, (1, 7, 7), (1, 2, 2), first=True),
  "fast stem": Conv((32, 224, 224, 3), 8, (5, 7, 7), (1, 2, 2), first=True),
  "1x3x3 64-144": Conv((16, 56, 56, 64), 144, (1, 3, 3)),
  "1x3x3 64": Conv((8, 56, 56, 64), 64, (1, 3, 3)),
  "1x3x3 8": Conv((32, 56, 56, 8), 8, (1, 3, 3)),
  "1x3x3 512": Conv((8, 7, 7, 512), 512, (1, 3, 3)),
  "1x3x3 /2 230": Conv((16, 56, 56, 64), 230, (1, 3, 3), (1, 2, 2)),
  "1x3x3 /2 128": Conv((8, 56, 56, 128), 128, (1, 3, 3), (1, 2, 2)),
  "3x1x1 144-64": Conv((16, 56, 56, 144), 64, (3, 1, 1)),
  "3x1x1 1024": Conv((8, 14, 14, 1024), 256, (3, 1, 1)),
  "7x1x1 /4 8-16": Conv((32, 56, 56, 8), 16, (7, 1, 1), (4, 1, 1)),
  "7x1x1 /2 64": Conv((16, 112, 112, 64), 64, (7, 1, 1), (2, 1, 1)),
  "1x1x1 64-256": Conv((8, 56, 56, 64), 256, (1, 1, 1)),
  "1x1x1 24-54": Conv((13, 40, 40, 24), 54, (1, 1, 1)),
  "1x1x1 /2": Conv((8, 56, 56, 256), 512, (1, 1, 1), (1, 2, 2)),
  "X3D 5x1x1": Conv((13, 80, 80, 24), 24, (5, 1, 1), groups=24),
  "X3D 54": Conv((13, 40, 40, 54), 54, (3, 3, 3), groups=54),
  "X3D 216": Conv((13, 10, 10, 216), 216, (3, 3, 3), groups=216),
  "X3D 108": Conv((16, 28, 28, 108), 108, (3, 3, 3), groups=108),
  "X3D /2 54": Conv((13, 80, 80, 54), 54, (3, 3, 3), (1, 2, 2), groups=54),
  "X3D /2 108": Conv((13, 20, 20, 108), 108, (3, 3, 3), (1, 2, 2), groups=108),
  "max 3x3x3": Pool((16, 28, 28, 192), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
  "max 1x3x3 /2": Pool((32, 112, 112, 64), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
  "max 3x3x3 /2": Pool((16, 28, 28, 192), (3, 3, 3), (2, 2, 2), (1, 1, 1)),
  "max 2x2x2 /2": Pool((16, 56, 56, 128), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
  "norm 64": Norm((16, 56, 56, 64)),
  "norm 54": Norm((13, 40, 40, 54)),
}


class Sides(NamedTuple):
  """One operation of each library: functions of x and the parameters, both tuples."""

  inputs: tuple[jax.Array, ...]
  product: tuple[int, int, int] | None  # rows, terms, columns
  plain: Callable | None
  ours: Callable
  peer: Callable


def sides(operation: Conv | Pool | Norm, batch: int) -> Sides:
  x = jax.random.normal(jax.random.key(0), (batch, *operation.shape))
  if isinstance(operation, Norm):
    norm = BatchNorm()
    scale, bias = jnp.ones(x.shape[-1]), jnp.zeros(x.shape[-1])
    stats = {"mean": bias, "var": scale}

    def ours(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
      variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
      return norm.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    running = torch.zeros(x.shape[-1]), torch.ones(x.shape[-1])
    peer = lambda x, *p: torch.nn.functional.batch_norm(x, *running, *p, training=True)
    return Sides((x, scale, bias), None, None, ours, peer)
  stride = operation.stride
  if isinstance(operation, Pool):
    window, pads = operation.window, tuple((p, p) for p in operation.padding)
    full = lambda values: (1, *values, 1)
    pool_plain = lambda x: lax.reduce_window(
      x, -np.inf, lax.max, full(window), full(stride), ((0, 0), *pads, (0, 0))
    )
    pool_ours = lambda x: max_pool3d(x, window, stride=stride, padding=pads)
    pool_peer = lambda x: torch.nn.functional.max_pool3d(x, window, stride, operation.padding)
    return Sides((x,), None, pool_plain, pool_ours, pool_peer)
  size, groups = operation.kernel, operation.groups
  shape = (*size, x.shape[-1] // groups, operation.outputs)
  kernel = jax.random.normal(jax.random.key(1), shape) / math.sqrt(math.prod(shape[:4]))
  pads = tuple((k // 2, k // 2) for k in size)
  conv_plain = lambda x, kernel: lax.conv_general_dilated(
    x,
    kernel,
    stride,
    pads,
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    feature_group_count=groups,
  )
  conv_ours = lambda x, kernel: conv3d(x, kernel, stride=stride, padding=pads, groups=groups)
  conv_peer = lambda x, kernel: torch.nn.functional.conv3d(
    x, kernel, stride=stride, padding=[k // 2 for k in size], groups=groups
  )
  out = jax.eval_shape(conv_plain, x, kernel).shape
  product = math.prod(out[:4]), math.prod(shape[:4]), shape[4]
  # XLA takes seconds for grouped convolutions, and for the stems'.
  known = conv_plain if groups == 1 and math.prod(product) < 6e9 else None
  return Sides((x, kernel), product, known, conv_ours, conv_peer)


def measure(operation: Conv | Pool | Norm, batch: int, seconds: float) -> list[str]:
  """The cells of a row."""
  inputs, product, plain, ours, peer = sides(operation, batch)
  needed = tuple(range(getattr(operation, "first", False), len(inputs)))
  dy = jax.random.normal(jax.random.key(2), jax.eval_shape(ours, *inputs).shape)
  runs, memory = {}, []

  def with_gradients(f: Callable) -> Callable:
    def run(dy: jax.Array, *inputs: jax.Array) -> tuple[jax.Array, ...]:
      y, pullback = jax.vjp(f, *inputs)
      gradients = pullback(dy)
      return y, *(gradients[i] for i in needed)

    return run

  for name, f in (("plain", plain), ("ours", ours)):
    if f is not None:
      for way, g, args in (("", f, inputs), ("+", with_gradients(f), (dy, *inputs))):
        program = jax.jit(g).lower(*args).compile()
        runs[name + way] = lambda program=program, args=args: jax.block_until_ready(program(*args))
        if name == "ours":
          memory.append(program.memory_analysis().temp_size_in_bytes / 2**20)

  to_channels = lambda a: a.permute(0, 4, 1, 2, 3) if a.ndim == 5 else a
  tensors = [to_channels(torch.tensor(np.asarray(a))) for a in (inputs[0], dy)]
  rest = [torch.tensor(np.asarray(a)) for a in inputs[1:]]
  rest = [a.permute(4, 3, 0, 1, 2) if a.ndim == 5 else a for a in rest]
  arguments = [a.contiguous() for a in (tensors[0], *rest)]
  cotangent = tensors[1].contiguous()
  for threads in {1, os.cpu_count()}:

    def forward(threads: int = threads) -> None:
      torch.set_num_threads(threads)
      with torch.no_grad():
        peer(*arguments)

    def both(threads: int = threads) -> None:
      torch.set_num_threads(threads)
      given = [a.detach().requires_grad_(i in needed) for i, a in enumerate(arguments)]
      torch.autograd.grad(peer(*given), [given[i] for i in needed], cotangent)

    runs[f"peer {threads}"], runs[f"peer+ {threads}"] = forward, both
  if product is not None:
    rows, terms, columns = product
    parts = -(-rows * terms // 10**8)  # no more than 400 MB of patches
    a, b = jnp.ones((rows // parts, terms)), jnp.ones((terms, columns))
    dot = jax.jit(jnp.dot).lower(a, b).compile()
    runs["product"] = lambda: jax.block_until_ready(dot(a, b))

  best = in_turns(runs, seconds)
  if product is not None:
    best["product"] *= parts
  cells = []
  for way, mib in zip(("", "+"), memory, strict=True):
    peers = min(t for name, t in best.items() if name.startswith(f"peer{way} "))
    times = [best.get("product") if not way else None, best.get("plain" + way), peers]
    cells += ["" if t is None else f"{1e3 * t:.1f}" for t in (*times, best["ours" + way])]
    cells += [f"{peers / best['ours' + way]:.2f}", f"{mib:.0f}"]
  del cells[6]  # one product for both
  return cells


def in_turns(runs: dict[str, Callable], seconds: float) -> dict[str, float]:
  """The least time of each, in seconds; one that takes long runs twice."""
  best = dict.fromkeys(runs, math.inf)
  spent = dict.fromkeys(runs, 0.0)
  for turn in range(12):
    for name, run in runs.items():
      if turn < 2 or spent[name] < seconds:
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        spent[name] += took
        best[name] = min(best[name], took)
  return best


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--only", default="", help="operations whose names contain this")
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--seconds", type=float, default=0.4, help="for each side of each operation")
  args = parser.parse_args()
  half = ["XLA", "PyTorch", "ours", "ratio", "MiB"]
  print_row(["operation", "product", *half, *(f"{name} +grad" for name in half)])
  for name, operation in OPERATIONS.items():
    if args.only in name:
      star = " *" if getattr(operation, "first", False) else ""
      print_row([name + star, *measure(operation, args.batch, args.seconds)])


if __name__ == "__main__":
  main()
