"""Clips by warps: the fused maps and colours equal the steps they stand for, and the mask moves with its picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as torchvision

from vos_zoo.config.settings.static import StaticSettings
from vos_zoo.data.clips import warps
from vos_zoo.data.clips.warps import (
    FILL,
    WarpTransform,
    about_centre,
    cover,
    recolour,
    resample,
    shift_hue,
    shrink,
    thin_plate_basis,
    thin_plate_map,
    thin_plate_weights,
)
from vos_zoo.types import UsageError

STILL: dict[str, Any] = {
    "motion": "warps",
    "common_scale": (1, 1),
    "common_colour": (0, 0, 0, 0),
    "rotation": 0,
    "scale": (1, 1),
    "shear": 0,
    "colour": (0, 0, 0),
    "thin_plate": 0,
}


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without sharp edges, colours 60..190."""
    coarse = np.random.default_rng(seed).uniform(60, 190, (5, 7, 3))
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 60, 190).astype(np.uint8)


def disc(height: int, width: int) -> np.ndarray:
    """A soft mask, uint8."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2) - min(height, width) / 4
    return (255 / (1 + np.exp(np.clip(distance / 2, -30, 30)))).astype(np.uint8)


def layers(height: int, width: int) -> np.ndarray:
    return np.dstack([smooth(height, width), disc(height, width)])


def test_without_motion_a_picture_of_the_canvas_size_stays_as_it_is() -> None:
    picture, mask = smooth(40, 56), disc(40, 56)
    warp = WarpTransform((40, 56), StaticSettings(**STILL, soft_masks=True), flip=0, grayscale=0)
    frames, masks, boxes = warp(picture, mask[None], 3, np.random.default_rng(0))
    for frame, soft, box in zip(frames, masks, boxes, strict=True):
        np.testing.assert_array_equal(frame, picture.transpose(2, 0, 1))
        np.testing.assert_allclose(soft[0], mask / 255, atol=1e-6)
        rows, columns = np.nonzero(mask > 127)
        assert box[0].tolist() == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    mirrored, _, _ = WarpTransform((40, 56), StaticSettings(**STILL), flip=1, grayscale=1)(
        picture, mask[None], 1, np.random.default_rng(0)
    )
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, ::-1]
    np.testing.assert_allclose(mirrored[0], np.stack([gray] * 3), atol=1)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(12, 90), st.integers(12, 90)),
    st.tuples(st.integers(8, 64), st.integers(8, 64)),
    st.integers(0, 2**32),
)
def test_the_mask_moves_with_its_picture_whatever_is_drawn(
    source: tuple[int, int], canvas: tuple[int, int], seed: int
) -> None:
    mask = disc(*source)
    picture = np.zeros((*source, 3), np.uint8)
    picture[..., 0] = mask  # red shows the mask
    colourless = {**STILL, **{key: getattr(StaticSettings(), key) for key in ("common_scale", "rotation", "scale")}}
    chosen = StaticSettings(**{**colourless, "shear": 10, "thin_plate": 0.5, "soft_masks": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warps, "FILL", (0.0, 0.0, 0.0, 0.0))
        frames, masks, boxes = WarpTransform(canvas, chosen, grayscale=0)(
            picture, mask[None], 3, np.random.default_rng(seed)
        )
    assert frames.shape == (3, 3, *canvas)
    assert masks.shape == (3, 1, *canvas)
    assert boxes.shape == (3, 1, 4)
    assert frames.dtype == masks.dtype == boxes.dtype == np.float32
    assert 0 <= masks.min() <= masks.max() <= 1
    np.testing.assert_allclose(frames[:, 0], 255 * masks[:, 0], atol=1e-3)
    assert not frames[:, 1:].any()
    for box, soft in zip(boxes, masks, strict=True):
        assert (box[0, 2:] > 0).all() == (soft > 0.5).any()


def test_masks_are_halved_after_the_warps_unless_they_are_to_stay_soft() -> None:
    picture, mask = smooth(60, 80), disc(60, 80)
    hard = WarpTransform((48, 48))(picture, mask[None], 4, np.random.default_rng(3))
    chosen = StaticSettings(motion="warps", soft_masks=True)
    soft = WarpTransform((48, 48), chosen)(picture, mask[None], 4, np.random.default_rng(3))
    np.testing.assert_array_equal(hard[0], soft[0])
    np.testing.assert_array_equal(hard[1], (soft[1] > 0.5).astype(np.float32))
    np.testing.assert_array_equal(hard[2], soft[2])
    assert ((soft[1] > 0) & (soft[1] < 1)).any()


def test_the_same_numbers_give_the_same_clip_and_its_frames_differ() -> None:
    picture, mask = smooth(60, 80), disc(60, 80)
    one, two, other = (WarpTransform((48, 64))(picture, mask[None], 3, np.random.default_rng(s)) for s in (5, 5, 6))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    assert abs(one[0] - other[0]).mean() > 1
    assert abs(one[0][0] - one[0][1]).mean() > 1


def step_by_step(source: np.ndarray, turn: np.ndarray, canvas: tuple[int, int], corner: tuple[int, int]) -> np.ndarray:
    """The published order of a frame: turn on the picture's own canvas, resize to cover, crop."""
    height, width = source.shape[:2]
    turned = resample(source, np.linalg.inv(about_centre((height, width), turn)), (height, width), cv2.INTER_CUBIC)
    tall, wide = cover((height, width), canvas)
    resized = cv2.resize(turned, (wide, tall), interpolation=cv2.INTER_CUBIC)
    return resized[corner[0] : corner[0] + canvas[0], corner[1] : corner[1] + canvas[1]]


