"""Boundary accuracy F: precision and recall of contours within a tolerance (DAVIS 2016, Perazzi et al., sec. 5).

The official toolkit works on whole frames. Contours can only lie next to the object, and a pixel that a smaller disk
already matches needs no larger one, so only bounding boxes are processed here; the counts, and so F,
are bit-identical (a test compares them with the full-frame form).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vos_zoo.metrics._masks import Mask, as_mask, per_frame, span_of, span_of_object, union_span
from vos_zoo.types import UsageError

_SHARE_OF_DIAGONAL = 0.008


def boundary_tolerance(height: int, width: int) -> int:
    """Tolerance of a contour in pixels: 0.8 % of the image diagonal, rounded up."""
    return math.ceil(_SHARE_OF_DIAGONAL * math.sqrt(height**2 + width**2))


def boundary_map(mask: ArrayLike) -> Mask:
    """Contour pixels of a mask: those that differ from their right, lower or lower-right neighbour.

    The image border is not a contour: in the last row only the right neighbour is compared, in the last column only
    the lower one, and a mask that fills the image has no contour.

    Args:
        mask: bool ``(H, W)``.

    Returns:
        bool ``(H, W)``.

    Raises:
        UsageError: `mask` is not ``(H, W)`` or not boolean.
    """
    array = as_mask(mask, "mask")
    if array.ndim != 2:
        raise UsageError(f"mask: boundary_map takes one frame (H, W), got shape {array.shape}; index the frame")
    return _contour(array).astype(bool)


def boundary_accuracy(
    prediction: ArrayLike, truth: ArrayLike, *, void: ArrayLike | None = None, tolerance: int | None = None
) -> float | NDArray[np.float64]:
    """F: harmonic mean of the precision and the recall of one object's contour.

    A contour pixel is matched if the other contour has a pixel within the disk x^2 + y^2 <= tolerance^2; several may
    share a partner. If neither mask has a contour F is 1, if only one has, it is 0. A mask that fills the
    image has no contour, so against an empty one F = 1 (as in the official toolkit) although J = 0.

    Args:
        prediction: bool ``(H, W)`` or ``(T, H, W)``; of integer masks every non-zero pixel is the object.
        truth: the same shape.
        void: pixels set to background in both masks before the contours are taken, the same shape.
        tolerance: radius in pixels; None takes `boundary_tolerance` of the masks' size.

    Returns:
        A float in 0..1, or float64 ``(T,)`` for ``(T, H, W)``.

    Raises:
        UsageError: the shapes differ, the arrays are not masks, or the tolerance is negative or not an integer.

    Examples:
        >>> import numpy as np
        >>> truth = np.zeros((60, 80), bool)
        >>> truth[10:40, 20:50] = True
        >>> boundary_accuracy(truth, truth)
        1.0
        >>> boundary_accuracy(np.roll(truth, 1, axis=1), truth)  # one pixel is within the tolerance
        1.0
    """
    if tolerance is not None and (int(tolerance) != tolerance or tolerance < 0):
        raise UsageError(f"tolerance: {tolerance} is not a number of pixels; give an integer >= 0, or None for 0.8 %")
    return per_frame(_f_measure, prediction, truth, void, tolerance=tolerance)


def _f_measure(prediction: Mask, truth: Mask, tolerance: int | None) -> float:
    radius = boundary_tolerance(*truth.shape) if tolerance is None else int(tolerance)
    return f_measure(prediction, truth, partial(_matched, radius=radius))


def f_measure(
    prediction: Mask, truth: Mask, matched: Callable[[NDArray[np.uint8], NDArray[np.uint8], int], int]
) -> float:
    """F of one object with any rule of which contour pixels match.

    Args:
        prediction: bool ``(H, W)``.
        truth: the same shape.
        matched: (contour, other contour, number of the first one's pixels) -> how many of them match, of uint8 0/1
            arrays that are cut to the objects with one pixel more on each side.
    """
    span = union_span(span_of_object(prediction), span_of_object(truth))
    if span is None:
        return 1.0
    # One pixel more than the objects need: contours lie up to one pixel left of and above them, and inside the image
    # the last row and column must be empty, so that the rules for the image border do not apply in a crop.
    window = span.padded(1, truth.shape).window
    predicted, true = _contour(prediction[window]), _contour(truth[window])
    n_predicted, n_true = cv2.countNonZero(predicted), cv2.countNonZero(true)
    if not n_predicted or not n_true:
        return float(n_predicted == n_true)
    precision = matched(predicted, true, n_predicted) / n_predicted
    recall = matched(true, predicted, n_true) / n_true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def matched_by_kernel(
    contour: NDArray[np.uint8], other: NDArray[np.uint8], count: int, kernel: NDArray[np.uint8]
) -> int:
    """How many of the `count` pixels of `contour` have a pixel of `other` under a kernel.

    Args:
        contour: uint8 0/1 ``(h, w)``.
        other: the same shape.
        count: number of the contour's pixels.
        kernel: uint8 0/1 ``(n, n)``, which need not be symmetric: cell (i, j) is the neighbour (i - n//2, j - n//2).
    """
    return count - cv2.countNonZero(cv2.subtract(contour, _dilate(other, kernel)))


def _contour(mask: Mask) -> NDArray[np.uint8]:
    """Contour of `mask` as uint8 0/1, by the rules of `boundary_map`.

    A pixel differs from one of its three neighbours exactly if, in the 2x2 block to the right and below, two pixels
    side by side differ in the upper or the lower row, or the left two differ.
    """
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    contour = np.zeros_like(pixels)
    flat = pixels.reshape(-1)  # one long row is faster than many short ones; it wraps around only in the last column
    np.bitwise_xor(flat[:-1], flat[1:], out=contour.reshape(-1)[:-1])
    contour[:, -1] = 0
    contour[:-1] |= contour[1:]
    contour[:-1] |= pixels[:-1] ^ pixels[1:]
    return contour


def _matched(contour: NDArray[np.uint8], other: NDArray[np.uint8], count: int, radius: int) -> int:
    """Number of the `count` pixels of `contour` with a pixel of `other` within the disk of `radius`.

    Most lie within the largest square inside the disk, which is cheap to test (a square splits into a row and a
    column); the disk itself is only tested for the rest: pixel by pixel if that is less work than a dilation.
    """
    left = _array(cv2.subtract(contour, _dilate(other, _square(radius))))
    span = span_of(left)
    if span is None:
        return count
    window = span.padded(radius, contour.shape).window
    left, other = left[window], other[window]
    remaining = cv2.countNonZero(left)
    if remaining * _disk(radius).size > other.size:
        return matched_by_kernel(left, other, remaining, _disk(radius)) + count - remaining
    return count - remaining + _with_partner(left, other, radius)


def _with_partner(contour: NDArray[np.uint8], other: NDArray[np.uint8], radius: int) -> int:
    """Number of pixels of `contour` with one of `other` within the disk of `radius`, tested pixel by pixel."""
    padded = np.pad(other, radius)
    offset_rows, offset_columns = np.nonzero(_disk(radius))
    columns, rows = _array_of_points(cv2.findNonZero(contour))
    width = padded.shape[1]
    corners = rows * width + columns  # of the disk's bounding square, in the padded image
    neighbours = corners[:, None] + (offset_rows * width + offset_columns)
    return int(np.count_nonzero(padded.ravel()[neighbours].any(axis=1)))


def _dilate(contour: NDArray[np.uint8], kernel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Outside the image is background: OpenCV's default border for dilation is the smallest value.
    return _array(cv2.dilate(contour, kernel))


def _array(image: Any) -> NDArray[np.uint8]:
    """OpenCV's result typed as an array (its type stubs say `MatLike`)."""
    return np.asarray(image, dtype=np.uint8)


def _array_of_points(points: Any) -> NDArray[np.int64]:
    """OpenCV's list of points as integers ``(2, N)``, columns first."""
    return np.asarray(points, dtype=np.int64).reshape(-1, 2).T


@cache
def _disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


@cache
def _square(radius: int) -> NDArray[np.uint8]:
    half = math.isqrt(radius * radius // 2)  # the largest h with h^2 + h^2 <= radius^2
    return np.ones((2 * half + 1, 2 * half + 1), dtype=np.uint8)
