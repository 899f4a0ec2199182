"""Sampling through levels: each given those above, the same by any way, and what may be given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import generation, priors

pytestmark = pytest.mark.usefixtures("x64")
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
KEY = 11


def draw(levels, **options):
  options = {"labels": LABELS, **options}
  return generation.sample_codes(jax.random.key(KEY), levels, len(LABELS), **options)


def decode(codes):
  """Images whose pixels say which codes they come from."""
  return jnp.stack([c.repeat(8 // len(c[0]), 1).repeat(8 // len(c[0]), 2) for c in codes], -1)


def test_every_level_is_drawn_from_its_prior_given_those_above(levels):
  """Against a draw written out: argmax of logits + the noise of (level, sample, position)."""
  top, bottom = draw(levels)
  assert top.shape == (6, 2, 2) and bottom.shape == (6, 4, 4)
  for l, codes in enumerate((top, bottom)):
    upper = (top,)[:l]
    logits = levels[l].model.apply(
      {"params": levels[l].params}, codes, priors.Conditions(jnp.asarray(LABELS), upper)
    )
    key = jax.random.fold_in(jax.random.key(KEY), l)
    for i in range(6):
      for p, (row, column) in enumerate(np.ndindex(codes.shape[1:])):
        at = jax.random.fold_in(jax.random.fold_in(key, i), p)
        noise = jax.random.gumbel(at, logits.shape[-1:], logits.dtype)
        assert int(jnp.argmax(logits[i, row, column] + noise)) == int(codes[i, row, column])


def test_cached_and_naive_agree(levels):
  for a, b in zip(draw(levels), draw(levels, method="naive"), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_lower_levels_given_the_upper_ones_are_those_of_the_whole(levels):
  whole = draw(levels)
  part = generation.upsample(jax.random.key(KEY), decode, levels, whole[:1], labels=LABELS)
  np.testing.assert_array_equal(part.codes[1], whole[1])
  other = generation.upsample(
    jax.random.key(KEY), decode, levels, ((whole[0] + 1) % 5,), labels=LABELS
  )
  assert not np.array_equal(other.codes[1], whole[1])


def test_images_come_from_the_codes_in_one_call(levels):
  sample = generation.sample_images(jax.random.key(KEY), decode, levels, 6, labels=LABELS)
  np.testing.assert_array_equal(sample.images, decode(draw(levels)))


def test_batches_are_parts_of_one_draw(levels):
  whole = draw(levels)
  rest = generation.sample_codes(jax.random.key(KEY), levels, 4, labels=LABELS[2:], first_index=2)
  for a, b in zip(rest, whole, strict=True):
    np.testing.assert_array_equal(a, b[2:])


def test_options_one_a_level(levels):
  cold = draw(levels, temperature=(0.0, 1.0))
  np.testing.assert_array_equal(cold[0], draw(levels, temperature=0.0)[0])
  again = draw(levels, upper=cold[:1])
  np.testing.assert_array_equal(cold[1], again[1])  # the bottom was drawn at temperature 1


def test_inpainting_copies_what_is_known_and_draws_the_rest(levels):
  codes = tuple(jnp.full((6, *level.shape), 2, jnp.int32) for level in levels)
  known = np.ones((8, 8), bool)
  known[4:, 4:] = False  # the last of the top's cells, the last four of the bottom's
  sample = generation.inpaint(
    jax.random.key(KEY), decode, levels, codes, jnp.asarray(known), labels=LABELS
  )
  top, bottom = map(np.asarray, sample.codes)
  assert (top.reshape(6, 4)[:, :3] == 2).all() and (bottom[:, :2] == 2).all()
  assert (bottom[:, 2:, :2] == 2).all() and (bottom[:, 2:, 2:] != 2).any()
  assert (top[:, 1, 1] != 2).any()
  # What is drawn does not depend on the codes that are hidden.
  hidden = (codes[0].at[:, 1, 1].set(0), codes[1].at[:, 2:, 2:].set(0))
  again = generation.inpaint(
    jax.random.key(KEY), decode, levels, hidden, jnp.asarray(known), labels=LABELS
  )
  np.testing.assert_array_equal(again.codes[1], bottom)


def test_known_codes():
  known = jnp.ones((1, 8, 8), bool).at[0, 3, 4].set(False)
  cells = generation.known_codes(known, (4, 4))
  assert np.argwhere(~np.asarray(cells)).tolist() == [[0, 1, 2]]
  wider = np.asarray(generation.known_codes(known, (4, 4), margin=1))
  assert not wider[0, 0:3, 1:4].any() and wider.sum() == 16 - 9
  assert bool(generation.known_codes(jnp.ones((1, 8, 8), bool), (4, 4), margin=2).all())


def test_an_unconditional_single_level():
  model = priors.PixelCNN(num_codes=3, channels=4, num_layers=1, kernel_size=3, hidden=4)
  params = model.init(jax.random.key(0), jnp.zeros((1, 2, 2), jnp.int32))["params"]
  level = generation.Level(model, params, (2, 2))
  (codes,) = generation.sample_codes(jax.random.key(1), (level,), 5)
  again = priors.sample(jax.random.key(1), model, params, (5, 2, 2))
  np.testing.assert_array_equal(codes, again)


def test_bad_input(levels):
  top, bottom = draw(levels)
  for call, message in (
    (lambda: draw(levels, upper=(top, bottom, top)), "codes of 3 upper levels; there are 2"),
    (lambda: draw(levels, upper=(bottom,)), r"codes of level 0 are int32\[6, 4, 4\]; expected int"),
    (lambda: draw(levels, upper=(top.astype(float),)), "codes of level 0 are float64"),
    (lambda: draw(levels, upper=(top + 9,)), "must be in"),
    (lambda: draw(levels, given=(None,)), "given has 1 entries; there are 2 levels"),
    (lambda: draw(levels, temperature=(1.0,)), "temperature has 1 values; there are 2 levels"),
    (
      lambda: generation.upsample(jax.random.key(0), decode, levels, (top, bottom)),
      "codes of 2 levels; of 2",
    ),
    (lambda: generation.known_codes(jnp.ones((1, 8, 8)), (4, 4)), r"float\d+\[1, 8, 8\]"),
    (lambda: generation.known_codes(jnp.ones((1, 9, 8), bool), (4, 4)), "4x4 does not divide"),
  ):
    with pytest.raises(ValueError, match=message):
      call()
