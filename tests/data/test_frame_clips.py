"""Canvases of whole frames: one map equals the steps it stands for, masks move with pictures, slots hold what shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.test_sampling import Videos
from tests.data.test_static_images import write_pair
from vos_zoo.config.settings.clips import SamplingSettings
from vos_zoo.config.settings.frames import FrameSettings, GapSettings
from vos_zoo.data.clips import frame_clips
from vos_zoo.data.clips.frame_clips import ClipDraw, FrameClipTransform, part_by_area
from vos_zoo.data.clips.gaps import OrderedSampler
from vos_zoo.data.clips.numbered import FrameClips
from vos_zoo.data.clips.warps import FILL
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.types import Frame, LabelMap, UsageError, VideoSequence, VOSError

STILL: dict[str, Any] = {
    "area": (1, 1),
    "zoom": (1, 1),
    "rotation": 0,
    "shear": 0,
    "common_colour": (0, 0, 0),
    "colour": (0, 0, 0),
}
GIEL: dict[str, Any] = {
    "window": "short_side",
    "turn": "frame",
    "rotation": 15,
    "shear": 0,
    "scale": (0.95, 1.05),
    "place_jitter": 20,
    "interpolation": "linear",
    "common_colour": (0.1, 0.1, 0.1),
    "colour": (0, 0, 0),
    "min_pixels": 100,
    "tries": 10,
}
SMALL: dict[str, Any] = {
    "canvas": "frame",
    "batch_size": 2,
    "workers": 0,
    "batches_per_epoch": 3,
    "crop": {"size": [32, 48]},
    "sampling": {"reference_frames": 1, "query_frames": 3, "objects": 2},
    "synthetic": {
        "size": [48, 64],
        "frames": 12,
        "train_videos": 3,
        "val_videos": 2,
        "min_objects": 2,
        "max_objects": 3,
        "late_objects": 0.0,
    },
}


def smooth(height: int, width: int, seed: int = 0) -> Frame:
    coarse = np.random.default_rng(seed).uniform(60, 190, (6, 8, 3))
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 60, 190).astype(np.uint8)


def picture(transform: FrameClipTransform, frame: Frame, draw: ClipDraw, number: int = 0) -> np.ndarray:
    out = np.empty((3, *transform.size), np.float32)
    transform.picture(frame, draw, number, out)
    return out.transpose(1, 2, 0)


@pytest.mark.parametrize("turn", ["canvas", "frame"])
@pytest.mark.parametrize("window", ["area", "short_side"])
def test_without_motion_a_frame_of_the_canvas_size_stays_as_it_is(window: str, turn: str) -> None:
    frame, labels = smooth(40, 56), np.random.default_rng(1).integers(0, 3, (40, 56), dtype=np.uint8)
    chosen = FrameSettings(**{**STILL, "window": window, "turn": turn, "ratio": (1.4, 1.4), "short_side": 40})
    for flip in (0, 1):
        transform = FrameClipTransform((40, 56), chosen, flip=flip, grayscale=0)
        draw = transform.draw((40, 56), 2, np.random.default_rng(0))
        step = -1 if flip else 1
        np.testing.assert_array_equal(picture(transform, frame, draw), frame[:, ::step])
        np.testing.assert_array_equal(transform.labels(labels, draw, 1), labels[:, ::step])


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(30, 90), st.integers(30, 120)),
    st.tuples(st.integers(24, 64), st.integers(24, 64)),
    st.sampled_from(["area", "short_side"]),
    st.sampled_from(["canvas", "frame"]),
    st.integers(0, 2**32),
)
def test_labels_move_with_their_picture_whatever_is_drawn(
    frame_size: tuple[int, int], canvas: tuple[int, int], window: str, turn: str, seed: int
) -> None:
    labels = np.zeros(frame_size, np.uint8)
    labels[frame_size[0] // 4 : frame_size[0] * 3 // 4, frame_size[1] // 5 : frame_size[1] * 2 // 3] = 7
    frame = np.zeros((*frame_size, 3), np.uint8)
    frame[..., 1] = 255 * (labels > 0)  # green shows the mask
    chosen = {"window": window, "turn": turn, "place_jitter": 3, "scale": (0.8, 1.2), "short_side": 40}
    still = {"common_colour": (0, 0, 0), "colour": (0, 0, 0)}
    transform = FrameClipTransform(canvas, FrameSettings(**chosen, **still), grayscale=0)
    draw = transform.draw(frame_size, 3, np.random.default_rng(seed))
    for number in range(3):
        moved = transform.labels(labels, draw, number)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frame_clips, "FILL", (0.0, 0.0, 0.0, 0.0))
            seen = picture(transform, frame, draw, number)[..., 1]
        assert set(np.unique(moved)) <= {0, 7}
        edge = cv2.dilate(moved, np.ones((3, 3))) != cv2.erode(moved, np.ones((3, 3)))
        inner = ~edge[1:-1, 1:-1]  # an edge just outside of the canvas is not seen in the labels
        np.testing.assert_array_equal((seen > 127)[1:-1, 1:-1][inner], (moved == 7)[1:-1, 1:-1][inner])


def test_one_resampling_equals_the_published_steps_one_after_the_other() -> None:
    """Mirror, part, colours; then rotation and shear with the mean colour beyond, colours (STCN)."""
    transform = FrameClipTransform((96, 96), FrameSettings(colour=(0.05, 0.05, 0.05)), flip=0.5, grayscale=0.3)
    frame, worst = smooth(150, 260, 3), 0.0
    for seed in range(12):
        draw = transform.draw((150, 260), 2, np.random.default_rng(seed))
        (x, y, w, h), turn = draw.parts[1], draw.turns[1]
        image = Image.fromarray(frame[:, ::-1] if draw.mirrored else frame)
        image = image.resize((96, 96), Image.Resampling.BICUBIC, (x, y, x + w, y + h))
        colours = coloured(np.asarray(image, np.float64), draw.common)
        if draw.gray:
            colours = np.repeat((colours @ LUMA)[..., None], 3, axis=2)
        back = np.linalg.inv(turn)
        shift = 48 - back @ (48, 48)
        data = (*back[0], shift[0], *back[1], shift[1])
        bicubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST
        planes = [Image.fromarray(colours[..., k].astype(np.float32)) for k in range(3)]
        turned = np.stack(
            [np.asarray(p.transform((96, 96), Image.Transform.AFFINE, data, bicubic)) for p in planes], -1
        )
        inside = np.asarray(
            Image.new("L", (96, 96), 1).transform((96, 96), Image.Transform.AFFINE, data, nearest), dtype=bool
        )
        expected = coloured(np.where(inside[..., None], turned, FILL[:3]), draw.colours[1])
        padded, five = np.pad(inside.astype(np.uint8), 4), np.ones((5, 5))
        border = (cv2.erode(padded, five) != cv2.dilate(padded, five))[4:-4, 4:-4]
        difference = np.abs(picture(transform, frame, draw, 1) - expected)
        difference[border] = 0
        worst = max(worst, float(difference.max()))
        assert difference.mean() < 0.5
    assert worst < 3


LUMA = np.array([0.299, 0.587, 0.114])


def coloured(picture: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Brightness, contrast about the mean grey, saturation about each pixel's grey, step by step."""
    picture = picture * factors[0]
    picture = factors[1] * picture + (1 - factors[1]) * (picture @ LUMA).mean()
    return factors[2] * picture + (1 - factors[2]) * (picture @ LUMA)[..., None]


