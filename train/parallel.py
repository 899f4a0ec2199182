"""Devices and processes: one pure step, compiled by jit over a mesh or by pmap.

Under jit arrays are global, so sums and statistics are global by construction. Under pmap the same
step sums over its axis by name. Either way the state is replicated and the batch split along its
first axis. In a run of several processes each holds its share of the global batch.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.config import Parallel, TrainingStage
from train.errors import BadInput
from train.learn import State
from train.task import Batch, Settle, Task, batch_spec

AXIS = "data"


def join(config: Parallel) -> None:
  """Joins the other processes, if the config says that there are any."""
  if not config.distributed:
    if config.coordinator or config.num_processes or config.process_id >= 0:
      raise BadInput("parallel.distributed is False; set it to True to join other processes")
    return
  print("joining the other processes (start the same command on every worker) ...", flush=True)
  try:
    jax.distributed.initialize(
      coordinator_address=config.coordinator or None,
      num_processes=config.num_processes or None,
      process_id=None if config.process_id < 0 else config.process_id,
    )
  except (ValueError, RuntimeError) as error:
    raise BadInput(
      f"the processes did not come together ({str(error).strip().splitlines()[0]}); set "
      "parallel.coordinator, parallel.num_processes and parallel.process_id on every one"
    ) from None
  all_devices()
  print(f"process {jax.process_index()} of {jax.process_count()}", flush=True)


def all_devices() -> list[jax.Device]:
  """Those of all processes; raises BadInput where $JAX_PLATFORMS asks for what is not there."""
  # LAPACK's kernels wait for a thread of XLA's pool. Virtual devices, all of which may wait in such
  # a thread, need more of them than there are cores.
  virtual = int(jax.config.jax_num_cpu_devices)
  if virtual > 1:
    os.environ.setdefault("NPROC", str(virtual + (os.cpu_count() or 1)))
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:  # JAX asserts that a GPU is found
    reason = " ".join(str(error).split()) or "no such device; unset it to use what there is"
    raise BadInput(f"JAX_PLATFORMS is {jax.config.jax_platforms!r}: {reason}") from None


def make_mesh(config: Parallel) -> Mesh:
  """All the devices, or as many as the config asks for, along one axis."""
  devices = all_devices()
  if config.devices > len(devices):
    raise BadInput(f"parallel.devices is {config.devices}; there are {len(devices)} devices")
  if config.devices and jax.process_count() > 1:
    raise BadInput("parallel.devices can't be set with several processes; leave it at 0, for all")
  devices = devices[: config.devices or None]
  return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def check_batch(mesh: Mesh, stage: TrainingStage, name: str) -> None:
  """Raises BadInput unless every device gets an equal share of every part of a batch."""
  for field, size, parts in (
    ("batch_size", stage.batch_size, stage.accumulate),
    ("eval_batch_size", stage.eval_batch_size, 1),
  ):
    shares = mesh.size * parts
    if size % shares:
      of = f"{mesh.size} devices" + (f" of {parts} parts each" if parts > 1 else "")
      raise BadInput(
        f"{name}.{field} is {size}, which {of} do not divide; "
        f"the nearest that they do is {max(1, round(size / shares)) * shares}"
      )


def check_memory(mesh: Mesh, config: Parallel, task: Task, stage: TrainingStage, name: str) -> None:
  """Raises BadInput where the state and a batch alone are more than a device can hold."""
  device, here = mesh.local_devices[0], len(mesh.local_devices)
  bytes_of = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
  state = bytes_of(abstract_state(task))
  batch = bytes_of(batch_spec(task, max(stage.batch_size, stage.eval_batch_size))) // mesh.size
  if config.memory:
    most = config.memory * 2**30
  elif device.platform == "cpu":  # all of them have the machine's
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / here
  else:
    most = (device.memory_stats() or {}).get("bytes_limit", math.inf)
  if state + batch > most:
    field = "eval_batch_size" if stage.eval_batch_size > stage.batch_size else "batch_size"
    state, batch, most = (f"{size / 2**30:,.1f}" for size in (state, batch, most))
    raise BadInput(
      f"{name}: its state takes {state} GiB and a batch {batch} GiB of each device's {most}; lower "
      f"{name}.{field} or the model's sizes, or set parallel.memory to what a device has"
    )


def wait_for_all(what: str) -> None:
  """Until every process has come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


