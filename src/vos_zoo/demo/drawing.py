"""What a user draws on one frame, as label maps: brush strokes, boxes turned into masks, masks from files."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import LabelMap, UsageError

MAX_RADIUS = 500
"""Largest radius of a brush, in pixels."""
_SHIFT = 4  # OpenCV draws at positions of 1/16 pixel


@dataclass(frozen=True)
class Stroke:
    """A line drawn by a round brush.

    Attributes:
        points: (x, y) in pixels of the frame, at least one; may leave the frame.
        radius: of the brush, in pixels.
        erase: whether pixels are taken from the object instead of added.
    """

    points: Sequence[tuple[float, float]]
    radius: float
    erase: bool = False

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The covered pixels of a frame of `size` (height, width), bool ``(H, W)``.

        Raises:
            UsageError: there is no point, a number is not finite, or the radius is out of range.
        """
        line = np.asarray(self.points, dtype=np.float64)
        if line.ndim != 2 or line.shape[1] != 2 or not len(line) or not np.isfinite(line).all():
            raise UsageError("the stroke has no points (x, y) in pixels of the frame; draw it again")
        if not 0 < self.radius <= MAX_RADIUS:
            raise UsageError(f"the brush has radius {self.radius:g}; choose one of 1 to {MAX_RADIUS} pixels")
        limit = 4.0 * max(size) + MAX_RADIUS  # keeps far points in the range of OpenCV's integers
        fixed = np.rint(np.clip(line, -limit, limit) * (1 << _SHIFT)).astype(np.int32)
        canvas = np.zeros(size, dtype=np.uint8)
        radius = round(self.radius * (1 << _SHIFT))
        for x, y in fixed.tolist():
            cv2.circle(canvas, (x, y), radius, 1, -1, cv2.LINE_8, _SHIFT)
        if len(fixed) > 1:
            thickness = max(1, round(2 * self.radius))
            cv2.polylines(canvas, [fixed[:, None]], False, 1, thickness, cv2.LINE_8, _SHIFT)
        return canvas.astype(bool)


@dataclass(frozen=True)
class Drawing:
    """What is given of some objects in one frame; it overrules what was tracked there. Immutable.

    Attributes:
        size: (height, width) of the frame.
        objects: ids that are given. One without a pixel is said to be out of sight.
        packed: the label map, compressed.
    """

    size: tuple[int, int]
    objects: frozenset[int] = frozenset()
    packed: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, labels: LabelMap, objects: frozenset[int]) -> Drawing:
        """The drawing of a label map, uint8 ``(H, W)``, that holds `objects` alone."""
        return cls((labels.shape[0], labels.shape[1]), objects, zlib.compress(labels.tobytes(), 1))

    @property
    def labels(self) -> LabelMap:
        """Label map of the given objects, uint8 ``(H, W)``, 0 elsewhere."""
        if not self.packed:
            return np.zeros(self.size, dtype=np.uint8)
        return np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8).reshape(self.size).copy()

    @cached_property
    def visible(self) -> frozenset[int]:
        """The given objects that have a pixel."""
        return frozenset(np.unique(self.labels).tolist()) - {0}

    def over(self, tracked: LabelMap | None) -> LabelMap:
        """The frame's label map, uint8 ``(H, W)``: the given objects over the others of `tracked`."""
        own = self.labels
        if tracked is None:
            return own
        rest = np.where(np.isin(tracked, list(self.objects)), np.uint8(0), tracked)
        return np.where(own > 0, own, rest)

    def with_masks(self, masks: Mapping[int, NDArray[np.bool_]]) -> Drawing:
        """The drawing with these objects' masks, bool ``(H, W)``, instead of earlier ones, on top of others."""
        labels = self.labels
        labels[np.isin(labels, list(masks))] = 0
        for identity, mask in masks.items():
            labels[mask] = identity
        return Drawing.of(labels, self.objects | masks.keys())

    def with_stroke(self, stroke: Stroke, identity: int, tracked: LabelMap | None) -> Drawing:
        """The drawing after a stroke of one object, which starts from its mask in this frame.

        Args:
            stroke: what is added or erased.
            identity: the object.
            tracked: label map of the frame before anything was drawn, uint8 ``(H, W)``; None: nothing.
        """
        before = self.over(tracked) == identity
        covered = stroke.mask(self.size)
        return self.with_masks({identity: before & ~covered if stroke.erase else before | covered})

    def without(self, identity: int) -> Drawing:
        """The drawing without an object: what was tracked of it counts again."""
        labels = self.labels
        labels[labels == identity] = 0
        return Drawing.of(labels, self.objects - {identity})
