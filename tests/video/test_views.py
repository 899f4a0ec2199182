"""What networks see of clips: boxes, their pixels, and the mean of many views."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vqlab.video import views
from vqlab.video.views import Box

KEYS = jax.random.split(jax.random.key(0), 1000)


def numbers(box):
  """A box with a leading axis as rows (top, left, height, width)."""
  return np.stack(box[:4], axis=-1)


def a_box(top, left, height, width, *, flip=False):
  return Box(*(jnp.float32(x) for x in (top, left, height, width)), jnp.asarray(flip))


def on_canvas(clip, height, width):
  """Borders repeated up to a size."""
  more = [(0, 0), (0, height - clip.shape[1]), (0, width - clip.shape[2]), (0, 0)]
  return np.pad(clip, more, mode="edge")


@pytest.mark.parametrize("size", [(37, 53), (61, 47), (40, 40)])
@pytest.mark.parametrize("resized", [(32, 45), (71, 33), (97, 131), (37, 53)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_cut_is_torchs_resize_and_a_slice(size, resized, flip):
  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(0)
  (height, width), crop = size, (29, 31)
  clip = rng.integers(0, 256, (3, *size, 2), np.uint8)
  x = torch.from_numpy(clip).permute(0, 3, 1, 2).float()
  x = torch.nn.functional.interpolate(x, size=resized, mode="bilinear", align_corners=False)
  expected = x.permute(0, 2, 3, 1).numpy()
  cut = jax.jit(partial(views.cut, crop=crop))
  canvas = on_canvas(clip, 64, 64)
  down, right = height / resized[0], width / resized[1]
  for y, x in ((0, 0), (resized[0] - crop[0], resized[1] - crop[1]), (2, 1)):
    box = a_box(y * down, x * right, crop[0] * down, crop[1] * right, flip=flip)
    part = expected[:, y : y + crop[0], x : x + crop[1]]
    part = part[:, :, ::-1] if flip else part
    found = cut(canvas, box)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, part, rtol=0, atol=0.255)
    np.testing.assert_allclose(cut(clip, box), part, rtol=0, atol=0.255)


def test_a_cut_of_the_same_size_is_a_slice_and_a_flip_its_mirror():
  clip = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
  straight = views.cut(clip, a_box(3, 5, 12, 12), 12)
  mirrored = views.cut(clip, a_box(3, 5, 12, 12, flip=True), 12)
  np.testing.assert_array_equal(straight, clip[:, 3:15, 5:17])
  np.testing.assert_array_equal(mirrored, straight[:, :, ::-1])


def test_clips_of_many_sizes_are_cut_in_one_program():
  sizes = np.array([[40, 60], [64, 48], [33, 64]], np.int32)
  clips = np.stack([on_canvas(np.full((2, *size, 3), 200, np.uint8), 64, 64) for size in sizes])

  @jax.jit
  def see(keys, clips, sizes):
    boxes = jax.vmap(lambda key, size: views.random_box(key, size, 24, sides=(26, 32)))(keys, sizes)
    return boxes, jax.vmap(lambda clip, box: views.cut(clip, box, 24))(clips, boxes)

  boxes, found = see(KEYS[:3], clips, sizes)
  assert found.shape == (3, 2, 24, 24, 3)
  np.testing.assert_allclose(found, 200.0, rtol=1e-6)
  alone = [
    views.random_box(key, s, 24, sides=(26, 32)) for key, s in zip(KEYS, sizes, strict=False)
  ]
  np.testing.assert_allclose(numbers(boxes), np.concatenate([numbers(b)[None] for b in alone]))


def test_the_shorter_side_is_exact():
  rng = np.random.default_rng(0)
  sizes, sides = rng.integers(1, 4000, (1000, 2)), rng.integers(1, 500, 1000)
  found = jax.jit(jax.vmap(views.short_side))(sizes.astype(np.int32), sides.astype(np.int32))
  for (h, w), side, resized in zip(sizes.tolist(), sides.tolist(), found.tolist(), strict=True):
    assert resized == ([side, w * side // h] if h <= w else [h * side // w, side])
  assert views.short_side((240, 320), 256).tolist() == [256, 341]
  assert views.short_side((320, 240), 182).tolist() == [242, 182]


@pytest.mark.parametrize("size", [(256, 340), (480, 270), (123, 123)])
@pytest.mark.parametrize("inverse", [False, True])
def test_random_boxes_are_in_the_frame_and_reach_its_ends(size, inverse):
  draw = partial(views.random_box, size=size, crop=12, sides=(14, 18), inverse=inverse)
  boxes = jax.jit(jax.vmap(draw))(KEYS)
  top, left, height, width = numbers(boxes).T
  assert min(top.min(), left.min()) == 0
  np.testing.assert_allclose((top + height).max(), size[0], rtol=1e-6)
  np.testing.assert_allclose((left + width).max(), size[1], rtol=1e-6)
  np.testing.assert_allclose(np.mean(boxes.flip), 0.5, atol=0.06)
  # the shorter side is a whole number, and each has its share: halves at the ends
  side = 12 * min(size) / (height if size[0] <= size[1] else width)
  found = np.array([np.sum(np.abs(side - s) < 1e-3) for s in range(14, 19)])
  assert found.sum() == 1000
  edges = np.array([14, 14.5, 15.5, 16.5, 17.5, 18])
  edges = 1 / edges if inverse else edges
  expected = 1000 * np.diff(edges) / (edges[-1] - edges[0])
  assert np.sum((found - expected) ** 2 / expected) < 18.5  # chi squared, 4 degrees: 0.1%
  # every place of the shorter side 16
  at = np.rint((top if size[0] <= size[1] else left) * 16 / min(size))[np.abs(side - 16) < 1e-3]
  counts = np.bincount(at.astype(int), minlength=5)
  assert len(counts) == 5 and np.sum((counts - counts.mean()) ** 2 / counts.mean()) < 18.5


def test_inverse_sides_favour_the_small():
  draw = lambda inverse: jax.vmap(
    lambda key: views.random_box(key, (500, 600), 224, sides=(256, 512), inverse=inverse).height
  )(KEYS)
  sides = lambda inverse: 224 * 500 / np.asarray(draw(inverse))
  assert np.mean(sides(False)) == pytest.approx(384, abs=8)
  assert np.mean(sides(True)) == pytest.approx(512 * np.log(2), abs=8)


def test_a_fixed_resize_keeps_no_aspect():
  draw = partial(views.random_box, size=(240, 320), crop=112, resize=(128, 171), flip=0.0)
  boxes = jax.vmap(draw)(KEYS)
  top, left, height, width = numbers(boxes).T
  np.testing.assert_allclose(height, 112 * 240 / 128)
  np.testing.assert_allclose(width, 112 * 320 / 171, rtol=1e-6)
  assert set(np.rint(top * 128 / 240)) == set(range(17))
  assert set(np.rint(left * 171 / 320)) == set(range(60))
  assert not np.any(boxes.flip)


def places(size, crop, **options):
  """(y, x) in pixels of a frame that is as large as what it is resized to."""
  boxes = views.fixed_boxes(size, crop, resize=size, **options)
  np.testing.assert_array_equal(numbers(boxes)[:, 2:], crop)
  return numbers(boxes)[:, :2].tolist(), np.asarray(boxes.flip).tolist()


def test_places_of_evaluations_by_hand():
  corners = [[0, 0], [0, 116], [32, 0], [32, 116]]
  centre = [16, 58]
  assert places((256, 340), 224) == ([centre], [False])
  assert places((256, 340), 224, kind="three")[0] == [[16, 0], centre, [16, 116]]
  assert places((341, 256), 256, kind="three")[0] == [[0, 0], [43, 0], [85, 0]]
  assert places((256, 256), 224, kind="three")[0] == [[16, 0], [16, 16], [16, 32]]
  assert places((256, 340), 224, kind="five") == ([*corners, centre], [False] * 5)
  ten = places((256, 340), 224, kind="ten")
  assert ten == ([*corners, centre] * 2, [False] * 5 + [True] * 5)


def test_three_boxes_cover_the_longer_side_of_any_frame():
  boxes = jax.vmap(lambda size: views.fixed_boxes(size, 256, resize=256, kind="three"))(
    np.array([[240, 320], [320, 240]], np.int32)
  )
  # 341 x 256: starts 0, 43, 85, in pixels of 320
  starts = np.array([0, 43, 85]) * 320 / 341
  np.testing.assert_allclose(boxes.left[0], starts, rtol=1e-6)
  np.testing.assert_allclose(boxes.top[1], starts, rtol=1e-6)
  np.testing.assert_allclose([boxes.top[0], boxes.left[1]], np.zeros((2, 3)))
  np.testing.assert_allclose(boxes.height[0], 240.0)


def tsn_crops(resize, crop, scales, more, apart):
  """(top, left, height, width) of all that TSN's crop may be, one after another."""
  found = []
  for i in range(len(scales)):
    for j in range(len(scales)):
      if abs(i - j) > apart:
        continue
      h, w = int(min(resize) * scales[i]), int(min(resize) * scales[j])
      h = crop if abs(h - crop) < 3 else h
      w = crop if abs(w - crop) < 3 else w
      y, x = (resize[0] - h) // 4, (resize[1] - w) // 4
      found += [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
      if more:
        found += [(0, 2 * x), (4 * y, 2 * x), (2 * y, 0), (2 * y, 4 * x)]
        found += [(y, x), (y, 3 * x), (3 * y, x), (3 * y, 3 * x)]
      n = 13 if more else 5
      found[-n:] = [(*place, h, w) for place in found[-n:]]
  return found


@pytest.mark.parametrize("scales", [(1, 0.875, 0.75, 0.66), (1, 0.875, 0.75)])
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("apart", [0, 1, 3])
def test_corner_boxes_are_tsns(scales, more, apart):
  options = {"scales": scales, "more": more, "apart": apart}
  expected = tsn_crops((256, 340), 224, **options)
  table = views._corners(np.array([224, 224]), (256, 340), scales, more, apart)
  assert sorted(map(tuple, table.tolist())) == sorted(expected)
  draw = lambda key: views.corner_box(key, (256, 340), 224, **options)
  found = numbers(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 4000)))
  assert set(map(tuple, found.tolist())) == set(expected)


