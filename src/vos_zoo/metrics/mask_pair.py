"""Ground truth and results of one video, read frame by frame from two folders of mask files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from vos_zoo.labels import VOID, objects_of, shows_ids
from vos_zoo.metrics.scoring import object_ids_in
from vos_zoo.types import LabelMap
from vos_zoo.video.mask_reader import MaskReader, list_masks
from vos_zoo.video.masks import read_mask


class MaskPair:
    """Label maps of one video; the first ground truth that is read defines the size of all others.

    Args:
        truth: folder of the ground truth, `<frame>.png`.
        results: folder of the results, `<frame>.png`.
        threshold: the smallest level of the one object in both, see `MaskReader`; None reads ids.

    Attributes:
        frames: names of the frames with ground truth, in order.
    """

    def __init__(self, truth: Path, results: Path, threshold: int | None = None) -> None:
        self._folders, self._threshold = (truth, results), threshold
        self._masks = list_masks(truth)
        self._reader = MaskReader(self._masks.values(), threshold)
        self._size: tuple[int, int] | None = None
        self.frames = tuple(self._masks)

    def truth(self, frame: str) -> LabelMap:
        """Ground truth of a frame, uint8 ``(H, W)`` of ids 1..254 and 0; void is background.

        Raises:
            VOSError: the mask is missing, cannot be read, or has another size.
        """
        path = self._masks.get(frame, self._folders[0] / f"{frame}.png")
        labels = self._reader.read(path, size=self._size)
        self._size = (labels.shape[0], labels.shape[1])
        return labels

    def prediction(self, frame: str) -> LabelMap:
        """Result of a frame, uint8 ``(H, W)``; 255 is object 1 if both show one object, else it is kept.

        Raises:
            VOSError: the mask is missing, cannot be read, or has another size.
        """
        labels = read_mask(self._folders[1] / f"{frame}.png", size=self._size, threshold=self._threshold)
        if labels.max(initial=0) < VOID or shows_ids(labels) or not self._one_object:
            return labels
        return objects_of(labels, one_object=True)

    @cached_property
    def _one_object(self) -> bool:
        """Whether the results hold only 0 and 255, and the ground truth one object, id 1."""
        if not MaskReader(list_masks(self._folders[1]).values(), self._threshold).one_object:
            return False
        return all(set(object_ids_in(self._reader.read(path))) <= {1} for path in self._masks.values())
