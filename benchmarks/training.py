"""One training step of the networks: vqlab over the same network in PyTorch.

    python -m benchmarks.training [--models vqvae vqvae2 ...] [--seconds 60]

A step is forward, backward and Adam, in float32; of autoencoders the quantizer and the codebooks'
averages too, of priors the cross-entropy of given codes:

  vqvae       32x32x3, batch 16; 256 channels, 2 downsamples, 2 residual blocks of 256, K=512, D=64
  vqvae2      128x128x3, batch 2; rosinality's defaults: 128 channels, residual 32, K=512, D=64
  pixelcnn    32x32 codes, batch 8; 128 channels, 12 layers, kernel 5, K=512
  pixelsnail  32x32 codes, batch 2; 64 channels, 2 blocks of 3 layers, dropout 0.1, K=512

PyTorch runs eagerly, as its users' code does, with Adam fused, on one thread and on all; the
faster counts. The steps of all sides alternate and the fastest of each counts, so that a machine
whose speed drifts, or that others use too, does not favour any. Parameters are counted on both
sides, masked taps not: it is the same network. (PixelSNAIL's first convolutions both read 4 taps in
PyTorch, as rosinality's do: 4 x 512 x 64 parameters that change no function.)
"""

import argparse
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.nn import functional as F

from benchmarks import pixelsnail
from benchmarks.peers import pixelcnn as pixelcnn_peer
from benchmarks.peers import pixelsnail as pixelsnail_peer
from benchmarks.peers import vqvae as vqvae_peer
from vqlab import quantize
from vqlab.autoencoders import vqvae, vqvae2
from vqlab.priors import PixelCNN, PixelSNAIL

BETA, DECAY, RATE, NUM_CODES = 0.25, 0.99, 3e-4, 512

Step = Callable[[], object]  # takes one step and waits for it


def vqlab_step(loss: Callable, params: dict, *, state: tuple, batch: jax.Array) -> Step:
  """Steps of `loss(params, state, batch, key) -> (loss, new state)`."""
  adam = optax.adam(RATE)

  def step(carry: tuple, batch: jax.Array) -> tuple:
    params, moments, state, key = carry
    key, now = jax.random.split(key)
    grads, state = jax.grad(loss, has_aux=True)(params, state, batch, now)
    updates, moments = adam.update(grads, moments)
    return optax.apply_updates(params, updates), moments, state, key

  step = jax.jit(step, donate_argnums=0)
  carry = (params, adam.init(params), state, jax.random.key(0))

  def run() -> None:
    nonlocal carry
    carry = jax.block_until_ready(step(carry, batch))

  return run


def torch_step(loss: Callable, model: torch.nn.Module, batch: torch.Tensor) -> Step:
  adam = torch.optim.Adam(model.parameters(), RATE, fused=True)

  def run() -> None:
    adam.zero_grad()
    loss(model, batch).backward()
    adam.step()

  return run


def autoencoder(model, peer: torch.nn.Module, *, shape: tuple) -> tuple[Step, Step, int, int]:
  images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  keys = jax.random.split(jax.random.key(1), model.num_levels)
  states = tuple(quantize.init(key, NUM_CODES, model.code_dim) for key in keys)
  update = quantize.chain(quantize.ema(DECAY))

  def loss(params: dict, states: tuple, images: jax.Array, key: jax.Array):
    del key
    output = vqvae.forward(model, params, tuple(s.codebook for s in states), images)
    terms = vqvae.losses(output, images)
    states = tuple(
      update(s, quantize.assignment_stats(z, q.indices, num_codes=NUM_CODES))
      for s, z, q in zip(states, output.z, output.quantized, strict=True)
    )
    return jnp.mean(terms.reconstruction + BETA * terms.commitment), states

  books = tuple(s.codebook for s in states)
  params = jax.jit(model.init)(jax.random.key(0), images, books)["params"]

  def peer_loss(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    reconstruction, commitment = model(images)
    return F.mse_loss(reconstruction, images) + BETA * commitment

  theirs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
  return (
    vqlab_step(loss, params, state=states, batch=jnp.asarray(images)),
    torch_step(peer_loss, peer, theirs),
    count(params),
    peer_count(peer),
  )


def prior(model, peer: torch.nn.Module, *, shape: tuple) -> tuple[Step, Step, int, int]:
  codes = np.random.default_rng(0).integers(NUM_CODES, size=shape, dtype=np.int32)
  params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(codes))["params"]

  def loss(params: dict, state: tuple, codes: jax.Array, key: jax.Array):
    logits = model.apply({"params": params}, codes, train=True, rngs={"dropout": key})
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, codes)), state

  return (
    vqlab_step(loss, params, state=(), batch=jnp.asarray(codes)),
    torch_step(lambda model, codes: F.cross_entropy(model(codes), codes), peer, torch_codes(codes)),
    count(params),
    peer_count(peer),
  )