def test_corner_boxes_are_in_pixels_of_the_frame():
  draw = lambda key: views.corner_box(key, (512, 170), 224, scales=(1,))
  boxes = jax.vmap(draw)(KEYS)
  np.testing.assert_allclose(boxes.height, 512.0)
  np.testing.assert_allclose(boxes.width, 128.0)
  assert set(np.asarray(boxes.left).tolist()) == {0.0, 10.5, 21.0, 31.5, 42.0}
  np.testing.assert_allclose(np.mean(boxes.flip), 0.5, atol=0.06)


def test_values_are_normalized_by_channel():
  clip = np.array([[0, 51, 255]], np.uint8)
  found = views.normalize(clip, (0.45, 0.2, 0.5), (0.225, 0.1, 0.25))
  np.testing.assert_allclose(found, [[-2.0, 0.0, 2.0]], atol=1e-6)
  assert found.dtype == jnp.float32
  found = views.normalize(jnp.float32(clip), 0.45, 0.225)
  np.testing.assert_allclose(found[0, 2], 0.55 / 0.225, rtol=1e-6)


@pytest.mark.parametrize("average", ["softmax", "logits"])
@pytest.mark.parametrize("dense", [(), (2, 3, 1)])
def test_scores_are_the_mean_of_all_views(average, dense):
  logits = jax.random.normal(jax.random.key(0), (7, 4, *dense, 5))
  by_view = {"a": logits, "b": jnp.arange(7.0)}
  logits_of = lambda view: view["a"] * view["b"]
  found = jax.jit(lambda v: views.mean_scores(logits_of, v, average=average))(by_view)
  expected = np.zeros((4, 5))
  for i in range(7):
    scores = np.asarray(logits[i] * i, np.float64)
    if average == "softmax":
      scores = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected += scores.reshape(4, -1, 5).mean(1) / 7
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_scores_are_averaged_in_float32():
  logits = jax.random.normal(jax.random.key(0), (300, 2, 5)).astype(jnp.bfloat16)
  found = views.mean_scores(lambda x: x, logits, average="logits")
  np.testing.assert_allclose(found, np.mean(np.float64(logits), axis=0), rtol=1e-4, atol=1e-5)


