"""Cut-outs of photographs as sprites with soft borders.

Data shape: a sprite's pixels are premultiplied, uint8 ``(h, w, 4)``: red, green and blue, each times the cover, and the
cover, 0..255. A pixel belongs to the object if the cover is above one half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.composed.sources import Extent, Found, Sources, extent_of
from vos_zoo.types import Frame

_MARGIN = 4  # pixels of the sprite beyond the object, for the soft border


@dataclass(frozen=True)
class Sprite:
    """A cut-out at one time.

    Attributes:
        pixels: premultiplied colours and cover, uint8 ``(h, w, 4)``.
        cover: the cover alone, uint8 ``(h, w)``.
        half: half of width and height, in pixels of the object `Treatment.height` high.
        offset: from the object's centre of mass to the centre of the sprite, x and y, in the same unit.
    """

    pixels: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    half: tuple[float, float]
    offset: tuple[float, float]


@dataclass(frozen=True)
class Treatment:
    """Settings of a cut-out.

    Attributes:
        height: height in pixels of the object's extent at time 0.
        mirrored: whether it is mirrored.
        feather: standard deviation of the blur of its border, in sprite pixels.
        colour: matrix ``(3, 4)`` of its colours (see `warps.colour_matrix`).
    """

    height: float
    mirrored: bool
    feather: float
    colour: NDArray[np.float32]


def make_sprite(sources: Sources, found: Found, treatment: Treatment, time: int) -> Sprite | None:
    """The sprite of an object at a time; None if its source does not show it.

    The object's colours are extended beyond it, so that its soft border blends them instead of its old background with
    the new one.
    """
    import cv2

    labels = sources.labels(found.shot, time)
    assert labels is not None, "objects have masks"
    mask = (labels == found.identity).astype(np.uint8)
    extent = found.extent if len(found.shot.frames) == 1 else extent_of(mask)
    if extent is None:
        return None
    scale = treatment.height / (found.extent.bottom - found.extent.top)
    reduction = reduction_for(scale)
    margin = int(np.ceil(_MARGIN / min(scale, 1.0)))
    extent = _aligned(extent, margin, reduction)
    picture = sources.frame(found.shot, time, reduction)
    colours = _window(picture, Extent(*(side // reduction for side in extent)), cv2.BORDER_REPLICATE)
    cover = _window(mask, extent, cv2.BORDER_CONSTANT) * np.uint8(255)
    width = max(round((extent.right - extent.left) * min(scale, 1.0)), 4)
    height = max(round((extent.bottom - extent.top) * min(scale, 1.0)), 4)
    colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
    moments = cv2.moments(cover)
    if moments["m00"] < 255:
        return None
    pixels = _premultiplied(cv2.transform(_continued(colours, cover), treatment.colour), cover, treatment.feather)
    across = moments["m10"] / moments["m00"] + 0.5
    down = moments["m01"] / moments["m00"] + 0.5
    if treatment.mirrored:
        pixels, across = cv2.flip(pixels, 1), width - across
    grown = max(scale, 1.0)
    return Sprite(
        pixels,
        np.ascontiguousarray(pixels[..., 3]),
        (width / 2 * grown, height / 2 * grown),
        ((width / 2 - across) * grown, (height / 2 - down) * grown),
    )


def reduction_for(scale: float) -> int:
    """The reduction (1, 2, 4 or 8) at which an image shown at a scale may be decoded."""
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor * scale <= 1)


def mean_colour(sources: Sources, found: Found, height: float) -> NDArray[np.float64]:
    """Mean red, green and blue of an object that will be `height` pixels high, float64 ``(3,)``."""
    import cv2

    reduction = reduction_for(height / (found.extent.bottom - found.extent.top))
    frame, labels = sources.frame(found.shot, 0, reduction), sources.labels(found.shot, 0)
    assert labels is not None, "objects have masks"
    mask = (labels[::reduction, ::reduction] == found.identity).astype(np.uint8)
    return np.array(cv2.mean(frame, mask)[:3])


def _aligned(extent: Extent, margin: int, reduction: int) -> Extent:
    """The extent with a margin, moved outwards to multiples of the reduction."""
    top, left = (reduction * ((side - margin) // reduction) for side in (extent.top, extent.left))
    bottom, right = (-reduction * (-(side + margin) // reduction) for side in (extent.bottom, extent.right))
    return Extent(top, bottom, left, right)


def _window(pixels: NDArray[np.uint8], extent: Extent, border: int) -> NDArray[np.uint8]:
    """A part of an image; pixels beyond it are filled by OpenCV's `border` mode."""
    import cv2

    height, width = pixels.shape[:2]
    top, bottom = (min(max(side, 0), height) for side in (extent.top, extent.bottom))
    left, right = (min(max(side, 0), width) for side in (extent.left, extent.right))
    missing = (top - extent.top, extent.bottom - bottom, left - extent.left, extent.right - right)
    part = pixels[top:bottom, left:right]
    return cv2.copyMakeBorder(part, *missing, border) if any(missing) else part


def _continued(colours: Frame, cover: NDArray[np.uint8]) -> Frame:
    """The colours, with those of the object's inner part extended over its border and beyond."""
    import cv2

    inner = cv2.erode((cover > 250).view(np.uint8), np.ones((3, 3), np.uint8))
    weight = inner.astype(np.float32)
    near = cv2.multiply(colours, cv2.merge([inner, inner, inner])).astype(np.float32)
    filled = colours.copy()
    for size in (15, 5):  # large window first: pixels within the smaller window are overwritten
        total = cv2.boxFilter(weight, -1, (size, size), normalize=False, borderType=cv2.BORDER_CONSTANT)
        sums = cv2.boxFilter(near, -1, (size, size), normalize=False, borderType=cv2.BORDER_CONSTANT)
        reached = (total > 0.5) & (inner == 0)
        filled[reached] = (sums[reached] / total[reached][:, None] + 0.5).astype(np.uint8)
    return filled


def _premultiplied(colours: Frame, cover: NDArray[np.uint8], feather: float) -> NDArray[np.uint8]:
    """Colours times the cover with a softened border, uint8 ``(h, w, 4)``."""
    import cv2

    soft = cv2.GaussianBlur(cover, (0, 0), feather)
    covered = cv2.multiply(colours, cv2.merge([soft, soft, soft]), scale=1 / 255)
    return cast("NDArray[np.uint8]", cv2.merge([*cv2.split(covered), soft]))
