"""Post-processing of results that users switch on: specks and distant components dropped, holes filled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vos_zoo.engine.track_settings import TrackSettings

_AROUND = np.ones((3, 3), np.uint8)


class Smoother:
    """Changes the results of one video in their order; what is tracked and remembered stays as it is.

    A pixel that is taken from an object gives its probability to the background, a pixel that is filled gets the
    background's. Masks that are given are not changed.

    Args:
        settings: `smooth` says what is done, `smooth_size` and `smooth_holes` up to which size.

    Attributes:
        masks: object id -> its last mask that is not empty, bool ``(H, W)``; for "nearest" alone.
    """

    def __init__(self, settings: TrackSettings) -> None:
        self.steps, self.size, self.holes = settings.smooth, settings.smooth_size, settings.smooth_holes
        self.masks: dict[int, NDArray[np.bool_]] = {}

    def drop(self, ids: Sequence[int]) -> None:
        """Forget objects."""
        for identity in ids:
            self.masks.pop(identity, None)

    def __call__(self, ids: Sequence[int], probabilities: Tensor, given: Sequence[int] = ()) -> Tensor:
        """The probabilities ``(N+1, H, W)`` of the next result, changed; objects in `given` are not."""
        if not self.steps:
            return probabilities
        labels = probabilities.argmax(dim=0).cpu().numpy()
        removed, filled = np.zeros_like(labels), np.zeros_like(labels)
        for channel, identity in enumerate(ids, start=1):
            mask = labels == channel
            if identity not in given:
                kept = self._kept(mask, identity)
                removed[mask & ~kept] = channel
                mask = kept
                if "holes" in self.steps:
                    filled[_holes(mask, labels == 0, self.holes * np.count_nonzero(mask))] = channel
            if "nearest" in self.steps and mask.any():
                self.masks[identity] = mask
        if not removed.any() and not filled.any():
            return probabilities
        return _moved(_moved(probabilities.clone(), removed, into_background=True), filled, into_background=False)

    def _kept(self, mask: NDArray[np.bool_], identity: int) -> NDArray[np.bool_]:
        """The mask without specks and components far from the last mask."""
        import cv2

        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        sizes = stats[:, cv2.CC_STAT_AREA]
        numbers = list(range(1, count))
        if "specks" in self.steps and numbers:
            largest = max(numbers, key=lambda number: sizes[number])
            numbers = [number for number in numbers if sizes[number] >= self.size or number == largest]
        if "nearest" in self.steps and len(numbers) > 1 and identity in self.masks:
            last = self.masks[identity]
            away = cv2.distanceTransform((~last).astype(np.uint8), cv2.DIST_L2, 5)
            distances = {number: float(away[parts == number].min()) for number in numbers}
            reach = max(min(distances.values()), float(np.count_nonzero(last)) ** 0.5)
            numbers = [number for number in numbers if distances[number] <= reach]
        return np.isin(parts, numbers)


def _holes(mask: NDArray[np.bool_], ground: NDArray[np.bool_], size: float) -> NDArray[np.bool_]:
    """Parts of the background, smaller than `size` pixels, that the mask alone surrounds."""
    import cv2

    filled = np.zeros_like(mask)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(ground.astype(np.uint8), connectivity=4)
    for number in range(1, count):
        left, top, width, height, area = stats[number]
        if area >= size:
            continue
        window = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        part = parts[window] == number
        inside = left > 0 and top > 0 and left + width < mask.shape[1] and top + height < mask.shape[0]
        ring = (cv2.dilate(part.astype(np.uint8), _AROUND) > 0) & ~part
        if inside and mask[window][ring].all():
            filled[window] |= part
    return filled


def _moved(probabilities: Tensor, channels: NDArray[np.int64], into_background: bool) -> Tensor:
    """Move probability between the background and the object of each pixel, `channels` ``(H, W)``, 0 for none."""
    objects = torch.from_numpy(channels).to(probabilities.device)
    own = probabilities.gather(0, objects[None])[0]
    taken = own if into_background else probabilities[0].clone()
    change = torch.where(objects > 0, taken, torch.zeros_like(taken))
    sign = 1.0 if into_background else -1.0
    probabilities[0] += sign * change
    return probabilities.scatter_add_(0, objects[None], -sign * torch.where(objects > 0, change, 0.0)[None])