def test_one_fused_map_equals_turning_resizing_and_cropping() -> None:
    source, canvas = layers(80, 120), (96, 96)
    chosen = StaticSettings(**{**STILL, "rotation": 20, "scale": (0.9, 1.1), "shear": 10})
    for seed in range(5):
        frame = WarpTransform(canvas, chosen)._frame(source, [], np.random.default_rng(seed))[0]
        random = np.random.default_rng(seed)
        angle, shear = np.radians(random.uniform(-20, 20)), np.radians(random.uniform(-10, 10))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn = random.uniform(0.9, 1.1) * turn @ np.array([[1, -np.tan(shear)], [0, 1]])
        tall, wide = cover((80, 120), canvas)
        corner = random.integers(0, tall - 96 + 1), random.integers(0, wide - 96 + 1)
        expected = step_by_step(source, turn, canvas, corner)
        difference = abs(frame.astype(int) - expected)
        filled = (abs(expected.astype(int) - np.array(FILL)) <= 40).all(axis=2) & (expected[..., 3] == 0)
        near = cv2.dilate(filled.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # borders are blended differently
        assert difference[~near].max() <= 6
        assert difference[~near].mean() < 0.7
        assert (~near).mean() > 0.3


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 20), st.integers(0, 2**32))
def test_the_spline_shifts_every_control_point_by_its_shift(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    points, shifts = random.random((count, 2)), random.normal(0, 0.02, (count, 2))
    weights = thin_plate_weights(points, shifts)
    np.testing.assert_allclose(thin_plate_basis(points, points) @ weights, shifts, atol=1e-7)
    np.testing.assert_allclose(weights[:count].sum(axis=0), 0, atol=1e-6)


def test_shifts_that_are_an_affine_map_bend_nothing() -> None:
    points = np.random.default_rng(1).random((12, 2))
    shifts = 0.1 * points @ np.array([[0.2, -0.5], [0.3, 0.1]]) + [0.02, -0.01]
    np.testing.assert_allclose(thin_plate_weights(points, shifts)[:12], 0, atol=1e-9)
    across, down = thin_plate_map(points, shifts, np.eye(3), (50, 70))
    x, y = (np.arange(70) + 0.5) / 70, (np.arange(50) + 0.5) / 50
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    moved = grid + 0.1 * grid @ np.array([[0.2, -0.5], [0.3, 0.1]]) + [0.02, -0.01]
    np.testing.assert_allclose(across, moved[..., 0] * 70 - 0.5, atol=1e-3)
    np.testing.assert_allclose(down, moved[..., 1] * 50 - 0.5, atol=1e-3)


def test_the_spline_on_a_grid_is_that_of_every_pixel_to_a_fraction_of_a_pixel() -> None:
    random, worst = np.random.default_rng(0), []
    back = about_centre((384, 384), np.array([[0.9, 0.2], [-0.2, 1.0]]))
    y, x = np.mgrid[:384, :384].reshape(2, -1)
    places = np.stack([x, y], axis=1) + 0.5
    for _ in range(6):
        points, shifts = random.random((12, 2)), random.normal(0, 0.02, (12, 2))
        bent = places + 384 * (thin_plate_basis(places / 384, points) @ thin_plate_weights(points, shifts))
        exact = bent @ back[:2, :2].T + back[:2, 2] - 0.5
        across, down = thin_plate_map(points, shifts, back, (384, 384))
        worst.append(np.hypot(across.ravel() - exact[:, 0], down.ravel() - exact[:, 1]))
    assert np.mean(worst) < 0.02
    assert np.quantile(worst, 0.999) < 0.5


@pytest.mark.parametrize("factors", [(1.1, 1, 1), (1, 0.95, 1), (1, 1, 1.05), (0.9, 1.05, 0.95), (1, 1, 0)])
def test_one_matrix_changes_colours_as_torchvision_does_step_by_step(factors: tuple[float, float, float]) -> None:
    source = layers(40, 60)
    picture = Image.fromarray(source[..., :3])
    picture = torchvision.adjust_brightness(picture, factors[0])
    picture = torchvision.adjust_contrast(picture, factors[1])
    picture = torchvision.adjust_saturation(picture, factors[2])
    changed = recolour(source, np.array(factors))
    np.testing.assert_allclose(changed[..., :3].astype(int), np.array(picture, dtype=int), atol=3)
    np.testing.assert_array_equal(changed[..., 3], source[..., 3])


def test_the_hue_turns_as_in_torchvision_and_the_mask_stays() -> None:
    source = layers(40, 60)
    for turns in (-0.05, 0.03, 0.05):
        turned = shift_hue(source, turns)
        expected = np.array(torchvision.adjust_hue(Image.fromarray(source[..., :3]), turns), dtype=int)
        assert abs(turned[..., :3] - expected).mean() < 1.5
        assert abs(turned[..., :3] - expected).max() <= 12  # both count hues in 256 steps
        np.testing.assert_array_equal(turned[..., 3], source[..., 3])
    np.testing.assert_array_equal(shift_hue(source, 0.0), source)


def test_large_pictures_are_shrunk_by_area_just_to_cover_the_canvas() -> None:
    checks = np.zeros((400, 600, 4), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 200
    small = shrink(checks, (100, 100))
    assert small.shape == (100, 150, 4)
    assert abs(small.astype(int) - 100).max() <= 1
    assert shrink(checks, (400, 100)) is checks


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.tuples(st.integers(1, 900), st.integers(1, 900)))
def test_a_resized_picture_covers_the_canvas_and_no_more(source: tuple[int, int], target: tuple[int, int]) -> None:
    tall, wide = cover(source, target)
    assert tall >= target[0]
    assert wide >= target[1]
    assert tall == target[0] or wide == target[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": "zoom"}, r"'data\.static\.motion' is 'zoom', expected one of: crops, warps"),
        ({"soft_masks": True}, r"data\.static\.soft_masks: .*motion=warps"),
        ({"common_scale": [1.5, 0.8]}, r"'data\.static\.common_scale' is .*, expected the smaller first"),
        ({"scale": [0, 1]}, r"'data\.static\.scale' is \[0.0, 1.0\], expected above 0"),
        ({"colour": [0.1]}, r"'data\.static\.colour' is \[0\.1\], expected 3 values"),
        ({"thin_plate": 1.5}, r"'data\.static\.thin_plate' is 1\.5, expected at most 1"),
        ({"thin_plate_points": 2}, "'data.static.thin_plate_points' is 2, expected at least 3"),
        ({"shear": 90}, "'data.static.shear' is 90, expected below 90"),
        ({"rotation": -1}, "'data.static.rotation' is -1, expected at least 0"),
    ],
)
def test_settings_that_make_no_clip_are_refused_by_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StaticSettings(**changes)
