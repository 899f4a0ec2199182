"""Sounds, and what codes say of them, as a person looks at them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.features import spectrogram

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_RANGE = 80  # dB below the loudest that are shown
_INK, _BLANK = "#3b6ea5", "#f4f4f4"
# Inches: a cell's width, its waveform and spectrogram, a row's name, and what is around them.
_WIDTH, _WAVE, _SPECTRUM, _NAME, _GAP = 3.1, 0.3, 0.72, 0.17, 0.12
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.5, 0.75, 0.3, 0.45


def spectrogram_sheet(
  sets: Sequence[Sequence[np.ndarray]], *, rate: int, titles: Sequence[str], names: Sequence[str]
) -> np.ndarray:
  """Sounds as waveforms over their spectrograms, a set a column: a picture u8[H, W, 3].

  All have one scale of time. A row's spectrograms are in dB below the loudest of that row, down to
  -80, so that its sounds can be compared; each waveform is as high as its own peak.

  Args:
    sets: of each column the sounds i16[T] of its rows, of any lengths.
    rate: samples a second.
    titles: of the columns.
    names: of the rows.
  """
  columns, rows = len(titles), len(names)
  height = _TOP + rows * (_NAME + _WAVE + _SPECTRUM) + (rows - 1) * _GAP + _BOTTOM
  width = _LEFT + columns * _WIDTH + (columns - 1) * _GAP + _RIGHT
  figure, longest = _figure(width, height), max(len(x) for sounds in sets for x in sounds)
  levels = [_decibels(sounds, rate, longest) for sounds in sets]

  def axes_at(column: int, top: float, high: float):
    """`top` inches from the top."""
    left = _LEFT + column * (_WIDTH + _GAP)
    axes = figure.add_axes((left / width, 1 - (top + high) / height, _WIDTH / width, high / height))
    axes.set(xlim=(0, longest / rate), xticks=[], yticks=[], facecolor=_BLANK)
    axes.spines[:].set_visible(False)
    return axes

  for column, (title, sounds) in enumerate(zip(titles, sets, strict=True)):
    for row, (name, sound) in enumerate(zip(names, sounds, strict=True)):
      top = _TOP + row * (_NAME + _WAVE + _SPECTRUM + _GAP)
      if row == 0:
        centre = (_LEFT + column * (_WIDTH + _GAP) + _WIDTH / 2) / width
        _say(figure, centre, 1 - 0.2 / height, title, size=10, ha="center", weight="bold")
      if column == 0:
        _say(figure, _LEFT / width, 1 - (top + _NAME - 0.04) / height, name, size=8)
      _wave(axes_at(column, top + _NAME, _WAVE), sound, rate)
      axes = axes_at(column, top + _NAME + _WAVE, _SPECTRUM)
      loudest = max(-80, *(level[row].max() for level in levels))  # of silence nothing is loud
      shown = axes.imshow(
        (levels[column][row] - loudest).T,
        cmap="magma",
        vmin=-_RANGE,
        vmax=0,
        origin="lower",
        aspect="auto",
        extent=(0, len(sound) / rate, 0, rate / 2000),
      )
      axes.set(xlim=(0, longest / rate), ylim=(0, rate / 2000))
      if column == 0:
        axes.set_yticks(_ticks(rate / 2000, 3))
        axes.tick_params(labelsize=7, length=2)
        axes.set_ylabel("kHz", fontsize=7)
      if row == rows - 1:
        axes.set_xticks(_ticks(longest / rate, 6))
        axes.tick_params(labelsize=7, length=2)
        axes.set_xlabel("seconds", fontsize=8)
  high = min(3.0, height - _TOP - _BOTTOM)
  place = figure.add_axes(
    (1 - (_RIGHT - 0.15) / width, 1 - (_TOP + _NAME + high) / height, 0.1 / width, high / height)
  )
  bar = figure.colorbar(shown, cax=place)
  bar.set_label("dB, 0 is the row's loudest", fontsize=7)
  bar.ax.tick_params(labelsize=7, length=2)
  return _drawn(figure)


def label_map_picture(counts: np.ndarray, names: Sequence[str], *, title: str) -> np.ndarray:
  """Which label each code goes with, as a picture u8[H, W, 3].

  A column is a code that is used: the shares of its labels. They stand in the order of their most
  frequent labels, and of one label by how much of the code is its.

  Args:
    counts: i64[K, C], how often a code stands where a label does.
    names: of the C labels.
  """
  used = counts[counts.sum(1) > 0]
  share = used / used.sum(1, keepdims=True)
  order = np.lexsort((-share.max(1), share.argmax(1)))
  figure = _figure(8.5, min(1.6 + 0.2 * len(names), 12), layout="constrained")
  axes = figure.add_subplot()
  shown = axes.imshow(
    100 * share[order].T, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest"
  )
  axes.set(xlabel=f"code, by its most frequent label ({len(used)} of {len(counts)} are used)")
  axes.set_title(title, fontsize=11, parse_math=False)
  if len(names) <= 60:
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
  figure.colorbar(shown, label="% of the code")
  return _drawn(figure)


def _decibels(sounds: Sequence[np.ndarray], rate: int, longest: int) -> list[np.ndarray]:
  """Spectrograms in dB of full scale [F, N], by windows of about 25 ms; F as each is long."""
  window = 2 ** round(np.log2(0.025 * rate))
  hop = min(max(window // 8, longest // 600), window)
  padded = np.stack([np.pad(x, (0, longest - len(x))) for x in sounds])
  made = jax.jit(spectrogram, static_argnames=("window", "hop"))(
    jnp.asarray(padded / np.float32(32768)), window=window, hop=hop
  )
  levels = 20 * np.log10(np.maximum(made, 1e-8))
  return [level[: -(-len(x) // hop)] for level, x in zip(levels, sounds, strict=True)]


def _wave(axes, sound: np.ndarray, rate: int) -> None:
  """The least and the most of about 300 parts, so that no peak is lost."""
  starts = np.unique(np.linspace(0, len(sound) - 1, min(len(sound), 300)).astype(int))
  low, high = (f.reduceat(sound, starts) for f in (np.minimum, np.maximum))
  axes.fill_between(starts / rate, low, high, color=_INK, linewidth=0.4)
  peak = max(1, int(np.abs(sound.astype(np.int32)).max()))
  axes.set_ylim(-1.05 * peak, 1.05 * peak)


def _ticks(end: float, most: int) -> np.ndarray:
  from matplotlib.ticker import MaxNLocator

  found = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(0, end)
  return found[(found >= 0) & (found <= end * 1.001)]


def _say(figure: "Figure", x: float, y: float, text: str, **options) -> None:
  figure.text(x, y, text, parse_math=False, **options)  # a name may have dollars


def _figure(width: float, height: float, **options) -> "Figure":
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), dpi=110, **options)


def _drawn(figure: "Figure") -> np.ndarray:
  from matplotlib.backends.backend_agg import FigureCanvasAgg

  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()
