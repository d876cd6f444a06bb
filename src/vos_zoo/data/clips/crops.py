"""Boxes, their jitter and the training crop around an object of LWL, JOINT and LLB.

The rules are steps 6 to 9 of docs/methods/lwl.md, "Training clips".

The arithmetic is that of the published pipeline with its quirks, because crops decide what a network learns. The
window (five times the object's side) is shrunk to the frame on one axis (`inside_major`) or both (`inside`) and moved
inside; what still sticks out replicates the border. Boxes are x y w h in pixels, float; sizes are (h, w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import CropSettings
from vos_zoo.types import Box, Frame, VOSError

Masks: TypeAlias = NDArray[np.uint8]
"""One 0/1 channel per object slot, uint8 ``(K, H, W)``."""


@dataclass(frozen=True)
class Window:
    """A region of a frame in whole pixels (it may stick out) and the canvas it is resized to."""

    x: int
    y: int
    width: int
    height: int
    size: tuple[int, int]


def tight_box(mask: NDArray[np.uint8]) -> Box | None:
    """The box of the non-zero pixels of a mask ``(H, W)``, with w = xmax - xmin + 1; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    x, y = float(columns[0]), float(rows[0])
    return Box(x, y, float(columns[-1]) - x + 1, float(rows[-1]) - y + 1)


def flip_box(box: Box, width: int) -> Box:
    """The box after a horizontal flip of a frame `width` pixels wide.

    The published rule mirrors the corner as x -> (width - 1) - x, one pixel left of the mirrored pixels' tight box.
    """
    return Box(width - 1 - (box.x + box.w), box.y, box.w, box.h)


def jitter_box(
    box: Box, scale: float, centre: tuple[float, float], normal: NDArray[np.float64], uniform: NDArray[np.float64]
) -> Box:
    """Box with noise on size and centre.

    Args:
        box: the object's box.
        scale: standard deviation of the log size.
        centre: range of the centre shift (x, y) in square roots of the new area.
        normal: two standard normal numbers, for width and height.
        uniform: two numbers in [0, 1), for x and y.
    """
    w, h = box.w * math.exp(scale * float(normal[0])), box.h * math.exp(scale * float(normal[1]))
    spread = math.sqrt(w * h)
    cx = box.x + 0.5 * box.w + spread * centre[0] * (float(uniform[0]) - 0.5)
    cy = box.y + 0.5 * box.h + spread * centre[1] * (float(uniform[1]) - 0.5)
    return Box(cx - 0.5 * w, cy - 0.5 * h, w, h)


def crop_window(box: Box, frame_size: tuple[int, int], settings: CropSettings) -> Window:
    """The window to cut around a (jittered) box.

    Args:
        box: x y w h in frame pixels.
        frame_size: height and width of the frame.
        settings: canvas size, factor, mode and limit.

    Raises:
        VOSError: the window is smaller than a pixel (a box without area).
    """
    (frame_h, frame_w), (out_h, out_w) = frame_size, settings.size
    side = math.sqrt(box.w * box.h / (out_w * out_h)) * settings.factor
    if not math.isfinite(side) or side <= 0:
        raise VOSError(f"crop: the box {tuple(box)} has no area; leave the object out of training")
    width, height = math.ceil(out_w * side), math.ceil(out_h * side)
    if settings.mode != "replicate":
        choose = min if settings.mode == "inside_major" else max
        shrink = max(1.0, choose(width / frame_w, height / frame_h))
        if settings.max_scale_change is not None:
            shrink = min(shrink, settings.max_scale_change)
        width, height = math.floor(width / shrink), math.floor(height / shrink)
    if min(width, height) < 1:
        raise VOSError(f"crop: the box {tuple(box)} gives a window of {width}x{height} pixels; choose a larger factor")
    x = _moved_inside(round(box.x + 0.5 * box.w - 0.5 * width), width, frame_w)
    y = _moved_inside(round(box.y + 0.5 * box.h - 0.5 * height), height, frame_h)
    return Window(x, y, width, height, settings.size)


def _moved_inside(start: int, length: int, limit: int) -> int:
    """Start of an interval moved into [0, limit); one that is too long is centred on it."""
    start += max(0, -start) + min(0, limit - (start + length))
    outside = (max(0, -start) + max(0, start + length - limit)) // 2
    return -outside if outside > 0 else start


def cut(frame: Frame, masks: Masks, window: Window) -> tuple[Frame, Masks]:
    """Cut a window and resize it: the frame bilinear with replicated border, the masks nearest with zeros.

    A window that touches the right or bottom edge drops the last column or row and replicates the one before: the
    published pad is one pixel too wide there.

    Args:
        frame: uint8 RGB ``(H, W, 3)``.
        masks: uint8 0/1 ``(K, H, W)``.
        window: the region; see `crop_window`.

    Returns:
        Canvas uint8 ``(h, w, 3)`` and its masks uint8 ``(K, h, w)``.
    """
    import cv2

    frame_h, frame_w = frame.shape[:2]
    left, top = max(0, -window.x), max(0, -window.y)
    # at least one column or row is left: the pad, which is too wide, would cover a window of one pixel
    right = min(max(window.x + window.width - frame_w + 1, 0), window.width - left - 1)
    bottom = min(max(window.y + window.height - frame_h + 1, 0), window.height - top - 1)
    rows = slice(window.y + top, window.y + window.height - bottom)
    columns = slice(window.x + left, window.x + window.width - right)
    inner, inner_masks = frame[rows, columns], masks[:, rows, columns]
    if top or bottom or left or right:
        inner = cast(Frame, cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_REPLICATE))
        inner_masks = np.pad(inner_masks, ((0, 0), (top, bottom), (left, right)))
    height, width = window.size
    canvas = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
    return cast(Frame, canvas), resize_masks(inner_masks, window.size)