def torch_codes(codes: np.ndarray) -> torch.Tensor:
  return torch.from_numpy(codes.astype(np.int64))


def count(params: dict) -> int:
  return sum(x.size for x in jax.tree.leaves(params))


def peer_count(model: torch.nn.Module) -> int:
  """Parameters but for masked taps, which are no part of the function."""
  total = sum(p.numel() for p in model.parameters())
  for m in model.modules():
    if getattr(m, "masked", False):
      out, inputs, _, width = m.kernel.shape
      total -= out * inputs * (width - width // 2)
  return total


def make_vqvae() -> tuple[Step, Step, int, int]:
  return autoencoder(vqvae.VQVAE(), vqvae_peer.VQVAE(), shape=(16, 32, 32, 3))


def make_vqvae2() -> tuple[Step, Step, int, int]:
  model = vqvae2.VQVAE2(residual_channels=32)
  return autoencoder(model, vqvae_peer.VQVAE2(), shape=(2, 128, 128, 3))


def make_pixelcnn() -> tuple[Step, Step, int, int]:
  return prior(PixelCNN(NUM_CODES), pixelcnn_peer.PixelCNN(), shape=(8, 32, 32))


def make_pixelsnail() -> tuple[Step, Step, int, int]:
  fields = pixelsnail.SIZES["small"]
  peer = pixelsnail_peer.PixelSNAIL((32, 32), **fields)
  peer.unnormalise()
  model = PixelSNAIL(
    channels=fields["channels"],
    res_channels=fields["hidden"],
    num_blocks=fields["blocks"],
    num_res_blocks=fields["layers"],
  )
  return prior(model, peer, shape=(2, 32, 32))


MODELS = {
  "vqvae": make_vqvae,
  "vqvae2": make_vqvae2,
  "pixelcnn": make_pixelcnn,
  "pixelsnail": make_pixelsnail,
}


def seconds(ours: Step, theirs: Step, budget: float) -> dict[str | int, float]:
  """The least seconds a step: of vqlab, and of PyTorch by its number of threads."""
  times = {"vqlab": [], **{n: [] for n in sorted({1, os.cpu_count()})}}
  end, rounds = time.perf_counter() + budget, 0
  while rounds < 5 or time.perf_counter() < end:
    rounds += 1
    for side, taken in times.items():
      if side != "vqlab":
        torch.set_num_threads(side)
      time.sleep(0.02)  # until the other side's threads no longer spin for work
      start = time.perf_counter()
      (ours if side == "vqlab" else theirs)()
      taken.append(time.perf_counter() - start)
  return {side: min(taken) for side, taken in times.items()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
  parser.add_argument("--seconds", type=float, default=60, help="of each network, at least")
  args = parser.parse_args()
  torch.manual_seed(0)
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, the fastest of {args.seconds:.0f} s"
  )
  print("| network | parameters | in PyTorch | vqlab ms | PyTorch ms | threads | PyTorch / vqlab |")
  print("|---|---|---|---|---|---|---|")
  for name in args.models:
    ours, theirs, size, peer_size = MODELS[name]()
    times = seconds(ours, theirs, args.seconds)
    mine = times.pop("vqlab")
    threads = min(times, key=times.get)
    cells = [name, f"{size:,}", f"{peer_size:,}", f"{1e3 * mine:.1f}"]
    cells += [f"{1e3 * times[threads]:.1f}", str(threads), f"{times[threads] / mine:.2f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main()
