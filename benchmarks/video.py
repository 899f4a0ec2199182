"""Networks for clips: vqlab over the same network in PyTorch, forward and a training step.

    python -m benchmarks.video [--models x3d_s ...] [--batches 1 4] [--rounds 5] [--lax]

Forward is evaluation; a training step is forward by the batch's statistics, cross-entropy, backward
and SGD with momentum, all in float32, dropout included. PyTorch runs eagerly, on one thread and on
all; the faster counts. XLA has all. The sides alternate in one process and the fastest of each
counts. Memory is what XLA states that the compiled training step needs beyond its arguments and
results, and of PyTorch what a process grows by in a step, its gradients less: in a process of its
own.

--lax times vqlab with XLA's own convolutions and pools as well.
"""

import argparse
import contextlib
import gc
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax import lax
from torch.nn import functional as F

from benchmarks.peers import video as peers
from vqlab import video

MODELS = ("x3d_s", "x3d_m", "slowfast_8x8_r50", "r2plus1d_18", "r3d_18", "i3d", "s3d", "c3d")
RATE = 0.01


def clip_of(name: str, batch: int) -> np.ndarray:
  return np.random.default_rng(0).standard_normal((batch, *video.input_shape(name)), np.float32)


@contextlib.contextmanager
def plain_lax() -> Iterator[None]:
  """XLA's own convolutions and pools in place of vqlab's."""

  def conv3d(x, kernel, *, stride=(1, 1, 1), padding, groups=1):
    layout = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(
      x, kernel, stride, padding, dimension_numbers=layout, feature_group_count=groups
    )

  def max_pool3d(x, window, *, stride, padding):
    full, pads = lambda values: (1, *values, 1), ((0, 0), *padding, (0, 0))
    lowest = np.asarray(-np.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, full(window), full(stride), pads)

  with (
    mock.patch("vqlab.nn.conv3d_layers.conv3d", conv3d),
    mock.patch("vqlab.video.layers.max_pool3d", max_pool3d),
  ):
    yield


def ours(name: str, batch: int) -> tuple[dict[str, Callable[[], object]], int]:
  """What runs forward and a training step, and the bytes the latter needs for the moment."""
  peer_classes = {"c3d": 487}.get(name, 400)
  model, clip = video.create(name, peer_classes), jnp.asarray(clip_of(name, batch))
  labels = jnp.arange(batch) % peer_classes
  variables = jax.jit(model.init)(jax.random.key(0), clip[:1])
  stats, sgd = variables.get("batch_stats", {}), optax.sgd(RATE, momentum=0.9)

  def loss(params: dict, stats: dict, clip: jax.Array, key: jax.Array):
    logits, updates = model.apply(
      {"params": params, "batch_stats": stats},
      clip,
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), updates.get("batch_stats", {})

  def step(carry: tuple, clip: jax.Array) -> tuple:
    params, stats, moments, key = carry
    key, now = jax.random.split(key)
    gradients, stats = jax.grad(loss, has_aux=True)(params, stats, clip, now)
    updates, moments = sgd.update(gradients, moments)
    return optax.apply_updates(params, updates), stats, moments, key

  forward = jax.jit(model.apply).lower(variables, clip).compile()
  params = jax.tree.map(jnp.copy, variables["params"])
  carry = params, jax.tree.map(jnp.copy, stats), sgd.init(params), jax.random.key(1)
  compiled = jax.jit(step, donate_argnums=0).lower(carry, clip).compile()

  def train() -> None:
    nonlocal carry
    carry = jax.block_until_ready(compiled(carry, clip))

  memory = compiled.memory_analysis().temp_size_in_bytes
  return {"forward": lambda: forward(variables, clip).block_until_ready(), "step": train}, memory


def theirs(name: str, batch: int) -> dict[str, Callable[[], object]]:
  model = peers.network(name)
  clip = torch.from_numpy(clip_of(name, batch).transpose(0, 4, 1, 2, 3).copy())
  alpha = getattr(video.create(name, 1), "alpha", 0)
  given = lambda: peers.inputs(clip, alpha)  # anew: pytorchvideo's SlowFast writes into the list
  labels = torch.arange(batch)
  sgd = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)

  def forward() -> None:
    model.eval()
    with torch.no_grad():
      model(given())

  def train() -> None:
    model.train()
    sgd.zero_grad()
    F.cross_entropy(model(given()), labels).backward()
    sgd.step()

  return {"forward": forward, "step": train}


def least_seconds(
  sides: dict[str, Callable[[], object]], peer: Callable[[], object], rounds: int
) -> dict[str | int, float]:
  """Of each side, and of the peer by its number of threads; a slow side has fewer rounds."""
  threads = sorted({1, os.cpu_count()})
  runs = {**sides, **dict.fromkeys(threads, peer)}
  times: dict[str | int, list[float]] = {side: [] for side in runs}
  for number in range(rounds):
    for side, run in runs.items():
      if number > 1 and min(times[side]) > 20:
        continue
      if side in threads:
        torch.set_num_threads(side)
      time.sleep(0.02)  # until the other side's threads no longer spin for work
      start = time.perf_counter()
      run()
      times[side].append(time.perf_counter() - start)
  return {side: min(taken) for side, taken in times.items()}


def torch_memory(name: str, batch: int) -> int:
  """Bytes that a process grows by in a training step, less the gradients and momenta it keeps."""
  command = [sys.executable, "-m", "benchmarks.video", "--torch_memory", name, str(batch)]
  said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
  return int(said.split()[-1])


def grown_by_a_step(name: str, batch: int) -> int:
  step = theirs(name, batch)["step"]
  kept = 2 * 4 * sum(p.numel() for p in peers.network(name).parameters())
  gc.collect()
  resident = lambda field: next(
    1024 * int(line.split()[1])
    for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    if line.startswith(field)
  )
  before = resident("VmRSS")
  step()
  return max(resident("VmHWM") - before - kept, 0)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--models", nargs="+", default=list(MODELS), choices=video.names())
  parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--lax", action="store_true", help="XLA's own convolutions as well")
  parser.add_argument("--torch_memory", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.torch_memory:
    print(grown_by_a_step(args.torch_memory[0], int(args.torch_memory[1])))
    return
  torch.manual_seed(0)
  print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, the fastest of {args.rounds}")
  columns = ["network", "batch", "", "vqlab ms", "PyTorch ms", "threads", "PyTorch / vqlab"]
  columns += ["lax ms", "lax / vqlab"] if args.lax else []
  columns += ["vqlab MiB", "PyTorch MiB"]
  print("| " + " | ".join(columns) + " |")
  print("|" + "---|" * len(columns), flush=True)
  for name in args.models:
    for batch in args.batches:
      sides, memory = ours(name, batch)
      other, peer = {}, theirs(name, batch)
      if args.lax:
        with plain_lax():
          other, _ = ours(name, batch)
      for part in ("forward", "step"):
        runs = {"vqlab": sides[part]} | ({"lax": other[part]} if args.lax else {})
        times = least_seconds(runs, peer[part], args.rounds)
        mine, plain = times.pop("vqlab"), times.pop("lax", 0)
        threads = min(times, key=times.get)
        cells = [name, str(batch), part, f"{1e3 * mine:.0f}", f"{1e3 * times[threads]:.0f}"]
        cells += [str(threads), f"{times[threads] / mine:.2f}"]
        cells += [f"{1e3 * plain:.0f}", f"{plain / mine:.1f}"] if args.lax else []
        sizes = (memory, torch_memory(name, batch)) if part == "step" else ()
        cells += [f"{size / 2**20:.0f}" for size in sizes] or ["", ""]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main()