def test_a_turned_canvas_has_filled_corners_and_a_turned_frame_shows_what_is_beyond() -> None:
    frame = np.full((120, 160, 3), 250, np.uint8)
    for turn, filled in (("canvas", True), ("frame", False)):
        chosen = FrameSettings(**{**STILL, "area": (0.2, 0.2), "ratio": (1, 1), "turn": turn, "rotation": 15})
        transform = FrameClipTransform((48, 48), chosen, flip=0, grayscale=0)
        draw = transform.draw((120, 160), 6, np.random.default_rng(4))
        middle = ClipDraw(**{**vars(draw), "parts": (draw.parts[0]._replace(x=50, y=32),) * 6})
        corners = [picture(transform, frame, middle, number)[0, 0] for number in range(6)]
        assert any(np.allclose(corner, FILL[:3], atol=1) for corner in corners) == filled
        if not filled:
            assert all((corner == 250).all() for corner in corners)


def test_parts_by_short_side_have_the_drawn_scale_a_common_place_and_stay_in_the_frame() -> None:
    transform = FrameClipTransform((384, 740), FrameSettings(**GIEL))
    factors = []
    for seed in range(60):
        draw = transform.draw((480, 854), 4, np.random.default_rng(seed))
        factor = 740 / draw.parts[0].w
        factors.append(factor)
        corners = np.array([(part.x, part.y) for part in draw.parts]) * factor
        assert np.ptp(corners, axis=0).max() <= 40 + 1e-6
        for part in draw.parts:
            assert part.w / part.h == pytest.approx(740 / 384)
            assert 0 <= part.x <= 854 - part.w + 1e-9
            assert 0 <= part.y <= 480 - part.h + 1e-9
    assert 0.9 <= min(factors) < 0.95
    assert 1.25 < max(factors) <= 1.3
    upright = transform.draw((854, 480), 2, np.random.default_rng(0))
    assert 740 / upright.parts[0].w == pytest.approx(740 / 480)  # enlarged until the canvas fits


