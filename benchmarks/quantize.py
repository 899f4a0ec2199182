"""One training step of the quantizer alone: vqlab over vector-quantize-pytorch.

    python -m benchmarks.quantize [--steps 10] [--sizes N,K,D ...]

Both sides do the same work on the same vectors in the same run: assign every vector to its
nearest code, take the plain straight-through gradient and the commitment loss's (beta 0.25), and
update the codebook by EMA (decay 0.99, epsilon 1e-5, no revival). Steps alternate between the two
and the figures are medians, so that a machine whose speed drifts does not favour either.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from vqlab import quantize

SIZES = ("16384,512,64", "16384,8192,64", "4096,65536,32")
BETA, DECAY, EPSILON = 0.25, 0.99, 1e-5


def vqlab_step(num_codes: int):
  """A compiled function (z, state) -> (loss, gradient, state)."""
  update = quantize.chain(quantize.ema(DECAY, epsilon=EPSILON))

  def loss(z, codebook):
    out = quantize.quantize(z, codebook)
    return jnp.sum(out.vectors) + BETA * quantize.commitment_loss(z, out.codes), out.indices

  def step(z, state):
    (value, indices), grad = jax.value_and_grad(loss, has_aux=True)(z, state.codebook)
    stats = quantize.assignment_stats(z, indices, num_codes=num_codes)
    return value, grad, update(state, stats)

  return jax.jit(step, donate_argnums=1)


def compare(n: int, k: int, d: int, steps: int) -> tuple[float, float]:
  """Median seconds a step of (vqlab, the peer)."""
  import torch
  from vector_quantize_pytorch import VectorQuantize

  z = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
  ours_z, state = jnp.asarray(z), quantize.init(jax.random.key(0), k, d)
  step = vqlab_step(k)
  peer = VectorQuantize(
    dim=d, codebook_size=k, decay=DECAY, eps=EPSILON, commitment_weight=BETA, rotation_trick=False
  ).train()
  theirs_z = torch.tensor(z)[None].requires_grad_()

  def ours():
    nonlocal state
    *out, state = step(ours_z, state)
    jax.block_until_ready((out, state))

  def theirs():
    theirs_z.grad = None
    vectors, _, loss = peer(theirs_z)
    (vectors.sum() + loss.sum()).backward()

  times: dict = {ours: [], theirs: []}
  for i in range(steps + 2):
    for run in (ours, theirs):
      start = time.perf_counter()
      run()
      if i >= 2:  # the first two compile and warm up
        times[run].append(time.perf_counter() - start)
  return statistics.median(times[ours]), statistics.median(times[theirs])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=10)
  parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="N,K,D")
  args = parser.parse_args()
  import torch

  device = jax.devices()[0].device_kind
  print(f"device {device}, {torch.get_num_threads()} PyTorch threads, {args.steps} steps each")
  print(f"{'N':>7} {'K':>7} {'D':>4} {'vqlab ms':>10} {'peer ms':>10} {'peer/vqlab':>11}")
  for size in args.sizes:
    n, k, d = map(int, size.split(","))
    ours, theirs = compare(n, k, d, args.steps)
    print(f"{n:7} {k:7} {d:4} {ours * 1e3:10.1f} {theirs * 1e3:10.1f} {theirs / ours:10.1f}x")


if __name__ == "__main__":
  main()
