"""Networks for clips: vqlab over the same network in PyTorch, forward and a training step.

    python -m benchmarks.video [--models x3d_s ...] [--batches 1 4] [--rounds 5] [--lax]
    python -m benchmarks.video --bfloat16 --forms --batches 8 --rounds 20 --seconds 420    # a GPU

Forward is evaluation; a training step is forward by the batch's statistics, cross-entropy, backward
and SGD with momentum, all in float32, dropout included. PyTorch runs eagerly, on one thread and on
all; the faster counts. XLA has all. The sides alternate in one process and the fastest of each
counts. Memory is what XLA states that the compiled training step needs beyond its arguments and
results, and of PyTorch what a process grows by in a step, its gradients less: in a process of its
own.

--lax times vqlab with XLA's own convolutions and pools as well, --forms with those that are chosen
on CPUs. With --bfloat16 both sides compute in it, PyTorch channels-last and by `torch.compile`; a
GPU is used if there is one. No network begins after --seconds.
"""

import argparse
import contextlib
import gc
import itertools
import math
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
from jax.typing import DTypeLike
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


@contextlib.contextmanager
def cpu_forms() -> Iterator[None]:
  """What is chosen on CPUs, on every platform."""

  def choose(*args, cpu, default):
    return cpu(*args)

  jax.clear_caches()  # of convolutions that are traced already
  with mock.patch("jax.lax.platform_dependent", choose):
    yield
  jax.clear_caches()


def ours(
  name: str, batch: int, dtype: DTypeLike = jnp.float32
) -> tuple[dict[str, Callable[[], object]], int]:
  """What runs forward and a training step, and the bytes the latter needs for the moment."""
  peer_classes = {"c3d": 487}.get(name, 400)
  model = video.create(name, peer_classes, dtype=dtype)
  clip = jnp.asarray(clip_of(name, batch), dtype)
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


def theirs(name: str, batch: int, bfloat16: bool = False) -> dict[str, Callable[[], object]]:
  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = peers.network(name)
  clip = torch.from_numpy(clip_of(name, batch).transpose(0, 4, 1, 2, 3).copy())
  alpha = getattr(video.create(name, 1), "alpha", 0)
  labels = torch.arange(batch)
  if bfloat16:
    layout = torch.channels_last_3d
    model, clip = (a.to(device, memory_format=layout) for a in (model, clip))
    torch._dynamo.config.recompile_limit = 200  # blocks share code: above it they run eagerly
    model, labels = torch.compile(model), labels.to(device)
  given = lambda: peers.inputs(clip, alpha)  # anew: pytorchvideo's SlowFast writes into the list
  lower = lambda: torch.autocast(device, torch.bfloat16, enabled=bfloat16)
  wait = torch.cuda.synchronize if clip.is_cuda else lambda: None
  sgd = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)

  def forward() -> None:
    model.eval()
    with torch.no_grad(), lower():
      model(given())
    wait()

  def train() -> None:
    model.train()
    sgd.zero_grad()
    with lower():
      loss = F.cross_entropy(model(given()), labels)
    loss.backward()
    sgd.step()
    wait()

  return {"forward": forward, "step": train}


def least_seconds(
  sides: dict[str, Callable[[], object]], peer: Callable[[], object], rounds: int
) -> dict[str | int, float]:
  """Of each side, and of the peer by its number of threads.

  A slow side has fewer rounds, a number of threads that is clearly the worse one has one.
  """
  threads = sorted({os.cpu_count()} if torch.cuda.is_available() else {1, os.cpu_count()})
  runs = {**sides, **dict.fromkeys(threads, peer)}
  times: dict[str | int, list[float]] = {side: [] for side in runs}
  for number in range(rounds):
    for side, run in runs.items():
      if number > 1 and min(times[side]) > 20:
        continue
      if number and side in threads and times[side][0] > 1.3 * min(times[n][0] for n in threads):
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
  parser.add_argument("--forms", action="store_true", help="the forms for CPUs as well")
  parser.add_argument("--bfloat16", action="store_true", help="on both sides")
  parser.add_argument("--seconds", type=float, default=math.inf, help="for beginning networks")
  parser.add_argument("--torch_memory", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.torch_memory:
    print(grown_by_a_step(args.torch_memory[0], int(args.torch_memory[1])))
    return
  torch.manual_seed(0)
  begun, dtype = time.monotonic(), jnp.bfloat16 if args.bfloat16 else jnp.float32
  print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, the fastest of {args.rounds}")
  other_ways = {"lax": plain_lax} if args.lax else {}
  other_ways |= {"forms": cpu_forms} if args.forms else {}
  columns = ["network", "batch", "", "vqlab ms", "PyTorch ms", "threads", "PyTorch / vqlab"]
  for way in other_ways:
    columns += [f"{way} ms", f"{way} / vqlab"]
  columns += ["vqlab MiB"] + ([] if args.bfloat16 else ["PyTorch MiB"])
  print("| " + " | ".join(columns) + " |")
  print("|" + "---|" * len(columns), flush=True)
  for name, batch in itertools.product(args.models, args.batches):
    if time.monotonic() - begun > args.seconds:
      print(f"{name}, batch {batch}: no time left")
      continue
    sides, memory = ours(name, batch, dtype)
    peer, others = theirs(name, batch, args.bfloat16), {}
    for way, changed in other_ways.items():
      with changed():
        others[way], _ = ours(name, batch, dtype)
    for part in ("forward", "step"):
      runs = {way: other[part] for way, other in {"vqlab": sides, **others}.items()}
      times = least_seconds(runs, peer[part], args.rounds)
      mine, *rest = (times.pop(way) for way in runs)
      threads = min(times, key=times.get)
      cells = [name, str(batch), part, f"{1e3 * mine:.4g}", f"{1e3 * times[threads]:.4g}"]
      cells += [str(threads), f"{times[threads] / mine:.2f}"]
      for taken in rest:
        cells += [f"{1e3 * taken:.4g}", f"{taken / mine:.1f}"]
      if part == "step":
        sizes = [memory] + ([] if args.bfloat16 else [torch_memory(name, batch)])
        cells += [f"{size / 2**20:.0f}" for size in sizes]
      cells += [""] * (len(columns) - len(cells))
      print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main()
