"""Results as objects of other packages: supervision's `Detections` and FiftyOne's, per frame.

The packages are imported where they are used, and are no dependency. `detected` has the same content as plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import VOID
from vos_zoo.types import LabelMap, UsageError


@dataclass(frozen=True)
class Detected:
    """The objects that are visible in a frame, in ascending order of their ids.

    Attributes:
        ids: object ids, int64 ``(N,)``.
        masks: bool ``(N, H, W)``.
        boxes: float32 ``(N, 4)``, left, top, right, bottom; right and bottom are the last pixel of the mask.
    """

    ids: NDArray[np.int64]
    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]


def detected(labels: LabelMap) -> Detected:
    """The objects of a label map, uint8 ``(H, W)``; 0 and 255 are none."""
    ids = np.array([one for one in np.unique(labels) if one not in (0, VOID)], dtype=np.int64)
    masks = labels[None] == ids[:, None, None]
    boxes = np.zeros((len(ids), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.nonzero(mask)
        box[:] = columns.min(), rows.min(), columns.max(), rows.max()
    return Detected(ids, masks, boxes)


def to_supervision(labels: LabelMap) -> Any:
    """A frame's objects as `supervision.Detections`: ``xyxy``, ``mask``, ``tracker_id`` (the object's id).

    Args:
        labels: label map, uint8 ``(H, W)``, e.g. `FrameResult.label_map`.

    Raises:
        UsageError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise UsageError("to_supervision needs the package supervision: pip install supervision") from error
    found = detected(labels)
    return supervision.Detections(
        xyxy=found.boxes, mask=found.masks, class_id=np.zeros(len(found.ids), dtype=int), tracker_id=found.ids
    )


def to_fiftyone(labels: LabelMap, label: str = "object_{}") -> Any:
    """A frame's objects as `fiftyone.Detections`, for ``sample.frames[number]["..."]``; numbers count from 1.

    Args:
        labels: label map, uint8 ``(H, W)``.
        label: the objects' labels, with {} for the id, which is ``index``, too.

    Raises:
        UsageError: FiftyOne is not installed.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise UsageError("to_fiftyone needs the package fiftyone: pip install fiftyone") from error
    return fiftyone.Detections(detections=[fiftyone.Detection(**one) for one in detection_fields(labels, label)])


def detection_fields(labels: LabelMap, label: str = "object_{}") -> list[dict[str, Any]]:
    """The fields of FiftyOne's `Detection` per object: label, index, box in parts of the frame, mask of the box."""
    height, width = labels.shape
    found, fields = detected(labels), []
    for identity, mask, box in zip(found.ids, found.masks, found.boxes, strict=True):
        left, top, right, bottom = (int(value) for value in box)
        where = [left / width, top / height, (right + 1 - left) / width, (bottom + 1 - top) / height]
        inside = mask[top : bottom + 1, left : right + 1].copy()
        fields.append({"label": label.format(identity), "index": int(identity), "bounding_box": where, "mask": inside})
    return fields
