"""Which frames a query is compared with (sec. 3.4): annotated frames always, the rest sampled evenly from the history.

Frames of a video are numbered from 0; all lists ascend. `support_set` is the rule as published. A memory of bounded
size keeps a subset of the history that `most_redundant` thins evenly, and applies the same rule to what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from vos_zoo.types import UsageError

MODES = ("sampled", "first", "previous")
PICKS = ("last", "center", "center_plus_previous")


def support_set(
    history: Sequence[int],
    annotated: Sequence[int],
    size: int = 5,
    pick: str = "last",
    mode: str = "sampled",
    always_first: bool = True,
    keep: str = "annotated",
) -> list[int]:
    """The support set of the frame that comes next.

    The frames that are not annotated are cut into as many equal segments as there is room for, and each gives one.

    Args:
        history: frames that can be chosen, annotated ones included.
        annotated: frames in which somebody gave masks.
        size: frames wanted; more where more are annotated.
        pick: which frame of a segment: its "last" (so the previous frame is always in), its "center", or centres and
            the previous frame ("center_plus_previous").
        mode: "sampled", or one frame alone, "first" or "previous".
        always_first: annotated frames are always in; False samples all frames alike.
        keep: which annotated frames are always in: all ("annotated"), or the "first" of them.

    Returns:
        The chosen frames, ascending.
    """
    if size < 1:
        raise UsageError(f"track.support_size is {size}; it must be at least 1")
    if mode == "first":
        return [min(annotated)]
    if mode == "previous":
        return [history[-1]]
    pinned = sorted(annotated)[: 1 if keep == "first" else None] if always_first else []
    others = [frame for frame in history if frame not in pinned]
    count = min(len(others), max(1, size - len(pinned)))
    return sorted({*pinned, *_segments(others, count, pick)})


def _segments(frames: Sequence[int], count: int, pick: str) -> list[int]:
    """One frame of each of `count` equal segments."""
    total = len(frames)
    if pick == "last" or count == 0:
        return [frames[j * total // count - 1] for j in range(1, count + 1)]
    if pick == "center":
        return [frames[(2 * j - 1) * total // (2 * count)] for j in range(1, count + 1)]
    return [*_segments(frames[:-1], count - 1, "center"), frames[-1]]


def most_redundant(frames: Sequence[int], pinned: Sequence[int]) -> int:
    """The frame that a full memory gives up: the one whose two neighbours are closest, which leaves the smallest gap.

    Repeated after every new frame, this keeps the history evenly spaced at every length, without knowing it in advance.
    The oldest and the newest frame stay, and those that are pinned; ties go to the oldest.

    Args:
        frames: the frames held, ascending; one between the ends is not pinned.
        pinned: frames that stay.
    """
    free = [i for i in range(1, len(frames) - 1) if frames[i] not in set(pinned)]
    return frames[min(free, key=lambda i: frames[i + 1] - frames[i - 1])]
