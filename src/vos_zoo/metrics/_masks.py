"""Shared by J and F: checking a pair of masks, iterating over frames, the bounding box of an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vos_zoo.types import UsageError

Mask: TypeAlias = NDArray[np.bool_]
"""Pixels of one object, bool ``(H, W)`` or ``(T, H, W)``."""


class Span(NamedTuple):
    """Rows ``top <= y < bottom`` and columns ``left <= x < right`` of an image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The span as an index into ``(H, W)`` arrays."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def padded(self, margin: int, shape: tuple[int, ...]) -> Span:
        """The span grown by `margin` pixels on each side, within an image of `shape` (H, W)."""
        return Span(
            max(self.top - margin, 0),
            min(self.bottom + margin, shape[0]),
            max(self.left - margin, 0),
            min(self.right + margin, shape[1]),
        )


def span_of(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Span | None:
    """The smallest span with every non-zero pixel of `mask`, bool or uint8 ``(H, W)``; or None."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Span(y, y + height, x, x + width) if width else None


def span_of_object(mask: Mask) -> Span | None:
    """`span_of` for a whole frame, contiguous bool ``(H, W)``, by a search of its bytes, which is much faster."""
    flat = mask.tobytes()  # True is byte 1
    first = flat.find(1)
    if first < 0:
        return None
    top, bottom = first // mask.shape[1], flat.rfind(1) // mask.shape[1] + 1
    columns = mask[top:bottom].any(axis=0).tobytes()
    return Span(top, bottom, columns.find(1), columns.rfind(1) + 1)


def union_span(first: Span | None, second: Span | None) -> Span | None:
    """The smallest span that contains both."""
    if first is None or second is None:
        return first or second
    return Span(
        min(first.top, second.top),
        max(first.bottom, second.bottom),
        min(first.left, second.left),
        max(first.right, second.right),
    )


def as_mask(value: ArrayLike, name: str) -> Mask:
    """`value` as a contiguous bool array; every non-zero pixel is the object.

    Raises:
        UsageError: `value` has neither two nor three axes, no pixel, or holds floating-point numbers.
    """
    array = np.asarray(value)
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise UsageError(f"{name}: a mask is (H, W) or (T, H, W), got shape {array.shape}; index or stack the frames")
    if array.dtype.kind not in "biu":
        raise UsageError(f"{name}: masks are boolean, got {array.dtype}; threshold probabilities first, e.g. p > 0.5")
    return np.ascontiguousarray(array, dtype=bool)


def per_frame(
    measure: Callable[..., float], prediction: ArrayLike, truth: ArrayLike, void: ArrayLike | None, **options: Any
) -> Any:
    """`measure` of one pair of masks (a float) or of each of `T` pairs (float64 ``(T,)``), without the void pixels.

    Raises:
        UsageError: the shapes differ, or an array is not a mask.
    """
    named = {"prediction": as_mask(prediction, "prediction"), "truth": as_mask(truth, "truth")}
    if void is not None:
        named["void"] = as_mask(void, "void")
    if len({mask.shape for mask in named.values()}) > 1:
        shapes = ", ".join(f"{name} {mask.shape}" for name, mask in named.items())
        raise UsageError(f"masks differ in shape: {shapes}; resize them by nearest neighbour to one size")
    first, second = named["prediction"], named["truth"]
    if void is not None:
        first, second = first & ~named["void"], second & ~named["void"]
    if first.ndim == 2:
        return measure(first, second, **options)
    return np.array([measure(*pair, **options) for pair in zip(first, second, strict=True)], dtype=np.float64)
