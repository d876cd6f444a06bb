"""The meaning of mask values: one rule for files, arrays, data sets and scores.

0 is the background, 1 to 254 are object ids. The meaning of 255 is decided by all masks of a video (or of a request)
together: if it is the only value besides 0 it is one object, id 1; with ids it is void and belongs to no object. A
mask with soft edges holds grey levels instead of ids; it is thresholded on request and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import LabelMap, UsageError

VOID = 255
"""With object ids: pixels that belong to no object. Alone: the one object of a black-and-white mask."""
MIN_ID, MAX_ID = 1, 254
"""Range of object ids."""
SOFT_CURE = (
    "threshold it to one object (--mask-threshold 128, data.mask_threshold=128, mask_threshold=128) "
    "or save a label map of object ids"
)
_SAFE_ID = 16  # an anti-aliased edge has higher levels than this
_MANY_LEVELS = 16
_SIDE_BY_SIDE = 0.7  # share of an edge's pixels that touch another level
_WHITE = 250  # minimum level of a white mask after resampling
_RINGING = 12  # maximum change of pixels around an edge by JPEG
_OUTSIDE = 0.4  # minimum share of the pixels of a void ring that touch background


def shows_ids(labels: LabelMap) -> bool:
    """Whether a label map, uint8 ``(H, W)``, has a value of 1..254."""
    return bool(((labels != 0) & (labels != VOID)).any())


def shows_one_object(maps: Iterable[LabelMap]) -> bool:
    """Whether 255 stands for the one object of these masks: it occurs, and no mask has an id of 1..254.

    Args:
        maps: label maps, uint8 ``(H, W)``, of one video; consumed only as far as needed.
    """
    found = False
    for labels in maps:
        if shows_ids(labels):
            return False
        found = found or bool(labels.any())
    return found


def objects_of(labels: LabelMap, one_object: bool) -> LabelMap:
    """The objects of a label map, uint8 ``(H, W)`` of 0..254.

    Args:
        labels: label map, uint8 ``(H, W)``.
        one_object: whether 255 is object 1 (`shows_one_object`); otherwise it becomes background.
    """
    if labels.max(initial=0) < VOID:
        return labels
    return np.where(labels == VOID, np.uint8(one_object), labels)


def check_threshold(threshold: Any, name: str = "mask_threshold") -> int | None:
    """A threshold for masks: None, or a whole number of 1..255.

    Raises:
        UsageError: it is neither.
    """
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | np.integer) or not 1 <= threshold <= 255:
        raise UsageError(f"{name}: {threshold!r} must be a whole number from 1 to 255, such as 128 for half")
    return int(threshold)


def over_threshold(levels: NDArray[np.uint8], threshold: int) -> LabelMap:
    """One object, id 1, where grey levels, uint8 ``(H, W)``, reach a threshold; a mask of 0 and 1 is read as 0 and 255.

    Args:
        levels: grey levels.
        threshold: the smallest level of the object, 1..255.
    """
    smallest = min(threshold, 1) if levels.max(initial=0) == 1 else threshold
    return (levels >= smallest).astype(np.uint8)


def as_label_map(values: Any, what: str, *, dimensions: int = 2) -> NDArray[np.uint8]:
    """An array or tensor of integers as label map(s), uint8.

    Args:
        values: ``(H, W)``, or ``(T, H, W)`` with `dimensions=3`; 0 is background, 1..254 are ids, 255 see `objects_of`.
        what: its name, for the message.
        dimensions: number of axes it must have.

    Raises:
        UsageError: another type, another number of axes, or values outside 0..255.
    """
    array = to_array(values, what)
    axes = "(H, W)" if dimensions == 2 else "(T, H, W)"
    if array.ndim != dimensions or not array.size:
        raise UsageError(f"{what} is {array.dtype} {array.shape}; a label map is {axes}, 0..255")
    if array.dtype.kind not in "iu":
        raise UsageError(
            f"{what} is {array.dtype} {array.shape}; a label map holds object ids as integers 0..255: "
            f"{'mask.astype(np.uint8)' if array.dtype.kind == 'b' else '(mask > 0.5).astype(np.uint8)'} is object 1"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > VOID:
        raise UsageError(f"{what} has the values {low}..{high}; label maps hold ids 1..254 in 0..255, so renumber them")
    return array.astype(np.uint8, copy=False)


def to_array(values: Any, what: str) -> NDArray[Any]:
    """Convert to an array; torch tensors may be on any device.

    Raises:
        UsageError: it cannot be converted.
    """
    try:
        return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{what} is a {type(values).__name__} that cannot be converted to an array ({error}); give a label map"
        ) from error


def has_soft_edges(levels: NDArray[np.uint8], *, ids: bool = False) -> bool:
    """Whether values are the grey levels of an anti-aliased (or JPEG-coded) mask, and not object ids.

    The levels of an edge fill no area (no 3x3 pixels of one level) and are adjacent; ids fill areas. JPEG adds
    values next to 0 and next to 255. If all values are at most 16 they are always ids.

    Args:
        levels: uint8 ``(H, W)``.
        ids: whether the values are palette indices; then only an edge of many values is soft.
    """
    values = np.flatnonzero(np.bincount(levels.ravel(), minlength=256))
    edge = values[(values > 0) & (values < VOID)]
    if not len(edge) or edge[-1] <= _SAFE_ID or (values[-1] < _WHITE and len(edge) < 3):
        return False
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(levels, kernel), cv2.dilate(levels, kernel)
    lowest = cv2.erode(np.where(levels == 0, np.uint8(255), levels), kernel)
    flat, touching = (
        low == high,
        (high != levels) | (lowest != levels),
    )  # 3x3 of one level; next to another level except 0
    solid = np.unique(levels[flat & (levels > 0)])
    top = values[-1]
    inside = top - 1 in solid and (low[levels == top] == 0).mean() < _OUTSIDE
    rung = min((edge <= _RINGING).sum(), (edge >= VOID - _RINGING).sum()) > 1 and (top in solid or inside)
    near_white = (levels >= VOID - _RINGING) & (levels < values[-1]) & ~flat
    if not ids and rung and near_white.any() and touching[near_white].mean() > _SIDE_BY_SIDE:
        return True
    thin = edge[~np.isin(edge, solid)]
    if not len(thin) or thin[-1] <= _SAFE_ID or touching[np.isin(levels, thin)].mean() < _SIDE_BY_SIDE:
        return False
    plateaus = solid[solid < values[-1]]
    if len(thin) >= max(_MANY_LEVELS, 2 * len(plateaus)):
        return True
    return not ids and not len(plateaus) and len(thin) >= (1 if len(solid) and solid[-1] >= _WHITE else 3)
