"""The LVOS evaluation (v2 and v1), with the meta file that says where each object is scored.

Rules: objects and their ranges of frames come from the meta file only; of each range the first frame (whose mask is
given) and the last are not scored; frames without the object count 1 if the prediction is empty there, else 0. V, the
stability, is the standard deviation of (J+F)/2 over the frames of an object; lower is better. Means are taken over the
objects of seen and of unseen videos; the combined numbers are means of the two.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics.mask_video import MaskVideo, with_listed_void
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, average
from vos_zoo.metrics.scoring import SequenceScorer
from vos_zoo.types import UsageError

Edition = Literal["2024", "2022"]
"""Which program: "2024" as it is since May 2024, "2022" as it was before, which scores first and last frame, too."""

STEP = 5
"""Annotated frames are so many video frames apart."""

NAMES = ("J&F-Mean", *(f"{m}{group}-Mean" for m in "JFV" for group in ("", "-seen", "-unseen")))
"""The final numbers, in the order of the official table."""


@dataclass(frozen=True)
class ObjectRange:
    """Where an object is scored.

    Attributes:
        start: number in the name of its first frame.
        end: number in the name of the frame behind its last one.
        count: number of its frames, as the meta file says.
    """

    start: int
    end: int
    count: int

    @classmethod
    def from_meta(cls, entry: Mapping[str, Any]) -> ObjectRange:
        """The range in an object's entry of the meta file, ``{"frame_range": {"start", "end", "frame_nums"}}``."""
        values = entry["frame_range"]
        return cls(int(values["start"]), int(values["end"]), int(values["frame_nums"]))


