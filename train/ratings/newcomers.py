"""A user whom a finished run does not know: his vector, of the items he took.

He joins the graph of who took what as one more node, beside these items. What his vector begins as,
and the loss and the penalty it is trained by, are the stage's own; the vectors of items stay.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.ratings.factors import FactorStage, Vectors, ranked, scored
from train.ratings.shop import Shop
from train.ratings.starts import Encoded, Untrained
from train.task import Finished, Run
from vqlab import graph
from vqlab.graph import Graph

STEPS, RATE = 300, 0.01  # of Adam: enough for vectors to go where training leaves them


def joined(shop: Shop, items: np.ndarray) -> Graph:
  """Who took what in training, and one user more, of number U, who took items i32[n]."""
  user, item = shop.rows("train")
  user = np.concatenate([user, np.full(len(items), shop.num_users)])
  item = np.concatenate([item, items])
  return graph.from_interactions(user, item, shop.num_users + 1, shop.num_items)


def vector(run: Run, done: Finished, items: np.ndarray, seen: Graph) -> jax.Array:
  """f[D], whose products with the learned vectors of items are his scores; always the same.

  With layers, his vector is what his items' final vectors give, each over the root of both degrees,
  and 1 / (layers + 1) of one of his own: this one begins and is trained. That is LightGCN's but for
  a layer too many, and where scores are cosines for the lengths of items' vectors, which are lost.

  Args:
    done: a finished `FactorStage` of the run.
    items: i32[n], what he took; less than all there are.
    seen: `joined` of these items.
  """
  stage, learned = done.stage, Vectors(*map(jnp.asarray, done.learned))
  user, share, given = len(learned.user), 1.0, jnp.zeros_like(learned.item[0])
  if stage.layers:
    degrees = np.diff(seen.indptr).astype(given.dtype)
    share = 1 / (stage.layers + 1)
    given = 1 / np.sqrt(degrees[user] * degrees[user + 1 + items]) @ learned.item[items]
  by = None
  if stage.negatives_by == "popularity":
    by = graph.popularity(seen, num_users=user + 1, power=stage.popularity_power)
  users = jnp.full(len(items), user, jnp.int32)

  def loss(own: jax.Array, keys: jax.Array) -> jax.Array:
    drawn = graph.negatives(keys, seen, users, num_users=user + 1, count=stage.negatives, by=by)
    rows = jnp.broadcast_to(given + share * own, (len(items), stage.dim))
    each, _ = ranked(stage, rows, learned.item[items], learned.item[drawn])
    each = jnp.where(drawn[:, 0] >= 0, each, 0)  # not where he took all that could be drawn
    return jnp.mean(each) + stage.penalty / 2 * jnp.sum(jnp.square(own))

  keys = jax.random.split(jax.random.key(0), (STEPS, len(items)))
  own = _trained(loss, _start(run, stage, seen, user), keys)
  return scored(stage, Vectors(given + share * own, learned.item)).user


def _start(run: Run, stage: FactorStage, seen: Graph, user: int) -> jax.Array:
  """f[D]: what the encoder that items began by sees in his node; else normal numbers."""
  start, dtype = stage.start, jnp.dtype(stage.param_dtype)
  index = [other is stage for other in run.config.stages.values()].index(True)
  key = jax.random.fold_in(jax.random.key(run.config.seed), index)  # an untrained encoder's, too
  if type(start) in (Encoded, Untrained):
    of = functools.partial(start.vectors, run, dim=stage.dim, dtype=dtype)
    nodes = jnp.asarray([user], jnp.int32)
    found = jax.jit(of)(key, seen, given=start.given(run, stage.dim), nodes=nodes)[0]
  else:
    found = jax.random.normal(key, (stage.dim,), dtype)
  return (start.scale * found).astype(dtype)


def _trained(loss, own: jax.Array, keys: jax.Array) -> jax.Array:
  """What a vector becomes by steps of Adam, each with keys of its own."""
  optimizer = optax.adam(RATE)

  def step(state, keys):
    own, moments = state
    changes, moments = optimizer.update(jax.grad(loss)(own, keys), moments)
    return (optax.apply_updates(own, changes), moments), None

  train = jax.jit(lambda own, keys: jax.lax.scan(step, (own, optimizer.init(own)), keys)[0][0])
  return train(own, keys)