def test_thirty_views_take_the_memory_of_two():
  kernel = jax.random.normal(jax.random.key(0), (3, 3, 3, 3, 16))

  def logits_of(clip):
    x = clip.astype(jnp.float32)
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    x = lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)
    return jnp.mean(jax.nn.relu(x), axis=(1, 2, 3))

  def temporary(count):
    clips = jax.ShapeDtypeStruct((count, 2, 4, 16, 16, 3), jnp.uint8)
    program = jax.jit(partial(views.mean_scores, logits_of)).lower(clips).compile()
    return program.memory_analysis().temp_size_in_bytes

  assert temporary(30) <= temporary(2)


@pytest.mark.parametrize(
  "call, line",
  [
    (lambda: views.random_box(KEYS[0], (9, 9), 224, sides=(200, 320)), "crop of 224 .* to 200"),
    (lambda: views.random_box(KEYS[0], (9, 9), 112, resize=(128, 100)), "larger than a frame"),
    (lambda: views.corner_box(KEYS[0], (9, 9), 224, scales=(1.5,)), "corner_box: a crop of"),
    (lambda: views.fixed_boxes((9, 9), 224, resize=256, kind="two"), "kind is 'two'"),
    (lambda: views.fixed_boxes((9, 9), 256, resize=224), "fixed_boxes: a crop of 256"),
    (lambda: views.cut(jnp.zeros((9, 9, 3)), a_box(0, 0, 9, 9), 4), r"\[T, H, W, C\]; found"),
    (lambda: views.mean_scores(lambda x: x, jnp.zeros((2, 1, 3)), average="max"), "'max'"),
  ],
)
def test_what_can_not_be_is_refused(call, line):
  with pytest.raises(ValueError, match=line):
    call()
