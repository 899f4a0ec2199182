"""Figures as a person reads them."""

import re
from collections.abc import Iterable

from rich.markup import escape
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
  "image_bits_given_codes": ("images given their codes", "{:.4f} bits a dimension"),
  "image_bits_uniform": ("images, all codes alike", "{:.4f} bits a dimension"),
  "image_bits_prior": ("images, codes by the prior", "{:.4f} bits a dimension"),
  "image_bits_elbo": ("images, by the ELBO", "{:.4f} bits a dimension"),
  "image_bits_bound": ("images, by many samples", "{:.4f} bits a dimension"),
  "latent_nats": ("KL of the latents", "{:.2f} nats an image"),
  "total_bits_per_dim": ("rate of all levels down to here", "{:.4f} bits a dimension"),
  "judge_accuracy": ("judge, on real held-out images", "{:.1%} right"),
  "sample_accuracy": ("judge, on samples", "{:.1%} of the class asked for"),
  "train_examples": ("training examples", "{:,.0f}"),
  "held_out_examples": ("held-out examples", "{:,.0f}"),
  "million_parameters": ("parameters", "{:.2f} million"),
  "classes": ("classes", "{:,.0f}"),
  "tensors": ("tensors", "{:,.0f}"),
  "cross_entropy": ("cross entropy", "{:.4f} nats"),
  "psnr_predicted": ("PSNR of predicted frames", "{:.2f} dB"),
  "psnr_last": ("that of the last given frame", "{:.2f} dB"),
  "psnr_reconstructed": ("that of reconstructions", "{:.2f} dB"),
  "psnr_gain": ("PSNR over the last given frame's, a clip", "{:.2f} dB"),
  "in_place": ("clips with every predicted frame in its place", "{:.1%}"),
  "changed_by_actions": ("codes that other actions change", "{:.1%}"),
  "psnr_other_actions": ("PSNR of frames predicted from other actions", "{:.2f} dB"),
  "accuracy": ("accuracy", "{:.1%}"),
  "top1": ("top-1 accuracy", "{:.1%}"),
  "top5": ("top-5 accuracy", "{:.1%}"),
  "unreadable": ("videos that could not be read", "{:,.0f}"),
  "negative_elbo": ("negative ELBO", "{:.2f} nats an image"),
  "reconstruction_nats": ("reconstruction", "{:.2f} nats an image"),
  "content_kl": ("KL of the content", "{:.2f} nats a group"),
  "style_kl": ("KL of the style", "{:.2f} nats an image"),
  "content_variance": ("variance of the content of k images", "{:.3f}"),
  "contrast": ("InfoNCE of held-out nodes", "{:.4f} nats"),
  "matched": ("held-out nodes told from the others of a batch", "{:.1%}"),
  "recall": ("recall", "{:.4f}"),
  "ndcg": ("NDCG", "{:.4f}"),
  "hr": ("hit rate", "{:.4f}"),
  "mrr": ("reciprocal rank of the first hit", "{:.4f}"),
}
_OF_NODES = {"probe_degree": "degree", "probe_core": "core number"}
_FIGURES |= {
  f"{name}{end}": (f"{label} by a linear probe of {by}", "{:.1%}")
  for name, label in _OF_NODES.items()
  for end, by in (("", "the encoder"), ("_untrained", "an untrained encoder"))
}
_FIGURES |= {
  f"{name}_majority": (f"{label}, the most frequent one always", "{:.1%}")
  for name, label in _OF_NODES.items()
}
_CHECKS = {"popularity": "popularity", "random": "random scores", "item_knn": "item-kNN"}
_OF_PROBES = {
  "content_alone": ("class by each image's content (strategy 1)", "{:.1%}"),
  "content": ("class by k images' content (strategy 2)", "{:.1%}"),
  "style_alone": ("class by each image's style", "{:.1%}"),
  "style": ("class by k images' styles together", "{:.1%}"),
  "content_information": ("content on the class, at least", "{:.3f} nats"),
  "style_information": ("style on the class, at least", "{:.3f} nats"),
  "information_gap": ("information gap, of the class' entropy", "{:.3f}"),
}
_FIGURES |= {
  f"{name}_{kind}": (f"{title}, {probe}", text)
  for name, (title, text) in _OF_PROBES.items()
  for kind, probe in (("linear", "linear probe"), ("mlp", "MLP probe"))
}

