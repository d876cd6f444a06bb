"""Albumentations' transforms from the configuration, over whole clips."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.data.clips.pipeline import ClipPipeline
from vos_zoo.data.clips.transforms import Clip
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.types import UsageError

SIZE = (32, 48)


def clip(dtype: type = np.uint8) -> Clip:
    """Three equal frames with a square in the left half, object 0 of two slots."""
    frames = np.zeros((3, 3, *SIZE), dtype=dtype)
    frames[:, 0] = np.arange(48)
    masks = np.zeros((3, 2, *SIZE), dtype=dtype)
    masks[:, 0, 8:20, 4:16] = 1
    frames[:, 1][masks[:, 0] == 1] = 200
    boxes = np.zeros((3, 2, 4), dtype=np.float32)
    boxes[:, 0] = (4, 8, 12, 12)
    return Clip(frames, masks, np.array([True, False]), boxes, 1, "drawn/1")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_frames_masks_and_boxes_move_together_and_keep_their_types(dtype):
    moved = ClipPipeline([{"HorizontalFlip": {"p": 1.0}}], SIZE)(clip(dtype), np.random.default_rng(0))
    assert np.array_equal(moved.frames, clip(dtype).frames[..., ::-1])
    assert np.array_equal(moved.masks, clip(dtype).masks[..., ::-1])
    assert moved.frames.dtype == moved.masks.dtype == dtype
    assert moved.boxes[0].tolist() == [[32, 8, 12, 12], [0, 0, 0, 0]]


def test_one_draw_serves_all_frames_and_the_same_seed_gives_the_same_clip():
    steps = [
        {"Affine": {"rotate": [-30, 30], "scale": [0.8, 1.2], "p": 1.0}},
        {"OneOf": {"transforms": ["MotionBlur", {"GaussianBlur": {"blur_limit": [3, 5]}}], "p": 0.9}},
        {"RandomBrightnessContrast": {"brightness_limit": 0.1, "contrast_limit": 0.1, "p": 1.0}},
    ]
    pipeline = ClipPipeline(steps, SIZE)
    first, again, other = (pipeline(clip(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first.frames[0], frame) for frame in first.frames)
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.frames, other.frames)
    green = first.frames[:, 1] > 120
    overlap = (green & (first.masks[:, 0] == 1)).sum() / (green | (first.masks[:, 0] == 1)).sum()
    assert overlap > 0.7  # the picture's square is still under its mask


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["HorizontalFlop"], "did you mean 'HorizontalFlip'"),
        ([{"HorizontalFlip": {"q": 1}}], "HorizontalFlip refuses .*q"),
        ([{"GaussianBlur": {"blur_limit": "wide"}}], "GaussianBlur refuses"),
        ([{"HorizontalFlip": {}, "VerticalFlip": {}}], "no single transform"),
        ([{"RandomCrop": {"height": 16, "width": 16, "p": 0.5}}], "32x48 into 16x16"),
        ([{"OneOf": {"transforms": ["Blurr"]}}], "no transform 'Blurr'"),
    ],
)
def test_what_is_wrong_with_a_pipeline_shows_before_the_first_clip(steps, message):
    with pytest.raises(UsageError, match=message):
        ClipPipeline(steps, SIZE)


@pytest.mark.parametrize("canvas", ["object", "frame"])
def test_the_data_module_augments_its_clips_as_the_configuration_says(canvas):
    common = {"name": "synthetic", "canvas": canvas, "batch_size": 1, "batches_per_epoch": 2, "workers": 0}
    common |= {"crop": {"size": [64, 96]}, "synthetic": {"train_videos": 2}, "compact": True}
    plain = VOSDataModule(**common).clips()[0]
    black = {"augment": {"pipeline": [{"ToGray": {"p": 1.0}}]}}
    grey = VOSDataModule(**common, **black).clips()[0]
    assert (np.ptp(grey.frames.astype(int), axis=1) == 0).all() and (np.ptp(plain.frames.astype(int), axis=1) > 0).any()
    assert np.array_equal(plain.masks, grey.masks)
    assert canvas == "object" or np.array_equal(plain.boxes, grey.boxes)
    with pytest.raises(UsageError, match="no transform 'ToGrey'"):
        VOSDataModule(**common, augment={"pipeline": ["ToGrey"]}).clips()