def test_parts_by_area_lie_in_the_frame_with_the_drawn_shares() -> None:
    random, shares = np.random.default_rng(0), []
    for _ in range(300):
        part = part_by_area((480, 854), (0.36, 1.0), (3 / 4, 4 / 3), random)
        assert 0 <= part.x <= 854 - part.w
        assert 0 <= part.y <= 480 - part.h
        assert 0.74 <= part.w / part.h <= 1.35
        shares.append(part.w * part.h / (480 * 854))
    assert 0.34 < min(shares) < 0.4
    assert max(shares) <= 0.75 + 0.01  # more does not fit with such ratios
    assert part_by_area((10, 400), (0.9, 1.0), (3 / 4, 4 / 3), random) == (193, 0, 13, 10)


def test_what_the_clip_shares_is_shared_and_what_a_frame_has_is_its_own() -> None:
    frame = smooth(60, 80)
    alike = FrameClipTransform(
        (32, 32), FrameSettings(**{**STILL, "area": (0.3, 0.9), "common_colour": (0.3, 0.3, 0.3)})
    )
    draw = alike.draw((60, 80), 3, np.random.default_rng(1))
    for number in (1, 2):
        np.testing.assert_array_equal(picture(alike, frame, draw, 0), picture(alike, frame, draw, number))
    for own in (
        {"rotation": 15},
        {"shear": 10},
        {"scale": (0.8, 1.2)},
        {"colour": (0.2, 0.2, 0.2)},
        {"place_jitter": 5},
    ):
        apart = FrameClipTransform((32, 32), FrameSettings(**{**STILL, "area": (0.4, 0.5), **own}))
        draw = apart.draw((60, 80), 2, np.random.default_rng(1))
        assert np.abs(picture(apart, frame, draw, 0) - picture(apart, frame, draw, 1)).max() > 2, own


def test_objects_are_chosen_among_those_large_enough_in_random_order() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[0, :9], labels[1, :10], labels[2:4], labels[5:9] = 4, 9, 30, 2
    transform = FrameClipTransform((20, 20), FrameSettings(min_pixels=10))
    drawn = [transform.choose(labels, 2, np.random.default_rng(seed)) for seed in range(60)]
    assert {len(ids) for ids in drawn} == {2}
    assert {identity for ids in drawn for identity in ids} == {9, 30, 2}
    assert {(2, 9), (9, 2)} <= set(drawn)
    assert transform.choose(labels * 0, 2, np.random.default_rng(0)) == ()
    masks, boxes = transform.masks([labels, labels * 0], (30, 9), 3)
    assert masks.shape == (2, 3, 20, 20)
    np.testing.assert_array_equal(masks[0, 0], labels == 30)
    assert boxes[0, 1].tolist() == [0, 1, 10, 1]
    assert not masks[1].any()
    assert not masks[:, 2].any()
    assert not boxes[1].any()


def small(**changes: Any) -> VOSDataModule:
    return VOSDataModule(**{**SMALL, **changes})


def test_a_batch_of_whole_frames_has_slots_with_objects_of_the_first_canvas() -> None:
    for batch in small().train_dataloader():
        assert batch.frames.shape == (2, 4, 3, 32, 48)
        assert batch.masks.shape == (2, 4, 2, 32, 48)
        assert batch.boxes.shape == (2, 4, 2, 4)
        assert batch.frames.dtype == batch.masks.dtype == batch.boxes.dtype == torch.float32
        assert batch.frames.min() >= 0
        assert batch.frames.max() <= 255
        assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}
        assert (batch.masks.sum(dim=2) <= 1).all()
        np.testing.assert_array_equal(batch.masks[:, 0].flatten(2).any(dim=2), batch.valid)
        assert not batch.masks.transpose(1, 2)[~batch.valid].any()


def test_clips_of_whole_frames_do_not_depend_on_workers() -> None:
    alone, helped = list(small().train_dataloader()), list(small(workers=2).train_dataloader())
    for one, two in zip(alone, helped, strict=True):
        assert one.names == two.names
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.masks, two.masks)
    assert not torch.equal(alone[0].frames, alone[1].frames)


class Corner(VideoSequence):
    """A video whose object is a dot in a corner, or nowhere at all; counts what is read."""

    def __init__(self, name: str, pixels: int) -> None:
        self.name, self.pixels, self.decoded, self.read = name, pixels, 0, 0
        self.frame_names, self.object_ids = tuple("abcdef"), (1,)

    def frame(self, index: int) -> Frame:
        self.decoded += 1
        return np.zeros((40, 60, 3), np.uint8)

    def labels(self, index: int) -> LabelMap:
        self.read += 1
        labels = np.zeros((40, 60), np.uint8)
        labels.reshape(-1)[: self.pixels] = 1
        return labels

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self.labels(0)}


