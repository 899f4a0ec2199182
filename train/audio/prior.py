"""A WaveNet over codes of sound: what it draws, the tokenizer speaks."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train.audio import speaking
from train.audio.vqvae import AudioVQVAEStage, real_codes
from train.codes import likelihood
from train.codes.tokenizer import Tokenizer
from train.codes.wavenet import WaveNetStage
from train.fields import field
from train.learn import Learned
from train.task import Batch, Finished, Report, Run, Splits, Task
from vqlab import priors

_REPORTED = 12  # sounds


@dataclasses.dataclass(frozen=True)
class SpeechPriorStage(WaveNetStage):
  """A WaveNet over the tokenizer's codes, by the speaker and the class where there are any."""

  window: int = field(8192, least=1)
  """Samples of an example."""
  whole: bool = field(False)
  """Examples are sounds from their beginnings, cut or followed by silence; otherwise windows at
  random."""
  speaker_conditional: bool = field(True)
  """Learn the codes given the speaker, where there are several."""

  def labels(self, about: dict[str, Any]) -> dict[str, int]:
    """What the codes are learned given, and how many values it has."""
    sizes = {
      "speaker": len(about["speakers"]) if self.speaker_conditional else 0,
      "label": self.num_classes(about),
    }
    return {name: size for name, size in sizes.items() if size > 1}

  def make(self, run: Run) -> Task:
    from train.audio.sounds import Chunks

    done, labels = run.the(AudioVQVAEStage), self.labels(run.about)
    coder = done.stage.coder(run.about, self.window)
    (shape,), hop = coder.shapes, coder.model.hop
    model = self.network(coder.num_codes, tuple(labels.values()))
    codes_per_second = run.about["rate"] / hop

    def inputs(context: Tokenizer, batch: Batch) -> tuple[jax.Array, priors.SequenceConditions]:
      (codes,) = coder.encode(context, coder.inputs(batch))
      return codes, priors.SequenceConditions(tuple(batch[name] for name in labels))

    def rates(figures: dict[str, float]) -> dict[str, float]:
      """Bits a second of the codes: nominal, by their frequencies, and by the prior."""
      bits = codes_per_second / math.log(2)
      of = {"nominal": "uniform_nats", "unigram": "unigram_nats", "prior": "nats_per_code"}
      return {f"bits_per_second_{name}": bits * figures[value] for name, value in of.items()}

    def report(learned: Learned, examples: Splits) -> Report:
      # Where the prior is told of no speakers, it says nothing of whose voice it is: all in turn.
      every = (list(range(len(run.about["speakers"]))), list(range(labels.get("label", 1))))
      pairs = dict(zip(("speaker", "label"), every_pair(*every, _REPORTED), strict=True))
      chosen, seed = {name: pairs[name] for name in labels}, run.config.seed
      sounds = draw(done, Finished(self, task, learned, {}), chosen, pairs["speaker"], seed=seed)
      rows, names = [(x,) for x in sounds.samples], named(run.about, chosen, _REPORTED)
      return Report(files=speaking.shown("samples", rows, run.about["rate"], names, ("sample",)))

    task = likelihood.task_of(
      self,
      model,
      inputs,
      blank=(
        jnp.zeros((1, *shape), jnp.int32),
        priors.SequenceConditions((jnp.zeros(1, jnp.int32),) * len(labels)),
      ),
      dims=coder.dims,
      mask=lambda batch: real_codes(batch, hop) & batch["mask"][:, None],
      more=rates,
      examples=lambda: {
        name: Chunks(sounds, self.window, whole=self.whole) for name, sounds in run.splits.items()
      },
      spec={name: coder.spec[name] for name in ("sound", "length", "speaker", "label")},
      report=report,
      context=done.learned,
    )
    return task


class Drawn(NamedTuple):
  """Sounds drawn from a prior."""

  samples: np.ndarray  # i16[N, T]
  codes: np.ndarray  # i32[N, S]


def draw(
  tokenizer: Finished,
  prior: Finished,
  labels: dict[str, np.ndarray],
  speakers: np.ndarray,
  *,
  seed: int,
  length: int = 0,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> Drawn:
  """Draws codes, and the sound of them.

  Args:
    labels: i32[N] of all that the prior is conditioned on, see `SpeechPriorStage.labels`.
    speakers: i32[N], in whose voices.
    seed: the same seed, the same sounds, of the first N whatever N is.
    length: samples of each; 0: as the prior's examples.
    temperature, top_k, top_p: of the codes; samples are drawn as they were learned.
  """
  key, sound_key = jax.random.split(jax.random.key(seed))
  frames, parts = -(-(length or prior.stage.window) // tokenizer.model.hop), []
  for first in range(0, len(speakers), speaking.AT_ONCE):
    rows = np.minimum(
      np.arange(first, first + speaking.AT_ONCE), len(speakers) - 1
    )  # one compiled shape
    part = priors.sample(
      key,
      prior.model,
      prior.learned.params,
      (speaking.AT_ONCE, frames),
      cond=priors.SequenceConditions(tuple(x[rows] for x in labels.values())),
      temperature=temperature,
      top_k=top_k,
      top_p=top_p,
      first_index=first,
    )
    parts.append(np.asarray(part))
  codes = np.concatenate(parts)[: len(speakers)]
  samples = speaking.speak(tokenizer.model, tokenizer.learned, codes, speakers, key=sound_key)
  return Drawn(np.stack(samples), codes)


def every_pair(speakers: list[int], labels: list[int], count: int) -> tuple[np.ndarray, np.ndarray]:
  """i32[count] of each: both change from sound to sound, and every pair comes once a round.

  Those of sound i are the same, whatever the count.
  """
  i = np.arange(count)
  shift = i // math.lcm(len(speakers), len(labels))  # where one pair would come again: the next
  speaker, label = (
    np.int32(speakers)[i % len(speakers)],
    np.int32(labels)[(i + shift) % len(labels)],
  )
  return speaker, label


def named(about: dict[str, Any], chosen: dict[str, np.ndarray], count: int) -> list[str]:
  """What a person calls each of the sounds."""
  known = {"speaker": about["speakers"], "label": about["class_names"]}
  of = [[known[name][i] for i in values] for name, values in chosen.items()]
  return [", ".join(words) for words in zip(*of, strict=True)] if of else [""] * count
