"""Draws from a run's prior over codes of sound, or goes through its codes: sound in and out."""

import functools
import math
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from rich.markup import escape

from train import compile_cache, fields, run
from train.audio import prior, speaking
from train.audio.classify import full_scale_one
from train.audio.converting import frames_of
from train.audio.pictures import spectrogram_sheet
from train.audio.prior import SpeechPriorStage
from train.audio.verbs import Convert, Reconstruct, Sample, Speaking
from train.audio.vqvae import AudioVQVAEStage
from train.errors import BadInput
from train.files import write_json
from train.report import console, write_report
from train.tables import table
from train.task import Finished, Run
from vqlab import metrics

_SHOWN = 12  # sounds of a sheet
_NAMED = 20  # names that an error lists


def sample(verb: Sample, path: pathlib.Path) -> None:
  """Draws sounds and writes them one after another, a sheet of the first, and their codes."""
  compile_cache.enable()
  done = run.load(verb.dir, verb.source())
  tokenizer, learned = done.the(AudioVQVAEStage), done.the(SpeechPriorStage)
  if (verb.top_k or 0) > learned.model.num_codes:
    raise BadInput(f"--top_k is {verb.top_k}; the prior has {learned.model.num_codes} codes")
  about, rate = done.about, done.about["rate"]
  given = learned.stage.labels(about)
  told = {
    "speaker": about["speakers"] if _voices(tokenizer) or "speaker" in given else [],
    "label": about["class_names"] if "label" in given else [],
  }
  wanted = {"speaker": verb.speaker, "label": verb.label}
  values = [asked(name, wanted[name], told[name], verb.dir) for name in told]
  chosen = dict(zip(told, prior.every_pair(*values, verb.num), strict=True))
  length = round(verb.seconds * rate) if verb.seconds else learned.stage.window
  start = time.monotonic()
  drawn = prior.draw(
    tokenizer,
    learned,
    {name: chosen[name] for name in given},
    chosen["speaker"],
    seed=verb.seed,
    length=length,
    temperature=verb.temperature,
    top_k=verb.top_k,
    top_p=verb.top_p,
  )
  seconds, sounds = time.monotonic() - start, drawn.samples[:, :length]
  named = {name: chosen[name][:_SHOWN] for name in told if told[name]}
  names = prior.named(about, named, len(sounds[:_SHOWN]))
  picture = spectrogram_sheet([sounds[:_SHOWN]], rate=rate, titles=("sample",), names=names)
  files = {
    ".png": picture,
    ".npz": {"codes": drawn.codes, "speakers": chosen["speaker"], "labels": chosen["label"]},
    ".wav": (rate, speaking.in_a_row(sounds, rate)),
  }
  write_report(path.parent, {path.with_suffix(end).name: x for end, x in files.items()})
  console.print(f"{verb.num} samples in {seconds:.1f} s, compilation included")
  console.print("wrote " + ", ".join(str(path.with_suffix(end)) for end in files), markup=False)


def reconstruct(verb: Reconstruct, folder: pathlib.Path) -> None:
  """Writes reconstructions of sounds, sheets beside the originals, their codes and figures."""
  done, tokenizer = _tokenizer(verb)
  speakers, voice = done.about["speakers"], 0
  if _voices(tokenizer) and verb.speaker is None:
    raise BadInput(
      "--speaker is missing: the decoder is told of speakers; name that of the sounds, "
      f"{_listed(speakers)}"
    )
  if verb.speaker is not None:
    told = speakers if _voices(tokenizer) else []
    voice = asked("speaker", verb.speaker, told, verb.dir)[0]
  spoken = _speak(verb, done, tokenizer, voice)
  frames, model = frames_of(done.about["rate"]), tokenizer.model
  distance = jax.jit(functools.partial(metrics.log_spectral_distance, **frames))
  per_second = done.about["rate"] / model.hop * math.log2(tokenizer.stage.codebook.num_codes)
  lines = table("", "sound", "log spectral distance dB", "seconds", "codes")
  for path, original, codes, copy in zip(verb.sounds, *spoken, strict=True):
    both = (full_scale_one(x[None], np.float32) for x in (original, copy))
    figures = {
      "log_spectral_distance": float(distance(*both)[0]),
      "seconds": len(original) / done.about["rate"],
      "codes": len(codes),
      "distinct_codes": len(np.unique(codes)),
      "bits_per_second_nominal": per_second,
    }
    _write(done, folder / path.stem, path, ("original", "reconstruction"), original, copy)
    write_report(folder, {f"{path.stem}.npz": {"codes": codes}})
    write_json(folder / f"{path.stem}.json", figures)
    lines.add_row(
      escape(_said(path.name)),
      f"{figures['log_spectral_distance']:.2f}",
      f"{figures['seconds']:.2f}",
      str(len(codes)),
    )
  console.print(lines)
  console.print("each sound: its reconstruction as .wav; codes beside it as .npz, figures .json")
  _print_pictures(folder, [path.stem for path in verb.sounds])


