"""Forward-backward consistency: what a second pass, backward from each object's last mask, says of a tracked video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics import region_similarity
from vos_zoo.types import Frame, FrameResult, LabelMap

Track = Callable[[Iterable[Frame], Mapping[int, LabelMap]], Iterator[FrameResult]]


def backward_agreement(
    track: Track,
    frame: Callable[[int], Frame],
    masks: Callable[[int], LabelMap],
    frames: Sequence[int],
    ids: Iterable[int],
) -> dict[int, NDArray[np.float64]]:
    """IoU of the mask of each object in each frame and that of the backward pass.

    The backward pass starts from the last mask of each object that is not empty.

    Args:
        track: the tracker.
        frame: number -> frame, uint8 RGB ``(H, W, 3)``; asked for in descending order.
        masks: number -> label map of the forward pass, ``(H, W)``; asked for in ascending order, then descending.
        frames: numbers of the frames that have masks, ascending.
        ids: objects.

    Returns:
        Object id -> IoU in each of `frames`, ``(T,)``; NaN behind the object's last mask, and if it has none.
    """
    found = {identity: np.full(len(frames), np.nan) for identity in ids}
    last: dict[int, int] = {}
    for at, number in enumerate(frames):
        last.update(dict.fromkeys(found.keys() & set(np.unique(masks(number)).tolist()), at))
    if not last:
        return found
    end = max(last.values())
    starts = {
        end - at: np.where(
            np.isin(masks(frames[at]), [i for i, own in last.items() if own == at]), masks(frames[at]), 0
        )
        for at in sorted(set(last.values()), reverse=True)
    }
    for result in track((frame(frames[at]) for at in range(end, -1, -1)), starts):
        at = end - result.index
        ours, theirs = masks(frames[at]), result.label_map()
        for identity in result.ids:
            found[identity][at] = float(region_similarity(ours == identity, theirs == identity))
    return found


def lowest_so_far(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lowest agreement up to each frame, ``(T,)``; NaN where there is none.

    A backward pass that starts from a wrong mask agrees with the wrong masks, and leaves the right ones before them:
    masks are in doubt from the first frame on in which both passes differ.
    """
    return np.where(np.isnan(agreement), np.nan, np.fmin.accumulate(agreement))
