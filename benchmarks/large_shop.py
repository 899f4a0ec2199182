"""A shop of ten million interactions: seconds and memory of what a run does with one.

    python -m benchmarks.large_shop [--users 1000000] [--items 100000] [--interactions 10000000]
        [--batch_size 32768] [--ranked 10000] [--chunk 32]

The shop is made up: how much a user takes and how often an item is taken fall off as powers of
their ranks, -0.6 and -0.8; pairs are drawn until there are enough that differ. Of each user with
three items or more the last is for test and the one before for eval. A line for each part: its
seconds, the memory that the process has after it, and the most it has had so far. There is no peer.

Parts: making the shop; writing and reading it as prepared data; its cores of 5 and of 10; the graph
of its training rows; `FactorStage`, BPR with vectors of 64 numbers and Adam on one device under
jit: the task, its context on the device, its vectors, compiling a step, and an epoch of steps with
the reading of their batches; the best 20 of all items for some users, without those they were
trained on, compiling apart.
"""

import argparse
import contextlib
import pathlib
import resource
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np

from train import parallel
from train.config import Experiment, Parallel
from train.data import train_batches
from train.optimizer import Adam
from train.ratings import splitting
from train.ratings.factors import FactorStage
from train.ratings.shop import Shop, Shops
from train.task import Run, Task
from vqlab import graph

OF_USERS, OF_ITEMS, TOP = 0.6, 0.8, 20


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
  start = time.perf_counter()
  yield
  seconds = time.perf_counter() - start
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  now = pages * resource.getpagesize() / 2**30
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # from KiB
  print(f"{what}: {seconds:.2f} s; {now:.2f} GiB, {peak:.2f} at most", flush=True)


def ranks(rng: np.random.Generator, size: int, power: float, count: int) -> np.ndarray:
  """i64[count] in [0, size), as likely as (rank + 1)^-power, nearly."""
  last = (size + 1) ** (1 - power) - 1
  drawn = (1 + last * rng.random(count)) ** (1 / (1 - power)) - 1
  return np.minimum(drawn.astype(np.int64), size - 1)


def made(num_users: int, num_items: int, count: int) -> Shop:
  rng = np.random.default_rng(0)
  users, items = rng.permutation(num_users), rng.permutation(num_items)  # by rank
  pairs = np.zeros(0, np.int64)
  while len(pairs) < count:
    more = count - len(pairs) + count // 10
    user = users[ranks(rng, num_users, OF_USERS, more)]
    item = items[ranks(rng, num_items, OF_ITEMS, more)]
    pairs = np.sort(np.concatenate([pairs, user * num_items + item]))
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
  pairs = rng.permutation(pairs)[:count]
  pairs = pairs[np.argsort(pairs // num_items, kind="stable")]  # a user's in any order
  user, item = (x.astype(np.int32) for x in np.divmod(pairs, num_items))
  names = lambda size: np.arange(size).astype(f"<U{len(str(size))}")
  split = splitting.by_time(user, "leave_last_two_out", ())
  return Shop("made up", names(num_users), names(num_items), user, item, split, {"rows": count})


def trained(task: Task, program: parallel.Program, batch_size: int) -> tuple:
  """(what is learned, the context on the device) after an epoch."""
  key, train = jax.random.key(0), task.examples()["train"]
  with told("the context, on the device"):
    context = jax.block_until_ready(program.put(task.context))
  with told("vectors and Adam's moments, and compiling that"):
    state = jax.block_until_ready(program.init(key, context, program.put(task.start())))
  with told("compiling a step"):
    (batch,) = train_batches(train, 0, 0, 1, batch_size)
    inputs = state, context, program.put_batch(batch), key
    step = program.step.lower(*inputs).compile()
    del inputs
  steps = -(-len(train) // batch_size)
  with told(f"an epoch of {steps:,} steps of {batch_size:,}"):
    for batch in train_batches(train, 0, 0, steps, batch_size):
      state, figures = step(state, context, program.put_batch(batch), key)
    jax.block_until_ready(state)
  print(f"  the last step's loss {figures['loss']:.4f}, ranked right {figures['ranked']:.4f}")
  return jax.block_until_ready(program.learned(state, context)), context


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--users", type=int, default=1_000_000)
  parser.add_argument("--items", type=int, default=100_000)
  parser.add_argument("--interactions", type=int, default=10_000_000)
  parser.add_argument("--batch_size", type=int, default=32_768)
  parser.add_argument("--ranked", type=int, default=10_000)
  parser.add_argument("--chunk", type=int, default=32)
  args = parser.parse_args()

  with told("the device, all being imported"):
    mesh = parallel.make_mesh(Parallel(devices=1))
  with told(f"making {args.users:,} users, {args.items:,} items, {args.interactions:,} rows"):
    shop = made(args.users, args.items, args.interactions)
  most = [np.bincount(x).max() for x in (shop.user, shop.item)]
  print(f"  the user who took most took {most[0]:,} items, the item taken most {most[1]:,} times")
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "shop.npz"
    with told("writing it"):
      shop.write(path)
    with told("reading it"):
      shop = Shop.read(path, shop.name)
  for core in (5, 10):
    with told(f"its {core}-core"):
      kept = graph.k_core(shop.user, shop.item, user_core=core, item_core=core)
    print(f"  {np.sum(kept):,} rows of {len(np.unique(shop.user[kept])):,} users")
  with told("the graph of its training rows"):
    seen = shop.graph

  stage = FactorStage(batch_size=args.batch_size, optimizer=Adam(learning_rate=1e-3))
  experiment, shops = Experiment(data=None, stages={"factors": stage}), Shops(shop, shop)
  with told("the task, with the graph of all rows"):
    task = stage.make(Run(experiment, {}, {}, lambda: shops))
    program = parallel.compile_task(task, mesh, "jit")
  vectors, context = trained(task, program, args.batch_size)

  who = np.flatnonzero(np.diff(seen.indptr[: shop.num_users + 1]))
  who = np.random.default_rng(1).choice(who, min(args.ranked, len(who)), replace=False)
  how = {"num_users": shop.num_users, "k": TOP, "chunk": args.chunk}
  with told("compiling the ranking"):
    inputs = program.put(who.astype(np.int32)), *vectors, context.known.train
    best = jax.jit(lambda *inputs: graph.rank_by_vectors(*inputs, **how)).lower(*inputs).compile()
  with told(f"the best {TOP} of all items for {len(who):,} users"):
    jax.block_until_ready(best(*inputs))


if __name__ == "__main__":
  main()