def convert(verb: Convert, folder: pathlib.Path) -> None:
  """Writes sounds in another's voice, and sheets of both."""
  done, tokenizer = _tokenizer(verb)
  speakers = done.about["speakers"]
  told = speakers if _voices(tokenizer) else []
  (voice,) = asked("speaker", verb.speaker, told, verb.dir)
  spoken = _speak(verb, done, tokenizer, voice)
  stems = [f"{path.stem}-{speakers[voice]}" for path in verb.sounds]
  for path, stem, original, _, copy in zip(verb.sounds, stems, *spoken, strict=True):
    _write(done, folder / stem, path, ("original", speakers[voice]), original, copy)
  console.print("each sound: converted as .wav")
  _print_pictures(folder, stems)


class _Spoken(NamedTuple):
  """Of each file."""

  originals: list[np.ndarray]  # i16[T], at the run's rate
  codes: list[np.ndarray]  # i32[S]
  copies: list[np.ndarray]  # i16[T]


def _tokenizer(verb: Speaking) -> tuple[Run, Finished]:
  compile_cache.enable()
  done = run.load(verb.dir, verb.source())
  return done, done.the(AudioVQVAEStage)


def _speak(verb: Speaking, done: Run, tokenizer: Finished, voice: int) -> _Spoken:
  """Encodes the files, all of which are read first, and draws the sound of their codes."""
  from train.audio.files import load  # libsndfile and soxr, which what is only drawn needs not

  coder = tokenizer.stage.coder(done.about)
  recordings = [load(path, rate=done.about["rate"]) for path in verb.sounds]
  for path, recording in zip(verb.sounds, recordings, strict=True):
    if recording.clipped:
      console.print(
        _said(f"{path} clips: {recording.clipped:,} samples at full scale"), markup=False
      )
  originals = [recording.samples for recording in recordings]
  encode, codes = jax.jit(coder.encode), []
  for sound in originals:
    x = coder.inputs({"sound": sound[None], "speaker": np.zeros(1, np.int32)})
    codes.append(np.asarray(encode(tokenizer.learned, x)[0][0]))
  copies = speaking.speak(
    coder.model,
    tokenizer.learned,
    codes,
    [voice] * len(codes),
    lengths=[len(sound) for sound in originals],
    key=jax.random.key(verb.seed),
    temperature=verb.temperature,
  )
  return _Spoken(originals, codes, copies)


def _write(
  done: Run,
  target: pathlib.Path,
  path: pathlib.Path,
  titles: tuple[str, str],
  original: np.ndarray,
  copy: np.ndarray,
) -> None:
  """A sound, and the sheet of it beside the original, under the target's name."""
  rate = done.about["rate"]
  columns = [[original], [copy]]
  sheet = spectrogram_sheet(columns, rate=rate, titles=titles, names=[_said(path.name)])
  write_report(target.parent, {f"{target.name}.wav": (rate, copy), f"{target.name}.png": sheet})


def _voices(tokenizer: Finished) -> int:
  """How many speakers the decoder is told of."""
  return tokenizer.model.num_speakers


def asked(name: str, value: str | None, names: Sequence[str], folder: pathlib.Path) -> list[int]:
  """The numbers of what is asked for: one of the names, or all where none is given.

  Args:
    name: of the option.
    value: one of the names, or its number.
    names: empty where the run knows of none.

  Raises:
    BadInput: it is none of them.
  """
  if value is None:
    return list(range(max(len(names), 1)))
  shown = f"--{name} is {value[:40]!r}"
  if not names:
    raise BadInput(f"{shown}, but what {folder} learned knows no {name}s")
  # Where names are numbers, a number is a name.
  numbered = value.isdecimal() and len(value) < 10 and not any(map(str.isdecimal, names))
  number = int(value) if numbered else -1
  index = names.index(value) if value in names else number
  if not 0 <= index < len(names):
    near = fields.nearest(value, names) if len(names) > _NAMED else ""
    raise BadInput(f"{shown}; it must be {_listed(names)}{near}")
  return [index]


def _listed(names: Sequence[str]) -> str:
  if len(names) <= _NAMED:
    return f"one of {', '.join(names)}"
  return f"one of {len(names):,}, such as {names[0]}"


def _said(name: str) -> str:
  """The name of a file as it can be printed and drawn, whatever its bytes are."""
  return name.encode(errors="backslashreplace").decode()


def _print_pictures(folder: pathlib.Path, stems: list[str]) -> None:
  for stem in stems:
    console.print(_said(f"picture: {folder / stem}.png"), markup=False)
