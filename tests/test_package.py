"""What the package says of itself."""

import ast
import importlib.metadata
import pathlib
import re
import sys
import tomllib

import vqlab

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_it_has_a_version_and_types():
  assert vqlab.__version__ == importlib.metadata.version("vqlab")
  assert (ROOT / "vqlab" / "py.typed").is_file()


def test_it_declares_what_it_imports_and_nothing_else():
  imported = set()
  for file in (ROOT / "vqlab").rglob("*.py"):
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.Import):
        imported |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        imported.add(node.module.split(".")[0])
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  declared = {re.match(r"\w+", name)[0] for name in project["dependencies"]}
  assert imported - set(sys.stdlib_module_names) - {"vqlab"} == declared
