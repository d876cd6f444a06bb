"""From the frames and masks of a mini-sequence to training canvases of LWL, JOINT and LLB.

The rules are steps 5 to 10 of docs/methods/lwl.md, "Training clips".

Albumentations does the work whose meaning it shares with the published pipeline (flip, grayscale); the crop and the
affine map are in `crops`, because their rounding is part of the method. This is the one module that imports
albumentations, and only when a training pipeline is built.

Colours: the published pipeline augments BGR pictures. Ours stay RGB; where the order matters (the grayscale weights)
the picture is turned to BGR for the step.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import AugmentSettings, CropSettings, JitterSettings
from vos_zoo.data.clips.crops import (
    Masks,
    affine_matrix,
    box_in_window,
    crop_window,
    cut,
    cut_and_warp,
    flip_box,
    jitter_box,
    tight_box,
    warp,
    warp_box,
)
from vos_zoo.types import Box, Frame, VOSError


@cache
def albumentations() -> Any:
    """The library, the MIT release 2.0.8 we are tested with; never its AGPL successor under the same import name.

    Raises:
        VOSError: it is missing, or the successor `albumentationsx` is installed.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise importing it checks online for a newer version
    cure = 'pip uninstall -y albumentationsx albumentations && pip install "albumentations==2.0.8"'
    if _installed("albumentationsx"):
        raise VOSError(
            "albumentationsx (AGPL-3.0) is installed under albumentations' name and would bind this program "
            f"to its licence; replace it with the MIT release: {cure}"
        )
    if not _installed("albumentations"):
        raise VOSError('albumentations is not installed; pip install "albumentations==2.0.8"')
    import albumentations as library

    return library


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@cache
def _flip() -> Any:
    library = albumentations()
    return library.Compose([library.HorizontalFlip(p=1.0)])


@cache
def _gray() -> Any:
    library = albumentations()
    return library.Compose([library.ToGray(num_output_channels=3, method="weighted_average", p=1.0)])


