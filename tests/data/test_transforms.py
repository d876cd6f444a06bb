"""Crops and augmentations keep picture, mask and box together, whatever is rolled."""

from __future__ import annotations

import importlib.metadata
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.config.settings.clips import AugmentSettings, CropSettings, JitterSettings
from vos_zoo.data.clips.crops import (
    Window,
    affine_matrix,
    box_in_window,
    crop_window,
    cut,
    flip_box,
    jitter_box,
    resize_masks,
    tight_box,
    warp,
    warp_box,
)
from vos_zoo.data.clips.transforms import ClipTransform, albumentations, brighten, flip_clip, gray_clip
from vos_zoo.types import Box, UsageError, VOSError

STILL = JitterSettings(0.0, (0.0, 0.0), 0.0, (0.0, 0.0))
PLAIN = AugmentSettings(grayscale=0.0, flip=0.0, affine=False, brightness=0.0)
sizes = st.tuples(st.integers(16, 90), st.integers(16, 90))


def scene(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame that is bright on the object and dark elsewhere, and its mask (1, H, W)."""
    x, y, w, h = box
    mask = np.zeros((1, *size), dtype=np.uint8)
    mask[0, y : y + h, x : x + w] = 1
    frame = np.full((*size, 3), 20, dtype=np.uint8)
    frame[mask[0] == 1] = 220
    return frame, mask


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    height, width = draw(sizes)
    w, h = draw(st.integers(3, width - 2)), draw(st.integers(3, height - 2))
    x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
    return scene((height, width), (x, y, w, h))


@settings(max_examples=50, deadline=None)
@given(
    box=st.tuples(st.floats(-50, 120), st.floats(-50, 120), st.floats(1, 100), st.floats(1, 100)),
    frame=sizes,
    canvas=sizes,
    factor=st.floats(1, 8),
    mode=st.sampled_from(["inside_major", "inside"]),
)
def test_windows_lie_inside_the_frame_as_far_as_the_mode_demands(
    box: tuple[float, ...], frame: tuple[int, int], canvas: tuple[int, int], factor: float, mode: str
) -> None:
    try:
        window = crop_window(Box(*box), frame, CropSettings(canvas, factor, mode))  # type: ignore[arg-type]
    except VOSError:  # a canvas so long that its window is thinner than a pixel
        return
    fits = [window.width <= frame[1], window.height <= frame[0]]
    assert all(fits) if mode == "inside" else any(fits)
    for start, length, limit in ((window.x, window.width, frame[1]), (window.y, window.height, frame[0])):
        if length <= limit:
            assert 0 <= start <= limit - length
        else:  # centred on the frame, within a pixel
            assert start <= 0
            assert start + length >= limit
            assert abs(-start - (start + length - limit)) <= 1


@settings(max_examples=30, deadline=None)
@given(
    drawn=scenes(),
    canvas=st.tuples(st.integers(16, 60), st.integers(16, 60)),
    mode=st.sampled_from(["inside_major", "replicate"]),
)
def test_after_a_crop_the_mask_still_covers_the_object_and_its_box(
    drawn: tuple[np.ndarray, np.ndarray], canvas: tuple[int, int], mode: str
) -> None:
    frame, mask = drawn
    box = tight_box(mask[0])
    assert box is not None
    window = crop_window(box, (frame.shape[0], frame.shape[1]), CropSettings(canvas, 3.0, mode))  # type: ignore[arg-type]
    picture, masks = cut(frame, mask, window)
    assert picture.shape == (*canvas, 3)
    assert masks.shape == (1, *canvas)
    inside, found = box_in_window(box, window), tight_box(masks[0])
    if found is None:  # the object is thinner than a canvas pixel
        return
    tolerance = 2.0 * max(canvas[1] / window.width, canvas[0] / window.height) + 1.0  # two pixels of the frame
    assert found.x >= inside.x - tolerance
    assert found.y >= inside.y - tolerance
    assert found.x + found.w <= inside.x + inside.w + tolerance
    assert found.y + found.h <= inside.y + inside.h + tolerance


@settings(max_examples=30, deadline=None)
@given(drawn=scenes())
def test_flipping_twice_is_the_identity_and_the_box_follows(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    frame, mask = drawn
    frames, masks = flip_clip(frame[None], mask[None])
    box, found = tight_box(mask[0]), tight_box(masks[0, 0])
    assert box is not None
    assert found is not None
    flipped = flip_box(box, frame.shape[1])
    assert abs(found.x - flipped.x) <= 1
    assert flipped[1:] == found[1:]
    back_frames, back_masks = flip_clip(frames, masks)
    np.testing.assert_array_equal(back_frames[0], frame)
    np.testing.assert_array_equal(back_masks[0], mask)


@settings(max_examples=30, deadline=None)
@given(drawn=scenes(), degrees=st.floats(-15, 15), log_scale=st.floats(-0.2, 0.2))
def test_the_affine_map_keeps_the_mask_on_the_object_and_inside_its_box(
    drawn: tuple[np.ndarray, np.ndarray], degrees: float, log_scale: float
) -> None:
    frame, mask = drawn
    size = (frame.shape[0], frame.shape[1])
    matrix = affine_matrix(size, degrees, float(np.exp(log_scale)))
    picture, masks = warp(frame, mask, matrix)
    assert (picture[masks[0] == 1].mean(axis=-1) > 20).all()
    box, found = tight_box(mask[0]), tight_box(masks[0])
    assert box is not None
    hull = warp_box(box, matrix, size)
    assert 0 <= hull.x <= hull.x + hull.w <= size[1] + 1e-9
    if found is not None:
        assert found.x >= hull.x - 1.5
        assert found.y >= hull.y - 1.5
        assert found.x + found.w <= hull.x + hull.w + 1.5
        assert found.y + found.h <= hull.y + hull.h + 1.5


@settings(max_examples=30, deadline=None)
@given(
    box=st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 100), st.floats(1, 100)),
    seed=st.integers(0, 1000),
)
def test_jitter_without_spread_changes_nothing_and_keeps_the_centre_in_its_range(
    box: tuple[float, float, float, float], seed: int
) -> None:
    random = np.random.default_rng(seed)
    normal, uniform = random.standard_normal(2), random.random(2)
    np.testing.assert_allclose(jitter_box(Box(*box), 0.0, (0.0, 0.0), normal, uniform), box, atol=1e-9)
    moved = jitter_box(Box(*box), 0.5, (5.5, 4.5), normal, uniform)
    reach = np.sqrt(moved.w * moved.h)
    assert abs(moved.x + moved.w / 2 - box[0] - box[2] / 2) <= reach * 5.5 / 2 + 1e-9
    assert abs(moved.y + moved.h / 2 - box[1] - box[3] / 2) <= reach * 4.5 / 2 + 1e-9


def test_a_window_at_the_right_edge_loses_its_last_column() -> None:
    frame = np.arange(10, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2)
    canvas, _ = cut(frame, np.zeros((1, 4, 10), np.uint8), Window(6, 0, 4, 2, (2, 4)))
    assert canvas[0, :, 0].tolist() == [6, 7, 8, 8]
    canvas, masks = cut(frame, np.ones((1, 4, 10), np.uint8), Window(9, 3, 1, 1, (1, 1)))
    assert canvas.ravel().tolist() == [9, 9, 9]
    assert masks.ravel().tolist() == [1]


def test_masks_are_resized_by_torchs_nearest_rule() -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    for source, target in (((7, 9), (16, 31)), ((113, 57), (48, 96)), ((33, 34), (33, 34)), ((71, 91), (120, 208))):
        masks = random.integers(0, 2, (2, *source), dtype=np.uint8)
        expected = torch.nn.functional.interpolate(torch.from_numpy(masks)[None].float(), size=target)[0]
        np.testing.assert_array_equal(resize_masks(masks, target), expected.numpy())


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(VOSError, match="no area"):
        crop_window(Box(3, 3, 0, 5), (40, 40), CropSettings((16, 16)))
    assert tight_box(np.zeros((4, 4), np.uint8)) is None


def test_the_clip_transform_is_a_function_of_its_random_numbers() -> None:
    frame, mask = scene((48, 64), (20, 16, 12, 10))
    transform = ClipTransform(CropSettings((32, 48)), JitterSettings(), AugmentSettings())
    first = transform([frame] * 4, [mask] * 4, 1, np.random.default_rng(5))
    again = transform([frame] * 4, [mask] * 4, 1, np.random.default_rng(5))
    other = transform([frame] * 4, [mask] * 4, 1, np.random.default_rng(6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(first[0] - other[0]).max() > 1
    frames, masks, boxes = first
    assert frames.shape == (4, 3, 32, 48)
    assert masks.shape == (4, 1, 32, 48)
    assert boxes.shape == (4, 1, 4)
    assert frames.dtype == masks.dtype == boxes.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 255
    assert set(np.unique(masks)) <= {0.0, 1.0}


def test_references_and_queries_roll_their_flip_apart_but_share_it_within() -> None:
    frame, mask = scene((48, 64), (4, 16, 12, 10))
    transform = ClipTransform(
        CropSettings((48, 64), factor=20.0), STILL, AugmentSettings(0.0, 0.5, affine=False, brightness=0.0)
    )
    rolls = set()
    for seed in range(24):
        _, masks, _ = transform([frame] * 4, [mask] * 4, 1, np.random.default_rng(seed))
        left = [bool(clip[0][:, :32].sum() > clip[0][:, 32:].sum()) for clip in masks]
        assert left[1] == left[2] == left[3]
        rolls.add((left[0], left[1]))
    assert rolls == {(True, True), (True, False), (False, True), (False, False)}


def test_without_any_augmentation_the_canvas_is_the_plain_crop() -> None:
    frame, mask = scene((48, 64), (20, 16, 12, 10))
    crop = CropSettings((32, 48), factor=3.0)
    frames, masks, boxes = ClipTransform(crop, STILL, PLAIN)([frame] * 2, [mask] * 2, 1, np.random.default_rng(0))
    window = crop_window(Box(20, 16, 12, 10), (48, 64), crop)
    picture, expected = cut(frame, mask, window)
    np.testing.assert_array_equal(frames[0].transpose(1, 2, 0), picture)
    np.testing.assert_array_equal(masks[1], expected)
    np.testing.assert_allclose(boxes[0, 0], box_in_window(Box(20, 16, 12, 10), window), rtol=1e-6)


def test_several_objects_are_cropped_around_their_common_box_and_the_absent_have_no_box() -> None:
    frame, one = scene((48, 64), (10, 10, 6, 6))
    two = scene((48, 64), (40, 30, 6, 6))[1]
    slots = np.concatenate([one, two, np.zeros_like(one)])
    transform = ClipTransform(CropSettings((48, 64), factor=1.5), STILL, PLAIN)
    _, masks, boxes = transform([frame] * 2, [slots] * 2, 1, np.random.default_rng(0))
    assert masks.shape == (2, 3, 48, 64)
    assert masks[0, 0].any()
    assert masks[0, 1].any()
    assert not masks[0, 2].any()
    assert boxes[0, 2].tolist() == [0, 0, 0, 0]
    assert (boxes[0, :2, 2] > 0).all()
    with pytest.raises(VOSError, match="without any object"):
        transform([frame] * 2, [np.zeros_like(slots)] * 2, 1, np.random.default_rng(0))


def test_brightness_scales_all_channels_and_stays_in_range() -> None:
    canvas = np.array([[[10, 100, 250]]], dtype=np.uint8)
    np.testing.assert_allclose(brighten(canvas, 1.1), [[[11, 110, 255]]], rtol=1e-6)
    np.testing.assert_array_equal(brighten(canvas, 1.0), canvas)


def test_grey_clips_have_equal_channels() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    gray = gray_clip(frames)
    assert (gray == gray[..., :1]).all()
    np.testing.assert_allclose(gray[..., 0], frames @ [0.114, 0.587, 0.299], atol=1)


def test_the_agpl_successor_under_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    albumentations.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.0")
    with pytest.raises(VOSError, match=r"albumentationsx \(AGPL"):
        albumentations()

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(VOSError, match=r"pip install .albumentations==2.0.8"):
        albumentations()
    monkeypatch.undo()
    assert albumentations().__version__ == "2.0.8"


def test_readers_and_crops_do_not_import_albumentations() -> None:
    import subprocess

    code = (
        "import sys, vos_zoo.data.datasets.checking, vos_zoo.data.datasets.davis, vos_zoo.data.datasets.folder, "
        "vos_zoo.data.clips.crops, vos_zoo.data.clips.sampling, vos_zoo.data.clips.transforms, vos_zoo.video.masks;"
        "print([m for m in ('albumentations', 'torch', 'cv2', 'pytorch_lightning') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CropSettings(mode="outside"), "inside_major"),  # type: ignore[arg-type]
        (lambda: CropSettings(size=(0, 8)), r"'data.crop.size' is \[0, 8\], expected at least 1"),
        (lambda: CropSettings(factor=0), "'data.crop.factor' is 0, expected above 0"),
        (lambda: JitterSettings(reference_centre=(1.0,)), "'data.jitter.reference_centre' is .*, expected 2 values"),  # type: ignore[arg-type]
        (lambda: JitterSettings(query_scale=-1), "'data.jitter.query_scale' is -1, expected at least 0"),
        (lambda: AugmentSettings(flip=1.5), "'data.augment.flip' is 1.5, expected at most 1"),
        (lambda: AugmentSettings(rotation=-1), "'data.augment.rotation' is -1, expected at least 0"),
    ],
)
def test_senseless_settings_are_refused_by_key(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]
