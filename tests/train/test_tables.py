"""Figures as a person reads them: what they are called, and which stand in one line."""

import io

from rich.console import Console

from train.tables import add_figures, figures_table


def printed(figures):
  """[figure, value] of every line."""
  table = figures_table("")
  add_figures(table, "stage", figures)
  console = Console(file=io.StringIO(), width=200)
  console.print(table)
  rows = [x.split("│")[2:4] for x in console.file.getvalue().splitlines() if x.startswith("│")]
  return [[cell.strip() for cell in row] for row in rows]


def test_figures_of_ranking_are_in_the_order_of_k():
  assert printed({"recall@10": 0.1, "recall@20": 0.2, "recall@5": 0.05}) == [
    ["recall; k = 5, 10, 20", "0.0500, 0.1000, 0.2000"]
  ]
  assert printed({"sampled_ndcg@5": 0.5, "popularity_sampled_hr@5": 0.25, "mrr@7": 1.0}) == [
    ["NDCG among drawn negatives; k = 5", "0.5000"],
    ["popularity: hit rate among drawn negatives; k = 5", "0.2500"],
    ["reciprocal rank of the first hit; k = 7", "1.0000"],
  ]
  assert printed({"item_knn_recall@5": 0.5, "random_ndcg@5": 0.5}) == [
    ["item-kNN: recall; k = 5", "0.5000"],
    ["random scores: NDCG; k = 5", "0.5000"],
  ]


def test_series_with_a_letter_stay_as_they_are():
  assert printed({"content_variance@k=2": 0.5, "content_variance@k=1": 1.0}) == [
    ["variance of the content of k images; k = 2, 1", "0.500, 1.000"]
  ]


def test_figures_of_encoders():
  assert printed({"contrast": 4.5, "probe_degree": 0.5, "probe_core_untrained": 0.25}) == [
    ["InfoNCE of held-out nodes", "4.5000 nats"],
    ["degree by a linear probe of the encoder", "50.0%"],
    ["core number by a linear probe of an untrained encoder", "25.0%"],
  ]
  assert printed({"probe_core_majority": 0.5, "matched": 0.25, "new_figure": 3.0}) == [
    ["core number, the most frequent one always", "50.0%"],
    ["held-out nodes told from the others of a batch", "25.0%"],
    ["new_figure", "3"],
  ]