class Program(NamedTuple):
  """A task's functions, compiled, and how arguments get onto the devices."""

  init: Callable[..., State]  # (key, context) -> state, on the devices; see `Task.init`
  step: Callable[[State, Any, Batch, jax.Array], tuple[State, Any]]  # donates the state
  learned: Callable[[State, Any], Any]
  evaluate: Callable[[Any, Any, Batch], Any]
  settle: Settle | None  # its functions compiled; `put` donates the state
  put: Callable[[Any], Any]  # the same value on every device
  put_batch: Callable[[dict[str, np.ndarray]], Batch]  # this process' share of a global batch
  abstract_state: State  # shapes, dtypes and shardings


def compile_task(task: Task, mesh: Mesh, mode: str) -> Program:
  """Compiles a task's functions for a mesh; `mode` is "jit" or "pmap"."""
  replicated = NamedSharding(mesh, PartitionSpec())
  split = NamedSharding(mesh, PartitionSpec(AXIS))
  jit_step = functools.partial(
    jax.jit,
    in_shardings=(replicated, replicated, split, replicated),
    out_shardings=replicated,
    donate_argnums=0,
  )
  return Program(
    # Made inside jit, so that no two leaves share a buffer: the step gives the state's away.
    init=jax.jit(task.init, out_shardings=replicated),
    step=jit_step(task.step) if mode == "jit" else _pmap_step(task, mesh),
    learned=jax.jit(task.learned, out_shardings=replicated),
    evaluate=jax.jit(
      task.evaluate, in_shardings=(replicated, replicated, split), out_shardings=replicated
    ),
    settle=task.settle
    and Settle(
      task.settle.batches,
      jax.jit(
        task.settle.measure,
        in_shardings=(replicated, replicated, split, replicated),
        out_shardings=replicated,
      ),
      jax.jit(task.settle.put, out_shardings=replicated, donate_argnums=0),
    ),
    put=functools.partial(jax.tree.map, functools.partial(_put, sharding=replicated)),
    put_batch=functools.partial(_put_batch, sharding=split),
    abstract_state=abstract_state(task, replicated),
  )


def abstract_state(task: Task, sharding: jax.sharding.Sharding | None = None) -> State:
  """The shapes, dtypes and shardings of a task's state; computes nothing."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(task.init, key, task.context)
  shaped = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  return jax.tree.map(shaped, state)


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
  """A value that every process has, on every device of all of them."""
  if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    data = _put(jax.random.key_data(x), sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  return jax.device_put(np.asarray(x), sharding)


def _put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> Batch:
  """This process' rows of a global batch, on its devices."""
  with jax.transfer_guard("allow"):  # asked for, which JAX can't tell here
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def _pmap_step(task: Task, mesh: Mesh) -> Callable:
  """The same step by pmap, taking and giving the same arrays as the one by jit."""
  compiled = jax.pmap(
    functools.partial(task.step, axis_name=AXIS),
    axis_name=AXIS,
    in_axes=(None, None, 0, None),
    out_axes=None,
    devices=list(mesh.devices.flat),
  )
  replicated = NamedSharding(mesh, PartitionSpec())

  def step(state: State, context: Any, batch: Batch, key: jax.Array) -> tuple[State, Any]:
    with jax.transfer_guard("allow"):  # pmap takes its batch from the host
      out = compiled(state, context, jax.tree.map(_by_device, batch), key)
      return jax.tree.map(lambda x: _from_own_copies(x, replicated), out)

  return step


def _from_own_copies(x: jax.Array, replicated: NamedSharding) -> jax.Array:
  """A value that every process has computed, as one array on all devices; nothing is sent."""
  if jax.process_count() == 1:
    return jax.device_put(x, replicated)
  own = x.addressable_data(0)
  copies = [jax.device_put(own, device) for device in replicated.addressable_devices]
  return jax.make_array_from_single_device_arrays(own.shape, replicated, copies)


def _by_device(x: jax.Array) -> np.ndarray:
  """[B, ...] -> [local devices, B / devices, ...], this process' part."""
  shards = sorted(x.addressable_shards, key=lambda s: s.index[0].start or 0)
  return np.stack([np.asarray(s.data) for s in shards])
