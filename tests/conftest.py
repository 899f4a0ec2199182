"""Every test runs on 8 virtual CPU devices, with strict dtype promotion and warnings as errors."""

import os
import pathlib

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# Threads of XLA's pool: see `train.parallel.all_devices`.
os.environ.setdefault("NPROC", "10")
# Tests run side by side: threads of a pool would spin for each other's cores, and most of the time
# of fitting a regression would go there.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs here run for milliseconds and compile for seconds: the least optimization of CPU code,
# the older emitter, which takes half the time to write it, one thread, as tests run side by side.
os.environ["XLA_FLAGS"] = " ".join(
  (
    os.environ.get("XLA_FLAGS", ""),
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
  )
).strip()

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_dtype_promotion", "strict")
# Compiling costs more than the arithmetic: what one run compiled, the next one reads.
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def programs_go_with_their_module():
  """A process may have 65,530 memory maps on Linux; thousands of compiled programs take more."""
  yield
  jax.clear_caches()


@pytest.fixture
def x64():
  """Runs the test in double precision."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """The folder of real data sets (`VQLAB_DATA`); skips the test where it is missing."""
  folder = pathlib.Path(os.environ.get("VQLAB_DATA", ROOT.parent / "shared" / "data"))
  if not folder.is_dir():
    pytest.skip(f"no real data: VQLAB_DATA ({folder}) is not a folder")
  return folder
