"""The MOSEv2 evaluation: J with one pixel added, F with a tolerance that adapts to the object, and both at appearances.

Rules: the first and the last frame are not scored. J is (intersection + 1) / (union + 1), and 1 where both masks are
empty. With L = 0.8 % of the diagonal and q = 0.1 times the square root of the object's area, rounded up (an absent
object: 0.1 times the diagonal), F_new (the paper's F-dot) has the tolerance q where that is below L, else L, rounded
up; F has L. The scored frames of an object are cut into runs with and without it: the disappearance score is J and
F_new over the runs without it, the reappearance score over the runs in which it is back. An object without such runs
has none. The final numbers are means over the objects that have one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics._masks import Mask
from vos_zoo.metrics.boundary import boundary_accuracy, f_measure, matched_by_kernel
from vos_zoo.metrics.mask_video import MaskVideo, with_listed_void
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, average
from vos_zoo.metrics.scoring import SequenceScorer, object_ids_in
from vos_zoo.types import UsageError, VOSError

_SHARE_OF_DIAGONAL, _SHARE_OF_SIZE = 0.008, 0.1
_MEASURES = ("J", "F_new", "F")
TOO_SHORT = "the video has no frame between first and last"


def read_objects(meta: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Video -> ids of its objects, from the content of ``meta.json``.

    Raises:
        UsageError: it has another form.
    """
    try:
        return {video: tuple(int(one) for one in entry["objects"]) for video, entry in meta["videos"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"MOSEv2's meta file is {{'videos': {{VIDEO: {{'objects': [ID, ...]}}}}}} ({error!r})"
        ) from error


def score_mosev2(
    videos: Iterable[MaskVideo], objects: Mapping[str, Iterable[int]] | None = None, *, official: bool = False
) -> ScoreReport:
    """Score videos by the rules of MOSEv2.

    By default tolerances are whole pixels; a run without the object counts as its disappearance, and one with it as its
    reappearance, where an earlier frame (the first one included) shows the object.

    Args:
        videos: the videos.
        objects: video -> ids of its objects, see `read_objects`; None: those the ground truth shows before its last
            frame.
        official: where q is not below L the disk has the radius L as a fraction, which puts it off its centre (in
            pictures with a diagonal below 73.2 pixels it is one pixel in a corner); frames are counted among
            the results, so that others (the last one, too) are scored where one is missing; every run
            without the object counts unless it starts the scored frames, and every run with it, its first appearance
            included; a video without a scored frame, or without any result, counts 0.

    Raises:
        UsageError: a video is not in `objects`.
        VOSError: a mask is missing or of another size.
    """
    found: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    dropped: dict[tuple[str, int], int] = {}
    for video in videos:
        if objects is not None and video.name not in objects:
            raise UsageError(f"MOSEv2's meta file: there is no video {video.name!r}; score the split that it describes")
        video, labels = with_listed_void(video, [] if objects is None else [*objects[video.name]])
        scorer = SequenceScorer(video.name, measure=_official_measure if official else _measure, count=len(_MEASURES))
        first = frozenset(object_ids_in(video.truth(video.frames[0])))
        frames = _by_position(video) if official else video.frames[1:-1]
        for frame in frames:
            scorer.add(frame, video.prediction(frame), video.truth(frame))
        ids = sorted(scorer.truth_ids | first) if objects is None else list(labels.values())
        for label in ids:
            if scorer.frames or official:
                found.append(_score_object(video, scorer, label, label in first, official))
            else:
                unscored.append((video.name, video.object_name(label), TOO_SHORT))
        dropped |= {(video.name, label): len(where) for label, where in scorer.unknown_labels(ids).items()}
    return ScoreReport("MOSEv2", official, tuple(found), _combine, tuple(unscored), dropped)


def adaptive_tolerance(area: int, size: tuple[int, int]) -> int:
    """q: a tenth of the square root of an object's area in pixels, rounded up.

    Args:
        area: number of the true object's pixels; 0 takes a tenth of the diagonal instead.
        size: (height, width) of the picture.
    """
    length = math.sqrt(area) if area else math.hypot(*size)
    return math.ceil(_SHARE_OF_SIZE * length)


def _measure(prediction: Mask, truth: Mask, size: tuple[int, int]) -> tuple[float, ...]:
    usual = math.ceil(_SHARE_OF_DIAGONAL * math.hypot(*size))
    own = min(adaptive_tolerance(int(np.count_nonzero(truth)), size), usual)
    usual_f = float(boundary_accuracy(prediction, truth, tolerance=usual))
    own_f = usual_f if own == usual else float(boundary_accuracy(prediction, truth, tolerance=own))
    return _plus_one(prediction, truth), own_f, usual_f


def _official_measure(prediction: Mask, truth: Mask, size: tuple[int, int]) -> tuple[float, ...]:
    usual = _SHARE_OF_DIAGONAL * math.sqrt(size[0] ** 2 + size[1] ** 2)
    own = adaptive_tolerance(int(np.count_nonzero(truth)), size)
    if own < usual:
        return _measure(prediction, truth, size)
    value = f_measure(prediction, truth, partial(matched_by_kernel, kernel=_fractional_disk(usual)))
    return _plus_one(prediction, truth), value, value


def _plus_one(prediction: Mask, truth: Mask) -> float:
    intersection = int(np.count_nonzero(prediction & truth))
    union = int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth)) - intersection
    return (intersection + 1) / (union + 1) if union else 1.0


