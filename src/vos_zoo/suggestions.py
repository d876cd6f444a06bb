"""Which masks to correct next: those whose correction is expected to help most."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import UsageError

Curve = NDArray[np.float64]
"""A number per frame of a video, ``(T,)``."""
REACH = 0.15
"""The distance, as a share of the video, over which what a correction gains falls to 1/e."""


@dataclass(frozen=True)
class Suggestion:
    """A mask to correct.

    Attributes:
        frame: number of the frame.
        object: id of the object.
        gain: expected gain, in IoU summed over the frames.
        quality: the mask's expected quality, 0..1.
    """

    frame: int
    object: int
    gain: float
    quality: float


def suggest(
    quality: Mapping[int, Curve],
    count: int,
    *,
    given: Mapping[int, Collection[int]] | None = None,
    candidates: Collection[int] | None = None,
    backwards: bool = True,
    reach: float = REACH,
) -> list[Suggestion]:
    """The masks whose correction is expected to help most, the best first.

    A correction makes its own frame right, and of what is wrong in frame t it mends exp(-|t - f| / (reach T)), up to
    the next frame in which the object is given. The best frame is chosen, what it mends is taken off, and so on:
    suggestions are therefore spread over what is wrong.

    Args:
        quality: object id -> expected quality of its mask in each frame, 0..1, as `combine` makes it; NaN where the
            object has no result.
        count: how many.
        given: object id -> frames in which it is given; these are not suggested.
        candidates: frames that may be suggested; None: all.
        backwards: whether a correction also helps the frames before it.
        reach: see `REACH`.

    Raises:
        UsageError: `count` is less than 1, or the objects differ in the number of frames.
    """
    if count < 1 or len({len(curve) for curve in quality.values()}) > 1:
        raise UsageError(f"suggest: {count} masks of curves of {[len(c) for c in quality.values()]} frames; check both")
    fixed = {identity: sorted((given or {}).get(identity, ())) for identity in quality}
    missing = {identity: 1 - np.nan_to_num(curve, nan=1.0) for identity, curve in quality.items()}
    found: list[Suggestion] = []
    while len(found) < count:
        options = []
        for identity, lack in missing.items():
            gains = _gains(lack, fixed[identity], backwards, reach)
            gains[[*fixed[identity], *np.flatnonzero(np.isnan(quality[identity]))]] = -1
            if candidates is not None:
                gains[[frame for frame in range(len(gains)) if frame not in candidates]] = -1
            frame = int(gains.argmax())
            options.append((float(gains[frame]), identity, frame))
        gain, identity, frame = max(options, key=lambda option: option[0], default=(-1.0, 0, 0))
        if gain <= 0:
            break
        found.append(Suggestion(frame, identity, gain, float(quality[identity][frame])))
        mended = _mended(len(missing[identity]), frame, fixed[identity], backwards, reach)
        missing[identity] = missing[identity] * (1 - mended)
        fixed[identity] = sorted([*fixed[identity], frame])
    return found


def combine(expected: Curve, others: Mapping[str, Curve] | None = None) -> Curve:
    """Expected quality from the expected IoU and what else is known: the mean of all that is known of a frame.

    Args:
        expected: expected IoU, ``(T,)``.
        others: further estimates, 0..1 each: agreement with a second method, consistency forward and backward,
            similarity of appearance; NaN where one is not known.
    """
    stacked = np.stack([expected, *(others or {}).values()])
    known = ~np.isnan(stacked)
    mean = np.where(known, stacked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(np.isnan(expected), np.nan, mean)


def _gains(lack: Curve, fixed: list[int], backwards: bool, reach: float) -> Curve:
    frames = range(len(lack))
    return np.array([float((_mended(len(lack), frame, fixed, backwards, reach) * lack).sum()) for frame in frames])


def _mended(length: int, frame: int, fixed: list[int], backwards: bool, reach: float) -> Curve:
    """Share of what is wrong in each frame that a correction in `frame` mends."""
    distance = np.arange(length) - frame
    share = np.exp(-np.abs(distance) / max(reach * length, 1e-9))
    after = next((other for other in fixed if other > frame), length)
    before = next((other for other in reversed(fixed) if other < frame), -1)
    share[: before + 1] = share[after:] = 0
    return share if backwards else np.where(distance >= 0, share, 0.0)