def read_ranges(meta: Mapping[str, Any]) -> dict[str, dict[int, ObjectRange]]:
    """Video -> object id -> range, from the content of a meta file.

    Raises:
        UsageError: it has another form.
    """
    try:
        return {
            video: {int(one): ObjectRange.from_meta(about) for one, about in entry["objects"].items()}
            for video, entry in meta["videos"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            "LVOS's meta file is {'videos': {VIDEO: {'objects': {ID: {'frame_range': {'start': N, 'end': N, "
            "'frame_nums': N}}}}}}"
            f" ({error!r})"
        ) from error


def score_lvos(
    videos: Iterable[MaskVideo],
    ranges: Mapping[str, Mapping[int, ObjectRange]],
    unseen: Collection[str],
    *,
    official: bool = False,
    edition: Edition = "2024",
) -> ScoreReport:
    """Score videos by the rules of LVOS.

    By default the frames of a range are those that are there, V is exact, and without a seen (or an unseen) video the
    combined numbers are those of the other group. Objects without a scored frame are left out.

    Args:
        videos: the videos.
        ranges: video -> object id -> range, see `read_ranges`.
        unseen: names of the videos that count as unseen.
        official: names of frames are start, start + 5, ... below end; the list of values has the length that the meta
            file says and 0 where the range is shorter (an object with no frame left makes the numbers NaN); the
            variance in V is rounded to 4 decimals; without a seen (or unseen) video the combined numbers are NaN. Where
            the program stops (a count too small, a frame that is not there) the object has its default value, and a
            note says so.
        edition: which program, see `Edition`.

    Raises:
        UsageError: `edition` is unknown, or a video is not in `ranges`.
        VOSError: a mask is missing or of another size.
    """
    if edition not in get_args(Edition):
        raise UsageError(f"edition: {edition!r} is unknown; choose one of {', '.join(get_args(Edition))}")
    objects: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    remarks: list[str] = []
    dropped: dict[tuple[str, int], int] = {}
    for video in videos:
        if video.name not in ranges:
            raise UsageError(f"LVOS's meta file: there is no video {video.name!r}; score the split that it describes")
        video, labels = with_listed_void(video, ranges[video.name])
        known = {labels[one]: where for one, where in ranges[video.name].items()}
        scorer = SequenceScorer(video.name)
        due = {one: _frames(video, where, edition) for one, where in known.items()}
        lengths: dict[int, int] = {}  # of the official program's lists, where it does not stop
        for one, where in known.items() if official else ():
            try:
                due[one], lengths[one] = _official_frames(video, where, edition)
            except IndexError as error:
                remarks.append(f"{video.name}, object {one}: the official program stops ({error})")
        for frame in video.frames:
            now = [one for one, frames in due.items() if frame in frames]
            if now:
                scorer.add(frame, video.prediction(frame), video.truth(frame), now)
        for one, frames in due.items():
            if frames or one in lengths:
                length = lengths.get(one, len(frames))
                found = _score_object(video, one, scorer, frames, length, official)
                objects.append(replace(found, group="unseen" if video.name in unseen else "seen"))
            else:
                unscored.append((video.name, video.object_name(one), "its range has no frame between first and last"))
        unknown = scorer.unknown_labels(known)
        dropped |= {(video.name, label): len(where) for label, where in unknown.items()}
    combine = partial(_combine, official=official)
    title = "LVOS" if edition == "2024" else f"LVOS ({edition})"
    return ScoreReport(title, official, tuple(objects), combine, tuple(unscored), dropped, tuple(remarks))


def _combine(objects: Sequence[ScoredObject], official: bool) -> dict[str, float]:
    """The numbers of `NAMES`: means over objects of seen and unseen videos, and means of the two."""
    groups = {f"-{name}": [one for one in objects if one.group == name] for name in ("seen", "unseen")}
    found = {f"{m}{group}-Mean": average(members, m) for group, members in groups.items() for m in "JFV"}
    counted = [group for group, members in groups.items() if members or official]
    for measure in "JFV":
        values = [found[f"{measure}{group}-Mean"] for group in counted]
        found[f"{measure}-Mean"] = float(np.mean(values)) if values else math.nan
    found["J&F-Mean"] = (found["J-Mean"] + found["F-Mean"]) / 2
    return {name: found[name] for name in NAMES}


def _frames(video: MaskVideo, where: ObjectRange, edition: Edition) -> tuple[str, ...]:
    """The frames of a range that are there, without its first and last one (or with them, "2022").

    The frame that `end` names is the last one where the count includes it.
    """
    numbers = {name: int(name) for name in video.frames if name.isdigit()}
    inside = [name for name, number in numbers.items() if where.start <= number < where.end]
    if where.count > len(inside):
        inside += [name for name, number in numbers.items() if number == where.end]
    return tuple(inside) if edition == "2022" else tuple(inside[1:-1])


def _official_frames(video: MaskVideo, where: ObjectRange, edition: Edition) -> tuple[tuple[str, ...], int]:
    """The frames that the official program scores, and the length of its list of values.

    Raises:
        IndexError: the program stops.
    """
    names = [f"{number:08d}" for number in range(where.start, where.end, STEP)]
    length = where.count
    if edition == "2024":
        names = [name for index, name in enumerate(names) if index not in (0, where.count - 1)]
        length -= 2
    if length < 0:
        raise IndexError(f"frame_nums is {where.count}")
    if len(names) > length:
        raise IndexError(f"frame_nums is {where.count}, the range has more frames")
    missing = [name for name in names if name not in video.frames]
    if missing:
        raise IndexError(f"the ground truth has no frame {missing[0]}")
    return tuple(names), length


def _score_object(
    video: MaskVideo, label: int, scorer: SequenceScorer, frames: tuple[str, ...], length: int, official: bool
) -> ScoredObject:
    values = np.zeros((length, 2))
    if frames:
        values[: len(frames)] = scorer.values_of(label, frames)[1]
    region, boundary = values.T
    scores = {"J": _mean(region), "F": _mean(boundary), "V": _stability((region + boundary) / 2, official)}
    names = (*frames, *["-"] * (length - len(frames)))  # frames that the program counts and nobody has
    return ScoredObject(video.name, video.object_name(label), names, {"J": region, "F": boundary}, scores)


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _stability(values: NDArray[np.float64], official: bool) -> float:
    variance = _mean((values - _mean(values)) ** 2)
    return math.sqrt(round(variance, 4) if official and not math.isnan(variance) else variance)
