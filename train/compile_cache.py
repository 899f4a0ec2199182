"""JAX's compile cache, on, and swept of what a killed run left torn.

JAX writes an entry in place: a process killed meanwhile leaves half of one, which every later run
would try, warn of, and never replace. So entries newer than the last sweep are decompressed once,
and those that don't are removed. (One that another process is writing just now may go too; that
costs that entry, nothing else.)
"""

import os
import pathlib
import warnings
import zlib

import jax

_ZSTD = b"\x28\xb5\x2f\xfd"  # where JAX finds that library; its entries are left alone


def enable() -> None:
  """Turns the cache on, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/vqlab/jax.

  An empty $JAX_COMPILATION_CACHE_DIR turns it off.
  """
  chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if chosen == "":
    return
  folder = pathlib.Path(chosen or "~/.cache/vqlab/jax").expanduser()
  if "://" not in str(chosen):
    try:
      folder.mkdir(parents=True, exist_ok=True)
      sweep(folder)
    except OSError as error:
      warnings.warn(f"no compile cache in {folder}: {error.strerror}", stacklevel=2)
      jax.config.update("jax_compilation_cache_dir", None)
      return
    chosen = str(folder)
  jax.config.update("jax_compilation_cache_dir", chosen)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def sweep(folder: pathlib.Path) -> list[pathlib.Path]:
  """Removes torn entries that are newer than the last sweep; returns them."""
  mark, torn = folder / ".swept", []
  since = mark.stat().st_mtime_ns if mark.exists() else 0
  entries = sorted(folder.glob("*-cache"))
  mark.touch()  # before reading: what is written from now on is the next sweep's
  for entry in entries:
    try:
      # Half a second of overlap: file systems keep coarser times than this clock.
      if entry.stat().st_mtime_ns > since - 500_000_000 and not is_whole(entry.read_bytes()):
        entry.unlink()
        torn.append(entry)
    except FileNotFoundError:  # another process sweeps, too
      continue
  return torn


def is_whole(entry: bytes) -> bool:
  """Whether an entry can be decompressed."""
  try:
    return entry.startswith(_ZSTD) or bool(zlib.decompress(entry))
  except zlib.error:
    return False
