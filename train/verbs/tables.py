"""Figures as a person reads them."""

from rich.table import Table

_FIGURES = {  # what a figure is called, and how it is written
  "mse": ("reconstruction MSE", "{:.6f}"),
  "psnr": ("reconstruction PSNR", "{:.2f} dB"),
  "perplexity": ("code perplexity", "{:.1f}"),
  "usage": ("codes used", "{:.1%}"),
  "nats_per_code": ("negative log-likelihood", "{:.4f} nats a code"),
  "unigram_nats": ("entropy of the codes' frequencies", "{:.4f} nats a code"),
  "uniform_nats": ("that of a uniform code, log K", "{:.4f} nats a code"),
  "bits_per_dim": ("rate of the codes", "{:.4f} bits a dimension"),
  "total_bits_per_dim": ("rate of all levels down to here", "{:.4f} bits a dimension"),
  "judge_accuracy": ("judge, on real held-out images", "{:.1%} right"),
  "sample_accuracy": ("judge, on samples", "{:.1%} of the class asked for"),
  "train_examples": ("training examples", "{:,.0f}"),
  "held_out_examples": ("held-out examples", "{:,.0f}"),
  "cross_entropy": ("cross entropy", "{:.4f} nats"),
  "accuracy": ("accuracy", "{:.1%}"),
}


def table(title: str, *columns: str) -> Table:
  return Table(*columns, title=title, title_justify="left")


def figures_table(title: str) -> Table:
  return table(title, "stage", "figure", "value")


def add_figures(to: Table, stage: str, figures: dict[str, float]) -> None:
  """A line a figure; those of a level have its name at their end."""
  for i, (key, value) in enumerate(figures.items()):
    base, _, level = key.partition("_")
    if key in _FIGURES:
      title, text = _FIGURES[key]
    elif base in _FIGURES:
      title, text = _FIGURES[base]
      title += f", {level}"
    else:
      title, text = key, "{:.6g}"
    to.add_row("" if i else stage, title, text.format(value))
