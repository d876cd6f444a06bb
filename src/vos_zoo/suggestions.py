"""Which masks to correct next: those whose correction is expected to help most."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import UsageError

Curve = NDArray[np.float64]
"""A number per frame of a video, ``(T,)``."""


@dataclass(frozen=True)
class Suggestion:
    """A mask to correct.

    Attributes:
        frame: number of the frame.
        object: id of the object; 0: all objects of the frame together.
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
    together: bool = False,
) -> list[Suggestion]:
    """The masks whose correction is expected to help most, the best first.

    A correction in frame f is expected to give frame t the quality that this video has at the distance |t - f| from a
    given frame (`quality_by_distance`), up to the next frame in which the object is given. The frame with the largest
    sum of gains is chosen, its gains are added, and so on: suggestions are therefore spread over what is wrong.

    Args:
        quality: object id -> expected quality of its mask in each frame, 0..1, as `combine` makes it; NaN where the
            object has no result.
        count: how many.
        given: object id -> frames in which it is given; these are not suggested. An object without any is given in the
            first frame that has a result.
        candidates: frames that may be suggested; None: all.
        backwards: whether a correction also helps the frames before it.
        together: all objects of a frame are corrected together; the gain is the sum of theirs, the quality their mean.

    Raises:
        UsageError: `count` is less than 1, or the objects differ in the number of frames.
    """
    if count < 1 or len({len(curve) for curve in quality.values()}) > 1:
        raise UsageError(f"suggest: {count} masks of curves of {[len(c) for c in quality.values()]} frames; check both")
    fixed = {identity: _given_frames(curve, (given or {}).get(identity, ())) for identity, curve in quality.items()}
    fresh = quality_by_distance(quality, fixed, backwards)
    now = {identity: np.nan_to_num(curve, nan=1.0) for identity, curve in quality.items()}
    pools = {0: list(quality)} if together else {identity: [identity] for identity in quality}
    open_to = {identity: _open_frames(curve, fixed[identity], candidates) for identity, curve in quality.items()}
    found: list[Suggestion] = []
    while len(found) < count and pools:
        options = []
        for name, members in pools.items():
            gains = [_gains_by_frame(now[each], fresh, fixed[each], backwards) * open_to[each] for each in members]
            total, level = np.sum(gains, axis=0), np.mean([now[each] for each in members], axis=0)
            frame = int(np.lexsort((level, -total))[0]) if len(total) else 0
            options.append((float(total[frame]) if len(total) else 0.0, name, frame))
        gain, name, frame = max(options, key=lambda option: option[0])
        if gain <= 0:
            break
        members = [each for each in pools[name] if open_to[each][frame]]
        found.append(Suggestion(frame, name, gain, float(np.mean([quality[each][frame] for each in members]))))
        for each in members:
            now[each] = now[each] + _gains(now[each], fresh, frame, fixed[each], backwards)
            fixed[each] = sorted([*fixed[each], frame])
            open_to[each][frame] = False
    return found


def quality_by_distance(
    quality: Mapping[int, Curve], given: Mapping[int, Sequence[int]], backwards: bool = True
) -> Curve:
    """Mean quality of a video's masks at each distance from the nearest given frame, ``(T,)``; it never rises.

    Args:
        quality: as in `suggest`.
        given: object id -> frames in which it is given.
        backwards: whether given frames count for the frames before them, too.
    """
    length = max((len(curve) for curve in quality.values()), default=0)
    total, seen = np.zeros(length), np.zeros(length)
    for identity, curve in quality.items():
        offsets = np.arange(length)[:, None] - np.asarray(given[identity], dtype=np.int64)[None]
        offsets = np.abs(offsets) if backwards else np.where(offsets < 0, length, offsets)
        nearest = offsets.min(axis=1, initial=length)
        known = ~np.isnan(curve) & (nearest < length)
        np.add.at(total, nearest[known], curve[known])
        np.add.at(seen, nearest[known], 1)
    mean = np.where(seen > 0, total / np.maximum(seen, 1), np.inf)
    mean[:1] = 1.0
    return np.asarray(np.minimum.accumulate(mean))


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


def _given_frames(curve: Curve, given: Collection[int]) -> list[int]:
    known = np.flatnonzero(~np.isnan(curve))
    return sorted(given) or [int(frame) for frame in known[:1]]


def _open_frames(curve: Curve, fixed: Sequence[int], candidates: Collection[int] | None) -> NDArray[np.bool_]:
    """Whether each frame may be suggested, ``(T,)``."""
    frames = np.arange(len(curve))
    allowed = np.ones(len(curve), bool) if candidates is None else np.isin(frames, list(candidates))
    return allowed & ~np.isnan(curve) & ~np.isin(frames, list(fixed))


def _gains_by_frame(now: Curve, fresh: Curve, fixed: Sequence[int], backwards: bool) -> Curve:
    """What a correction in each frame adds to the quality, summed over the frames, ``(T,)``."""
    return np.array([_gains(now, fresh, frame, fixed, backwards).sum() for frame in range(len(now))])


def _gains(now: Curve, fresh: Curve, frame: int, fixed: Sequence[int], backwards: bool) -> Curve:
    """What a correction in `frame` adds to the quality of each frame, ``(T,)``."""
    after = next((other for other in fixed if other > frame), len(now))
    before = next((other for other in reversed(fixed) if other < frame), -1) if backwards else frame - 1
    gains = np.zeros_like(now)
    reached = np.arange(before + 1, after)
    gains[reached] = np.maximum(fresh[np.abs(reached - frame)] - now[reached], 0)
    return gains