def clips(*videos: VideoSequence, **changes: Any) -> FrameClips:
    sampler = OrderedSampler([Videos(*videos)], SamplingSettings(1, 2, objects=2), GapSettings(shortest=2))
    chosen = FrameSettings(**{**STILL, "area": (0.3, 0.3), "ratio": (1, 1), **changes})
    return FrameClips(sampler, FrameClipTransform((16, 16), chosen, flip=0), 1)


def test_frames_are_redrawn_so_often_before_a_clip_without_objects_is_taken() -> None:
    video = Corner("nothing", 0)
    clip = clips(video, tries=7)[0]
    assert not clip.valid.any()
    assert not clip.masks.any()
    assert clip.name == "nothing/none"
    assert video.read == 7 + 3
    assert video.decoded == 3  # pictures are decoded once the frames are settled
    often = clips(Corner("corner", 30), tries=1)
    seldom = clips(Corner("corner", 30), tries=8)
    counts = [sum(bool(source[item].valid.any()) for item in range(40)) for source in (often, seldom)]
    assert 0 < counts[0] < counts[1]


def test_without_empty_clips_another_video_is_drawn_until_one_shows_an_object() -> None:
    source = clips(Corner("nothing", 0), Corner("full", 600), empty=False, area=(1, 1), ratio=(1.5, 1.5))
    assert {source[item].name for item in range(12)} == {"full/1"}
    with pytest.raises(VOSError, match=r"data\.frame\.min_pixels"):
        clips(Corner("nothing", 0), empty=False)[0]


@pytest.mark.parametrize("motion", ["warps", "crops"])
def test_static_images_give_the_same_kind_of_batch_with_their_object_in_the_first_slot(
    tmp_path: Path, motion: str
) -> None:
    for name in ("a", "b"):
        write_pair(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png", size=(60, 40))
    data = small(
        name="saliency", root=str(tmp_path), static={"motion": motion}, frame={"area": [0.9, 1], "rotation": 5}
    )
    batch = next(iter(data.train_dataloader()))
    video = next(iter(small().train_dataloader()))
    for name in ("frames", "masks", "valid", "boxes"):
        assert getattr(batch, name).shape == getattr(video, name).shape
        assert getattr(batch, name).dtype == getattr(video, name).dtype
    assert batch.valid.tolist() == [[True, False]] * 2
    assert batch.masks[:, 0, 0].flatten(1).any(dim=1).all()
    assert not batch.masks[:, :, 1].any()
    assert not torch.equal(batch.frames[:, 0], batch.frames[:, 1])


def test_real_videos_make_batches_of_whole_frames(data_dir: Path) -> None:
    root = data_dir / "davis16_480p_part"
    if not root.is_dir():
        pytest.skip("the DAVIS pack is not on this machine")
    shared = {"year": 2016, "train_split": "val", "sequences": ["dog"], "batch_size": 2}
    for size, frame in (((96, 96), {}), ((96, 185), {**GIEL, "short_side": 120})):
        data = small(**shared, name="davis", root=str(root), crop={"size": list(size)}, frame=frame)
        batch = next(iter(data.train_dataloader()))
        assert batch.frames.shape == (2, 4, 3, *size)
        assert batch.valid[:, 0].all()
        assert batch.frames.std() > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": "all"}, r"'data.frame.window' is 'all', expected one of: area, short_side"),
        ({"turn": "none"}, "data.frame.turn"),
        ({"interpolation": "nearest"}, "data.frame.interpolation"),
        ({"area": (0.5, 0.2)}, r"'data.frame.area' is \[0.5, 0.2\], expected the smaller first"),
        ({"area": (0.5, 1.2)}, r"'data.frame.area' is \[0.5, 1.2\], expected at most 1"),
        ({"ratio": (0, 1)}, "'data.frame.ratio' is .*, expected above 0"),
        ({"colour": (0.1, 0.1)}, "'data.frame.colour' is .*, expected 3 values"),
        ({"tries": 0}, "'data.frame.tries' is 0, expected at least 1"),
        ({"shear": 95}, "'data.frame.shear' is 95, expected below 90"),
    ],
)
def test_senseless_settings_are_refused_by_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FrameSettings(**changes)


def test_an_unknown_canvas_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'data.canvas' is 'video', expected one of: object, frame"):
        small(canvas="video")
    with pytest.raises(UsageError, match=r"data.frame.areas; did you mean data.frame.area\?"):
        small(frame={"areas": [1, 1]})
