"""The choice of support frames (sec. 3.4): annotated frames always, the rest sampled evenly from the history.

Frames of a video are numbered from 0; all lists are ascending. `support_set` is the published rule. A memory of bounded
size keeps a subset of the history that `most_redundant` thins evenly, and applies the same rule to it.
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
    """The support set of the next frame.

    The frames that are not annotated are divided into equal segments, one per remaining place, and one is taken of
    each.

    Args:
        history: frames that can be chosen, annotated ones included.
        annotated: frames with given masks.
        size: number of frames; more if more are annotated.
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
    """The frame to drop from a full memory: the one whose two neighbours are closest, which leaves the smallest gap.

    Repeated after every new frame, this keeps the history evenly spaced without knowing its length in advance.
    The oldest, the newest and pinned frames are kept; of ties the oldest is dropped.

    Args:
        frames: the frames in memory, ascending; at least one between the ends is not pinned.
        pinned: frames to keep.
    """
    free = [i for i in range(1, len(frames) - 1) if frames[i] not in set(pinned)]
    return frames[min(free, key=lambda i: frames[i + 1] - frames[i - 1])]