def flip_clip(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mirror frames ``(T, H, W, 3)`` and masks ``(T, K, H, W)`` left to right."""
    clip, slots = masks.shape[0], masks.shape[1]
    turned = _flip()(images=frames, masks=masks.reshape(clip * slots, *masks.shape[2:]))
    return turned["images"], np.asarray(turned["masks"]).reshape(masks.shape)


def gray_clip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey frames ``(T, H, W, 3)``, three equal channels.

    Published rule: the RGB weights are applied to BGR pictures, so red counts 0.114 and blue 0.299.
    """
    return np.ascontiguousarray(_gray()(images=np.ascontiguousarray(frames[..., ::-1]))["images"])


def brighten(canvas: NDArray[np.uint8], factor: float, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """The canvas times one factor, clamped to 0..255, float32.

    Not by albumentations: its multiplication rounds 8-bit pictures and expects float images in 0..1. Here the 256
    possible values are multiplied once and looked up.

    Args:
        canvas: uint8 ``(h, w)`` or ``(h, w, C)``.
        factor: the factor.
        out: float32 array of the canvas's shape to write to.
    """
    import cv2

    table = np.clip(np.arange(256, dtype=np.float32) * np.float32(factor), 0, 255)
    return cast("NDArray[np.float32]", cv2.LUT(canvas, table, out))


@dataclass(frozen=True)
class Clip:
    """One training sample.

    Attributes:
        frames: float32 or uint8 RGB ``(T, 3, h, w)``, 0..255.
        masks: float32 or uint8 ``(T, K, h, w)``, 0 or 1 (or between, where `StaticSettings.soft_masks` asks for it).
        valid: bool ``(K,)``, slots that hold an object.
        boxes: float32 ``(T, K, 4)``, x y w h in canvas pixels, zero where the object is not visible.
        reference_frames: the first so many frames are references.
        name: "sequence/id", or "sequence/id+id" with several objects.
        skipped: unreadable files that were drawn before it, with the reason.
    """

    frames: NDArray[Any]
    masks: NDArray[Any]
    valid: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    reference_frames: int
    name: str
    skipped: tuple[str, ...] = ()


class _Member(NamedTuple):
    """A frame of a clip with the masks and boxes of its slots, and the steps that are still to be applied."""

    frame: Frame
    masks: Masks
    boxes: list[Box | None]
    gray: bool
    mirrored: bool


class ClipTransform:
    """Augments the frames of a mini-sequence and cuts their canvases.

    Args:
        crop: how canvases are cut.
        jitter: noise of the boxes that the windows are laid around.
        augment: augmentation of the pixels.
        dtype: of pictures and masks, float32 or uint8 (which rounds brightened pixels).
    """

    def __init__(
        self,
        crop: CropSettings,
        jitter: JitterSettings,
        augment: AugmentSettings,
        dtype: type[np.float32] | type[np.uint8] = np.float32,
    ) -> None:
        self.crop, self.jitter, self.augment, self.dtype = crop, jitter, augment, dtype
        albumentations()  # report a wrong installation here, before the first step

    def __call__(
        self,
        frames: Sequence[Frame],
        masks: Sequence[Masks],
        reference_frames: int,
        random: np.random.Generator,
        boxes: Sequence[Box | None] | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Canvases of a mini-sequence.

        Args:
            frames: T frames uint8 RGB ``(H, W, 3)``, references first.
            masks: T masks uint8 0/1 ``(K, H, W)``; every frame shows at least one object.
            reference_frames: how many of them are references.
            random: source of random numbers.
            boxes: the K objects' boxes, the same in every frame, where the data set states them; otherwise they are
                tight on the masks (which may then not be empty).

        Returns:
            Frames ``(T, 3, h, w)`` 0..255, masks ``(T, K, h, w)``, boxes float32 ``(T, K, 4)``.
        """
        import cv2

        group = self._same_roll(frames[:reference_frames], masks[:reference_frames], random, boxes)
        references = [self._canvas(member, True, random) for member in group]
        group = self._same_roll(frames[reference_frames:], masks[reference_frames:], random, boxes)
        canvases = [*references, *(self._canvas(member, False, random) for member in group)]
        pictures = np.empty((len(frames), 3, *self.crop.size), dtype=self.dtype)
        for planes, (canvas, factor, _, _) in zip(pictures, canvases, strict=True):
            if self.dtype == np.uint8:
                cv2.split(cv2.transform(canvas, np.eye(3, dtype=np.float32) * factor), [*planes])
                continue
            for plane, colour in zip(planes, cv2.split(canvas), strict=True):
                brighten(cast("NDArray[np.uint8]", colour), factor, plane)
        cut_masks = np.stack([slots for _, _, slots, _ in canvases], dtype=self.dtype, casting="unsafe")
        return pictures, cut_masks, np.stack([placed for *_, placed in canvases], dtype=np.float32, casting="unsafe")

    def _same_roll(
        self,
        frames: Sequence[Frame],
        masks: Sequence[Masks],
        random: np.random.Generator,
        given: Sequence[Box | None] | None = None,
    ) -> list[_Member]:
        """Step 6: grayscale and flip, the same for all frames of the group; with each slot's box."""
        gray, flip = random.random() < self.augment.grayscale, random.random() < self.augment.flip
        count = len(frames)
        if all(frame is frames[0] for frame in frames):  # a static image: one frame is enough
            frames, masks = frames[:1], masks[:1]
        boxes = [[tight_box(mask) for mask in slots] if given is None else list(given) for slots in masks]
        if flip:
            boxes = [[box and flip_box(box, frames[0].shape[1]) for box in slots] for slots in boxes]
        late = self.augment.fused and self.augment.affine  # all is done at once, of the part that is cut out
        if not late:
            pictures, stacked = np.stack(frames), np.stack(masks)
            pictures = gray_clip(pictures) if gray else pictures
            pictures, stacked = flip_clip(pictures, stacked) if flip else (pictures, stacked)
            frames, masks = [*pictures], [*stacked]
        group = [_Member(*one, gray and late, flip and late) for one in zip(frames, masks, boxes, strict=True)]
        return group if len(group) == count else group * count

    def _canvas(
        self, member: _Member, reference: bool, random: np.random.Generator
    ) -> tuple[Frame, float, Masks, NDArray[np.float64]]:
        """Steps 7 to 10 for one frame: jitter, crop, affine map; and the factor of its brightness."""
        jitter, augment, size = self.jitter, self.augment, self.crop.size
        frame, masks, boxes = member.frame, member.masks, member.boxes
        scale = jitter.reference_scale if reference else jitter.query_scale
        centre = jitter.reference_centre if reference else jitter.query_centre
        around = jitter_box(union_box(boxes), scale, centre, random.standard_normal(2), random.random(2))
        window = crop_window(around, (frame.shape[0], frame.shape[1]), self.crop)
        if not augment.fused or not augment.affine:
            frame, masks = cut(frame, masks, window)
        inside = [box and box_in_window(box, window) for box in boxes]
        if augment.affine:
            angle = random.uniform(-augment.rotation, augment.rotation)
            matrix = affine_matrix(size, angle, math.exp(random.uniform(-augment.log_scale, augment.log_scale)))
            if augment.fused:
                frame, masks = cut_and_warp(frame, masks, window, matrix, member.mirrored)
            else:
                frame, masks = warp(frame, masks, matrix)
            inside = [box and warp_box(box, matrix, size) for box in inside]
        factor = random.uniform(1 - augment.brightness, 1 + augment.brightness) if augment.brightness else 1.0
        if member.gray:
            frame = gray_clip(frame[None])[0]
        return frame, factor, masks, np.array([box or (0.0, 0.0, 0.0, 0.0) for box in inside])


def union_box(boxes: Sequence[Box | None]) -> Box:
    """The hull of the boxes that are there.

    Raises:
        VOSError: none is there.
    """
    there = [box for box in boxes if box is not None]
    if not there:
        raise VOSError("crop: a training frame without any object; raise data.sampling.min_visible_pixels above 0")
    x, y = min(box.x for box in there), min(box.y for box in there)
    return Box(x, y, max(box.x + box.w for box in there) - x, max(box.y + box.h for box in there) - y)
