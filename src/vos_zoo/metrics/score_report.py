"""What every evaluation ends in: values per frame, scores per object and per video, the final numbers, and notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics.tables import text_table


@dataclass(frozen=True)
class ScoredObject:
    """One object of one video.

    Attributes:
        video: name of the video.
        name: the object's id, as the data set writes it.
        frames: names of the scored frames, in order.
        values: measure -> value per scored frame, float64 ``(T,)``, 0..1.
        scores: what the protocol reports of an object, 0..1; NaN where it reports nothing of this one.
        group: the group that is averaged by itself ("seen", "unseen"); "" where all objects are one.
    """

    video: str
    name: str
    frames: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, float]
    group: str = ""


Combine: TypeAlias = Callable[[Sequence[ScoredObject]], dict[str, float]]
"""Objects of any number of videos -> the final numbers of a protocol."""


@dataclass(frozen=True)
class ScoreReport:
    """The scores of a set of masks by one protocol; `str()` of it is a table for people.

    Attributes:
        protocol: name of the protocol.
        official: whether the official program's quirks were reproduced.
        objects: all scored objects, in the order of the videos.
        combine: how objects make the final numbers.
        unscored: (video, object, why) of what the protocol leaves out.
        dropped: (video, label) -> number of frames in which a label that is no object of the video was predicted.
        remarks: what else a reader of the numbers has to know.
    """

    protocol: str
    official: bool
    objects: tuple[ScoredObject, ...]
    combine: Combine
    unscored: tuple[tuple[str, str, str], ...] = ()
    dropped: Mapping[tuple[str, int], int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """The final numbers, 0..1, not rounded; NaN where there is nothing to average."""
        return self.combine(self.objects)

    @property
    def videos(self) -> dict[str, dict[str, float]]:
        """The same numbers of each video's objects alone."""
        groups: dict[str, list[ScoredObject]] = {}
        for one in self.objects:
            groups.setdefault(one.video, []).append(one)
        return {video: self.combine(objects) for video, objects in groups.items()}

    def notes(self) -> list[str]:
        """What a reader of the numbers has to know."""
        notes = ["official=True: the official program's quirks are reproduced"] if self.official else []
        notes += self.remarks
        notes += [f"{video}, object {name}: not scored, {why}" for video, name, why in self.unscored]
        if self.dropped:
            found = [f"{video} label {label} ({count} frames)" for (video, label), count in self.dropped.items()]
            notes.append(f"predicted labels that are no object count as background: {'; '.join(found)}")
        return notes

    def __str__(self) -> str:
        """Tables per object, per video and of all, in percent, with the notes."""
        names = list(dict.fromkeys(name for one in self.objects for name in one.scores))
        objects = [
            (f"{one.video}_{one.name}", _percent(one.scores.get(name, math.nan) for name in names))
            for one in self.objects
        ]
        columns = tuple(self.scores)
        videos = [(name, _percent(scores.values())) for name, scores in self.videos.items()]
        final = [(f"{len(self.objects)} objects", _percent(self.scores.values()))]
        tables = [
            text_table("Object", names, objects),
            text_table("Video", columns, videos),
            text_table("All", columns, final),
        ]
        return "\n\n".join([*tables, *(f"Note: {note}" for note in self.notes())])


def _percent(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values)


def average(objects: Iterable[ScoredObject], name: str) -> float:
    """Mean of one score over the objects; NaN without objects, and where an object's score is NaN."""
    values = [one.scores[name] for one in objects]
    return float(np.mean(values)) if values else math.nan


def j_f_means(objects: Sequence[ScoredObject]) -> dict[str, float]:
    """J&F, J and F: plain means over all objects, J&F the mean of the other two."""
    region, boundary = average(objects, "J"), average(objects, "F")
    return {"J&F": (region + boundary) / 2, "J": region, "F": boundary}
