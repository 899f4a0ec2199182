"""The README's example runs, and learns something."""

import pathlib
import re

import jax

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_example_runs_and_learns():
  text = (ROOT / "README.md").read_text()
  (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
  assert len([line for line in example.splitlines() if line.strip()]) <= 32
  names: dict = {}
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    exec(compile(example, "README.md", "exec"), names)
  assert names["errors"][-1] < 0.5 * names["errors"][0]
  assert 1 < names["perplexity"] <= 64


def test_every_linked_file_is_there():
  for name in ("README.md", "CONTRIBUTING.md"):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
      assert (ROOT / target).exists(), f"{name} links to {target}"
