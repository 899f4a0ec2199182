"""A market of shops that are alike in nothing but structure, where it tells what will be bought.

Users and items are of six kinds, as many of each. A user's first purchases lie in the circle of his
own, so many users and as many items of his kind; kinds differ in how large circles are and in how
much is bought:

    kind       0    1    2    3    4    5
    circle     6   12   40   12   40   40   users, and as many items
    bought     4    4    4    9    9   20   of the circle's items

What he buys last, to be told of him (eval, test), is any item of his kind. Circles are too small to
tell from purchases which others are of the same kind: matrix factorisation learns circles. But
around a user, and around an item, it looks as it does in no other kind: an encoder that has learned
to tell such surroundings apart, in another shop, puts users beside the items of their kind.
"""

import numpy as np

from train.errors import BadInput
from train.ratings.shop import Shop
from train.ratings.sources import Market

KINDS = ((6, 4), (12, 4), (40, 4), (12, 9), (40, 9), (40, 20))


def made(source: Market) -> Shop:
  """The shop of a source; user u and item u are of kind u // size.

  Raises:
    BadInput: circles do not divide the size.
  """
  size, rng = source.size, np.random.default_rng(source.seed)
  if size % 120:
    raise BadInput(f"data.size is {size}; it must be a multiple of 120, which circles divide")
  count, rows = size * len(KINDS), []
  for kind, (circle, bought) in enumerate(KINDS):
    for user in range(kind * size, (kind + 1) * size):
      first = user - user % circle + rng.permutation(circle)[:bought]
      stray = rng.random(bought) < source.stray
      first = np.unique(np.where(stray, rng.integers(0, count, bought), first))
      others = np.setdiff1d(np.arange(kind * size, (kind + 1) * size), first)
      items = np.concatenate([first, rng.permutation(others)[:2]])
      split = np.concatenate([np.zeros_like(first), [1, 2]])
      rows.append(np.stack([np.full_like(items, user), items, split]))
  user, item, split = np.concatenate(rows, axis=1)
  ids = np.arange(count).astype(str)
  counts = {"rows": len(user)}
  return Shop(
    "market", ids, ids, user.astype(np.int32), item.astype(np.int32), split.astype(np.uint8), counts
  )
