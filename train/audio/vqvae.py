"""Tokenizer of sound: the VQ-VAE with a WaveNet for its decoder."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.audio import speaking
from train.audio.classify import full_scale_one
from train.codes.tokenizer import Codebook, CodebookStage, Coder, Fidelity, Tokenizer
from train.fields import field
from train.task import Batch, Run, Splits
from vqlab import metrics
from vqlab.autoencoders import vqvae_audio
from vqlab.autoencoders.vqvae_audio import AudioVQVAE, Sound

__all__ = ["AudioVQVAEStage", "Codebook"]


@dataclasses.dataclass(frozen=True)
class AudioVQVAEStage(CodebookStage):
  """A VQ-VAE for sound (arXiv 1711.00937, section 4.3), see `vqlab.autoencoders.vqvae_audio`."""

  window: int = field(4096, least=1)
  """Samples that are trained on at once, cut from a sound at random."""
  eval_window: int = field(0, least=0, may_vary=True)
  """Samples of a held-out sound that are evaluated at once; 0: as many as are trained on."""
  strange_past: float = field(0.0, least=0, most=1)
  """Part of the training examples in which the decoder hears another sound at first, of less than
  half the window, and is asked for what follows: what it has drawn itself is as strange to it."""
  strides: tuple[int, ...] = field((2,) * 6, least=1, most=64)
  """Of the encoder's convolutions; together the samples of a code."""
  channels: int = field(256, least=1)
  """Width of the encoder's convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(0, least=0)
  """Of the encoder, at the rate of the codes."""
  local_features: int = field(128, least=1)
  """What the decoder is told at a position of the codes."""
  num_local_blocks: int = field(0, least=0)
  """Residual blocks by which it is told of the codes around as well."""
  tell_speaker: bool = field(True)
  """Tell the decoder who speaks, where several do, so that voices can be changed."""
  decoder_channels: int = field(256, least=1)
  """Width of the decoder."""
  skip_channels: int = field(256, least=1)
  """Width of the sum of its skips."""
  hidden: int = field(256, least=1)
  """Width of the layer before its logits."""
  num_layers: int = field(30, least=1)
  """Of the decoder, of dilations 1, 2, 4, ..."""
  cycle: int = field(10, least=1, most=24)
  """Layers after which dilations begin anew."""

  def model(self, about: dict[str, Any]) -> AudioVQVAE:
    """For data of which the source says this."""
    speakers = len(about["speakers"])
    return AudioVQVAE(
      num_speakers=speakers if self.tell_speaker and speakers > 1 else 0,
      strides=self.strides,
      channels=self.channels,
      num_residual_blocks=self.num_residual_blocks,
      residual_channels=self.residual_channels,
      code_dim=self.codebook.dim,
      local_features=self.local_features,
      num_local_blocks=self.num_local_blocks,
      decoder_channels=self.decoder_channels,
      skip_channels=self.skip_channels,
      hidden=self.hidden,
      num_layers=self.num_layers,
      cycle=self.cycle,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )

  def coder(self, about: dict[str, Any], length: int = 0) -> Coder:
    """For examples of `length` samples; 0: as many as are trained on."""
    model, length, rate = self.model(about), length or self.window, about["rate"]
    integer = jax.ShapeDtypeStruct((), np.int32)
    sound = jax.ShapeDtypeStruct((length,), np.int16)

    def sums(logits: jax.Array, x: Sound, batch: Batch) -> metrics.Total:
      real = jnp.arange(x.samples.shape[1], dtype=jnp.int32) < batch["length"][:, None]
      return metrics.total(vqvae_audio.nats(logits, x), mask=real & batch["mask"][:, None])

    def figures(sums: metrics.Total) -> dict[str, Any]:
      nats = metrics.mean(sums)
      return {"nats_per_sample": nats, "codes_per_second": rate / model.hop}

    def report(trained: Tokenizer, x: Sound, codes: tuple[jax.Array, ...]) -> dict[str, Any]:
      copies = speaking.speak(model, trained, codes[0], x.speakers, key=jax.random.key(0))
      originals = np.asarray(jnp.rint(x.samples * 32768), np.int16)
      names = [about["speakers"][i] for i in np.asarray(x.speakers)]
      pairs = list(zip(originals, copies, strict=True))
      return speaking.shown("reconstructions", pairs, rate, names, ("original", "reconstruction"))

    return Coder(
      model=model,
      shapes=model.map_shapes(length),
      num_codes=self.codebook.num_codes,
      spec={
        "sound": sound,
        **dict.fromkeys(("length", "speaker", "label"), integer),
        **({"other": sound, "first": integer} if self.strange_past else {}),
      },
      blank=Sound(jnp.zeros((1, length), self.param_dtype), jnp.zeros(1, jnp.int32)),
      dims=length,
      inputs=lambda batch: heard(batch, self.param_dtype),
      fidelity=Fidelity("nats_per_sample", vqvae_audio.nats, 1.0, sums, figures),
      report=report,
      columns=1,
      rows=6,
      mask=lambda batch: real_codes(batch, model.hop) & batch["mask"][:, None],
    )

  def examples(self, run: Run) -> Splits:
    from train.audio.sounds import Chunks

    sizes = {"train": self.window}
    return {
      name: Chunks(
        sounds, sizes.get(name, self.eval_window or self.window), strange=self.strange_past
      )
      for name, sounds in run.splits.items()
    }


def heard(batch: Batch, dtype: Any) -> Sound:
  """A batch as the model takes it."""
  sound = Sound(full_scale_one(batch["sound"], dtype), batch["speaker"])
  if "first" not in batch:
    return sound
  return sound._replace(other=full_scale_one(batch["other"], dtype), first=batch["first"])


def real_codes(batch: Batch, hop: int) -> jax.Array:
  """bool[B, S]: the codes that hold a real sample, not silence that fills up an example."""
  frames = -(-batch["sound"].shape[1] // hop)
  return jnp.arange(frames, dtype=jnp.int32) * hop < batch["length"][:, None]