def cut_and_warp(
    frame: Frame, masks: Masks, window: Window, matrix: NDArray[np.float64], mirrored: bool = False
) -> tuple[Frame, Masks]:
    """`cut`, then `warp`, in one resampling; of the mirrored frame, if asked for.

    The maps are those of the two functions, so the geometry is the same (the column that `cut` drops at the right edge
    is not dropped). The first mask is the image's fourth channel, because OpenCV is faster with four than with
    three: it is interpolated linearly and thresholded at one half, others use the nearest pixel.

    Args:
        frame: uint8 RGB ``(H, W, 3)``, as it is on disk.
        masks: uint8 0/1 ``(K, H, W)``.
        window: the region, in the mirrored frame if that is `mirrored`.
        matrix: affine map of the canvas, ``(2, 3)``.
        mirrored: whether the frame is mirrored before it is cut.

    Returns:
        Canvas uint8 ``(h, w, 3)`` and its masks uint8 ``(K, h, w)``.
    """
    import cv2

    (frame_h, frame_w), (height, width) = frame.shape[:2], window.size
    x = frame_w - (window.x + window.width) if mirrored else window.x
    left, top = max(0, -x), max(0, -window.y)
    right, bottom = max(0, x + window.width - frame_w), max(0, window.y + window.height - frame_h)
    rows, columns = slice(window.y + top, window.y + window.height - bottom), slice(x + left, x + window.width - right)
    inner, others = cv2.cvtColor(frame[rows, columns], cv2.COLOR_RGB2RGBA), masks[1:, rows, columns]
    cv2.insertChannel(masks[0, rows, columns] * np.uint8(255), inner, 3)
    if top or bottom or left or right:
        inner = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_REPLICATE)
        inner[:top, :, 3] = inner[window.height - bottom :, :, 3] = 0
        inner[:, :left, 3] = inner[:, window.width - right :, 3] = 0
        others = np.pad(others, ((0, 0), (top, bottom), (left, right)))
    across, down = window.width / width, window.height / height
    resize = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])  # canvas to window pixels
    mirror = np.array([[-1, 0, window.width - 1], [0, 1, 0], [0, 0, 1]]) if mirrored else np.eye(3)
    back = (mirror @ resize @ np.linalg.inv(np.vstack([matrix, [0, 0, 1]])))[:2]
    size, inverted = (width, height), cv2.WARP_INVERSE_MAP
    canvas = cv2.warpAffine(inner, back, size, flags=cv2.INTER_LINEAR | inverted, borderValue=0)
    nearest = [cv2.warpAffine(mask, back, size, flags=cv2.INTER_NEAREST | inverted, borderValue=0) for mask in others]
    first = (cv2.extractChannel(canvas, 3) > 127).view(np.uint8)
    return cast(Frame, cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB)), np.stack([first, *nearest]).astype(
        np.uint8, copy=False
    )


def resize_masks(masks: Masks, size: tuple[int, int]) -> Masks:
    """Nearest-neighbour resize of ``(K, H, W)`` to ``(K, h, w)``; torch's rule floor(i * in / out) in float32."""
    rows, columns = _nearest(masks.shape[1], size[0]), _nearest(masks.shape[2], size[1])
    return masks.take(rows, axis=1).take(columns, axis=2)


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    step = np.float32(source) / np.float32(target)
    index = np.floor(np.arange(target, dtype=np.float32) * step).astype(np.intp)
    return np.minimum(index, source - 1)


def box_in_window(box: Box, window: Window) -> Box:
    """The box in canvas pixels (not clipped)."""
    across, down = window.size[1] / window.width, window.size[0] / window.height
    return Box((box.x - window.x) * across, (box.y - window.y) * down, box.w * across, box.h * down)


def affine_matrix(size: tuple[int, int], degrees: float, scale: float) -> NDArray[np.float64]:
    """Rotation about (w/2, h/2), counter-clockwise positive, and scaling about the same point, ``(2, 3)``."""
    import cv2

    return np.asarray(cv2.getRotationMatrix2D((size[1] / 2, size[0] / 2), degrees, scale), dtype=np.float64)


def warp(frame: Frame, masks: Masks, matrix: NDArray[np.float64]) -> tuple[Frame, Masks]:
    """Apply an affine map: the frame bilinear, the masks nearest, black outside.

    OpenCV is called directly: `albumentations.Affine` turns about the centre of the pixel grid, (w-1)/2, which is half
    a pixel off the published rule.

    Args:
        frame: uint8 ``(h, w, 3)``.
        masks: uint8 ``(K, h, w)``.
        matrix: ``(2, 3)``, source to target.
    """
    import cv2

    size = (frame.shape[1], frame.shape[0])
    warped = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    turned = [cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderValue=0) for mask in masks]
    return cast(Frame, warped), np.stack(turned).astype(np.uint8, copy=False)


def warp_box(box: Box, matrix: NDArray[np.float64], size: tuple[int, int]) -> Box:
    """The upright hull of the box's four mapped corners, clamped to the canvas of `size` (h, w)."""
    x = np.array([box.x, box.x + box.w, box.x, box.x + box.w])
    y = np.array([box.y, box.y, box.y + box.h, box.y + box.h])
    mapped = matrix @ np.stack([x, y, np.ones(4)])
    xs, ys = mapped[0].clip(0, size[1]), mapped[1].clip(0, size[0])
    return Box(float(xs.min()), float(ys.min()), float(np.ptp(xs)), float(np.ptp(ys)))
