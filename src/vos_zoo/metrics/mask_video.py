"""A video to score: ground truth and results frame by frame, from wherever they come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vos_zoo.labels import MAX_ID, VOID
from vos_zoo.types import LabelMap


@dataclass(frozen=True)
class MaskVideo:
    """Truth and results of one video as label maps, uint8 ``(H, W)``, which are asked for one at a time.

    Where objects overlap (SA-V) each object is a video of its own, with `name` in common and one label.

    Attributes:
        name: name of the video.
        frames: names of the frames with ground truth, in order.
        truth: frame name -> label map as it is stored: ids 1..254, 0, and 255, whose meaning the protocol knows.
        prediction: frame name -> label map of the same size; raises `VOSError` where it is missing.
        predicted: names of the frames that have a result, in order; None where all have one.
        objects: label -> name of the object where that is not the number.
    """

    name: str
    frames: tuple[str, ...]
    truth: Callable[[str], LabelMap]
    prediction: Callable[[str], LabelMap]
    predicted: tuple[str, ...] | None = None
    objects: Mapping[int, str] = field(default_factory=dict)

    def object_name(self, label: int) -> str:
        """What the object is called in reports."""
        return self.objects.get(label, str(label))


def with_listed_void(video: MaskVideo, ids: Collection[int]) -> tuple[MaskVideo, dict[int, int]]:
    """The video, and id -> label; where a meta file lists 255 as an object it is one, under a label that is free.

    Args:
        video: the video.
        ids: the ids that the meta file lists.
    """
    if VOID not in ids:
        return video, {one: one for one in ids}
    free = max({*range(1, MAX_ID + 1)} - {*ids})

    def moved(labels: LabelMap) -> LabelMap:
        return np.where(labels == VOID, np.uint8(free), np.where(labels == free, np.uint8(0), labels))

    truth, prediction = video.truth, video.prediction
    objects = {**video.objects, free: video.object_name(VOID)}
    changed = replace(
        video,
        truth=lambda frame: moved(truth(frame)),
        prediction=lambda frame: moved(prediction(frame)),
        objects=objects,
    )
    return changed, {one: free if one == VOID else one for one in ids}