@cache
def _fractional_disk(radius: float) -> NDArray[np.uint8]:
    """The official program's disk of a radius that is no whole number, uint8 ``(n, n)``: off its centre."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    if not disk.any():
        disk[0, 0] = 1  # what OpenCV makes of an empty kernel
    return disk


def _by_position(video: MaskVideo) -> tuple[str, ...]:
    """The scored frames: those at the positions of all ground-truth frames but the first and the last.

    Raises:
        VOSError: more than one frame is missing, where the official program stops.
    """
    predicted = video.frames if video.predicted is None else video.predicted
    frames = predicted[1 : len(video.frames) - 1]
    if predicted and len(frames) < len(video.frames) - 2:
        missing = [frame for frame in video.frames if frame not in predicted]
        raise VOSError(f"video {video.name}: no mask of the frames {', '.join(missing)}; write them, empty ones too")
    unknown = [frame for frame in frames if frame not in video.frames]
    if unknown:
        raise VOSError(f"video {video.name}: there is no ground truth of the frame {unknown[0]}; remove its mask")
    return frames


def _score_object(video: MaskVideo, scorer: SequenceScorer, label: int, in_first: bool, official: bool) -> ScoredObject:
    title = video.object_name(label)
    if not scorer.frames:
        nothing = {name: np.zeros(0) for name in _MEASURES}
        zeros = dict.fromkeys(_MEASURES, 0.0) | dict.fromkeys(_appearances([], nothing, in_first, official), math.nan)
        return ScoredObject(video.name, title, (), nothing, zeros)
    frames, array = scorer.values_of(label)
    values = dict(zip(_MEASURES, array.T, strict=True))
    shown = {*scorer.true_frames(label)}
    scores = {name: float(np.mean(series)) for name, series in values.items()}
    scores |= _appearances([frame in shown for frame in frames], values, in_first, official)
    return ScoredObject(video.name, title, frames, values, scores)


def _appearances(
    shown: Sequence[bool], values: Mapping[str, NDArray[np.float64]], in_first: bool, official: bool
) -> dict[str, float]:
    """Means of J and F_new over the runs in which the object is gone, and in which it is back; NaN without any."""
    runs = list(_runs(shown, in_first, official))
    found = {}
    for name, visible in (("disappear", False), ("reappear", True)):
        chosen = [span for seen, span in runs if seen == visible]
        for measure in ("J", "F_new"):
            means = [float(np.mean(values[measure][span])) for span in chosen]
            found[f"{name}_{measure}"] = float(np.mean(means)) if means else math.nan
    return found


def _runs(shown: Sequence[bool], in_first: bool, official: bool) -> Iterator[tuple[bool, slice]]:
    """The runs that count: whether the object is visible, and where."""
    start, before = 0, in_first
    for index, (visible, members) in enumerate(groupby(shown)):
        stop = start + len(list(members))
        known = before and not (index == 0 and visible == in_first)
        if index > 0 if official else known:
            yield visible, slice(start, stop)
        start, before = stop, before or visible


def _combine(objects: Sequence[ScoredObject]) -> dict[str, float]:
    means = {name: average(objects, name) for name in _MEASURES}
    found = {"J&F_new": (means["J"] + means["F_new"]) / 2, "J": means["J"], "F_new": means["F_new"]}
    for name in ("disappear", "reappear"):
        having = [one for one in objects if not math.isnan(one.scores[f"{name}_J"])]
        both = [average(having, f"{name}_{measure}") for measure in ("J", "F_new")]
        found[f"{name}_J&F_new"] = sum(both) / 2
    return found | {"F": means["F"], "J&F": (means["J"] + means["F"]) / 2}
