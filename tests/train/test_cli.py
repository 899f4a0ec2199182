"""How the command line reads: help that fits a screen, and that comes at once."""

import subprocess
import sys

import pytest

from tests.train.conftest import ROOT, TINY
from train import verbs

VERBS = (
  *("fit", "evaluate", "sample", "reconstruct", "convert", "upsample", "inpaint", "swap", "score"),
  *("import", "models"),
)


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_help_reads_well(here, verb):
  status, out, err = here(*verb, "--help")
  assert status == 0 and not err
  assert out.startswith(f"usage: python -m train {verb[0] if verb else 'VERB'}")
  assert max(map(len, out.splitlines())) <= 100


def test_every_verb_is_in_the_help(here):
  _, out, _ = here("--help")
  for verb in verbs.VERBS:
    assert f"\n  {verb} " in out, verb


def test_fit_help_lists_the_fields_with_their_meaning(here):
  status, out, _ = here("fit", TINY, "--help")
  assert status == 0 and "--tokenizer.codebook.num_codes INT" in out and "(default: 16)" in out


def test_what_only_reads_arguments_imports_nothing_slow():
  """So that help, and the line on a folder that is no run's, are there at once."""
  program = f"""
import sys
from train.__main__ import main
for args in (["evaluate", "nosuch"], *([verb, "--help"] for verb in {VERBS})):
  try:
    main(args)
  except SystemExit:
    pass
slow = {{"jax", "numpy", "flax", "orbax", "grain", "scipy", "tensorflow_datasets"}}
print(sorted(slow & sys.modules.keys()))
"""
  done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
  assert done.stdout.splitlines()[-1:] == ["[]"]
  assert done.stderr == "error: nosuch holds no experiment: nosuch/config.json is missing\n"