_FIGURES |= {
  "nats_per_sample": ("negative log-likelihood", "{:.4f} nats a sample"),
  "codes_per_second": ("codes a second", "{:.1f}"),
  "bits_per_second_nominal": ("rate of the codes, all alike", "{:,.0f} bits a second"),
  "bits_per_second_unigram": ("rate of the codes, by their frequencies", "{:,.0f} bits a second"),
  "bits_per_second_prior": ("rate of the codes, by the prior", "{:,.0f} bits a second"),
  "distance_own": ("log-spectral distance of reconstructions", "{:.2f} dB"),
  "distance_mean_spectrum": ("that of the mean spectrum", "{:.2f} dB"),
  "distance_mu_law": ("that of a mu law at as many bits a second", "{:.2f} dB"),
  "mu_law_bits": ("bits a sample of that", "{:.0f}"),
}
_HEARD = {"real": "real speech", "own": "reconstructions", "other": "conversions"}
_FIGURES |= {
  f"{what}_{kind}": (f"{called} heard in {sound}", "{:.1%}")
  for kind, sound in _HEARD.items()
  for what, called in (
    ("speaker", "target speaker" if kind == "other" else "speaker"),
    ("label", "label"),
  )
}
_FIGURES |= {
  f"{what}_of_{unit}_by_{kind}": (f"{what} of {an} {unit}, linear probe of {of}", "{:.1%}")
  for what in ("speaker", "label")
  for unit, an, ofs in (
    ("utterance", "an", ("its codes' histogram", "its mean spectrum and deviation")),
    ("frame", "a", ("its code", "its spectrum")),
  )
  for kind, of in zip(("codes", "sound"), ofs, strict=True)
}
_FIGURES |= {
  f"{what}_{base}": (f"{what}, {called}", "{:.1%}")
  for what in ("speaker", "label")
  for base, called in (
    ("chance", "by chance"),
    ("most_frequent_utterance", "the most frequent one of utterances always"),
    ("most_frequent_frame", "the most frequent one of frames always"),
  )
}


def table(title: str, *columns: str) -> Table:
  return Table(*columns, title=escape(title), title_justify="left")


def figures_table(title: str) -> Table:
  return table(title, "stage", "figure", "value")


def add_figures(to: Table, stage: str, figures: dict[str, float]) -> None:
  """A line a figure. Those of a level have its name at their end; those named figure@k=1,
  figure@k=2, ... stand in one line, as do figure@5, figure@10, ..., by their numbers, and behind a
  figure the ends of its interval, figure_low and figure_high."""
  ends = {
    n: [figures[f"{n}_{e}"] for e in ("low", "high")] for n in figures if f"{n}_low" in figures
  }
  figures = {n: x for n, x in figures.items() if n not in _names_of(ends)}
  series: dict[str, list[tuple[str, float]]] = {}
  for key, value in figures.items():
    name, _, at = key.partition("@")
    series.setdefault(name, []).append((at, value))
  for i, (name, values) in enumerate(series.items()):
    title, text = _titled(name)
    if values[0][0].isdecimal():
      values = [(f"k={k}", value) for k, value in sorted((int(at), v) for at, v in values)]
    if values[0][0]:
      letter = values[0][0].partition("=")[0]
      title += f"; {letter} = " + ", ".join(at.partition("=")[2] for at, _ in values)
    written = ", ".join(text.format(value) for _, value in values)
    if name in ends:
      written += " [{}, {}]".format(*map(text.format, ends[name]))
    to.add_row("" if i else stage, title, escape(written))


def _names_of(ends: Iterable[str]) -> set[str]:
  return {f"{name}_{end}" for name in ends for end in ("low", "high")}


def _titled(name: str) -> tuple[str, str]:
  """What a figure is called, and how it is written."""
  base, _, level = name.partition("_")
  if views := re.fullmatch(r"top(\d)_(\d+)x([a-z]+)_([a-z]+)", name):
    k, clips, crops, scores = views.groups()
    return f"top-{k} ({clips} clips x {crops}, {scores})", "{:.1%}"
  if name in _FIGURES:
    return _FIGURES[name]
  for check, by in _CHECKS.items():
    if name.startswith(f"{check}_"):
      title, text = _titled(name.removeprefix(f"{check}_"))
      return f"{by}: {title}", text
  if base == "sampled":
    title, text = _titled(level)
    return f"{title} among drawn negatives", text
  if base in _FIGURES:
    title, text = _FIGURES[base]
    return f"{title}, {level}", text
  if way := re.fullmatch(r"(\w+)_(\d+)way", name):
    return f"{way[2]}-way accuracy by nearest {way[1]} mean", "{:.1%}"
  return name, "{:.6g}"
