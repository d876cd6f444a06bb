"""Two results on the same videos: differences per object, and a paired bootstrap over videos of the main score.

The videos are drawn with replacement, both results with the same draw; objects of a video stay together, because their
errors do. The score of a draw is what the protocol reports: the mean over objects, or the mean of the groups' means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.evaluation.referee.written import SCORES_FILE
from vos_zoo.types import UsageError, VOSError

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Result:
    """Main scores per object of one result.

    Attributes:
        where: the folder.
        title: protocol, data set and split; "" where the file does not say.
        data: digest of the ground truth; "" where the file has none that can be compared.
        main: the measures whose mean is the main score.
        values: (video, object) -> main score, 0..1.
        groups: (video, object) -> group.
    """

    where: str
    title: str
    data: str
    main: tuple[str, ...]
    values: Mapping[tuple[str, str], float]
    groups: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds; differences are second minus first, 0..1.

    Attributes:
        first: one result.
        second: the other one.
        objects: (video, object, first, second) of all objects both have, the largest loss first.
        scores: the two main scores over these objects.
        interval: confidence interval of the difference.
        better: share of the draws in which the second is better.
        only_first: (video, object) that the second one lacks.
        only_second: (video, object) that the first one lacks.
        videos: number of videos.
    """

    first: Result
    second: Result
    objects: tuple[tuple[str, str, float, float], ...]
    scores: tuple[float, float]
    interval: tuple[float, float]
    better: float
    only_first: tuple[tuple[str, str], ...]
    only_second: tuple[tuple[str, str], ...]
    videos: int

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.scores[1] - self.scores[0]

    def __str__(self) -> str:
        """The table for people, in percent."""
        name = "&".join(self.first.main)
        width = max(len("object"), *(len(f"{video}/{one}") for video, one, _, _ in self.objects))
        lines = [f"{'object':<{width}}       A       B     B-A"]
        for video, one, first, second in self.objects:
            numbers = f"{100 * first:>8.2f}{100 * second:>8.2f}{100 * (second - first):>+8.2f}"
            lines.append(f"{f'{video}/{one}':<{width}}{numbers}")
        low, high = self.interval
        lines += [
            "",
            f"A: {self.first.where}",
            f"B: {self.second.where}",
            f"{name} of {len(self.objects)} objects in {self.videos} videos: A {100 * self.scores[0]:.2f}, "
            f"B {100 * self.scores[1]:.2f}, difference {100 * self.difference:+.2f}",
            f"{100 * LEVEL:.0f} % confidence interval of the difference (bootstrap over videos, {DRAWS} draws): "
            f"{100 * low:+.2f} to {100 * high:+.2f}; B is better in {100 * self.better:.1f} % of the draws",
        ]
        if self.videos < 2:
            lines.append("! one video alone says nothing about others: the interval has no width")
        for which, missing in (("A", self.only_first), ("B", self.only_second)):
            if missing:
                named = ", ".join(f"{video}/{one}" for video, one in missing[:10])
                lines.append(f"! only in {which}, and not compared: {named}{', ...' if len(missing) > 10 else ''}")
        if self.first.data and self.second.data and self.first.data != self.second.data:
            lines.append("! the two were not scored with the same truth masks")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "first": self.first.where,
            "second": self.second.where,
            "main": list(self.first.main),
            "scores": list(self.scores),
            "difference": self.difference,
            "interval": list(self.interval),
            "level": LEVEL,
            "draws": DRAWS,
            "better": self.better,
            "videos": self.videos,
            "objects": [
                {"video": video, "object": one, "first": first, "second": second, "difference": second - first}
                for video, one, first, second in self.objects
            ],
            "only_first": [list(key) for key in self.only_first],
            "only_second": [list(key) for key in self.only_second],
        }


def read_result(folder: str | Path) -> Result:
    """The scores that `vos-zoo score` or `vos-zoo test` wrote into a folder.

    Raises:
        UsageError: there are none.
        VOSError: the file is of another form.
    """
    path = Path(folder) / SCORES_FILE
    if not path.is_file():
        raise UsageError(f"{folder}: holds no {SCORES_FILE}; give folders that vos-zoo score or vos-zoo test wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        own = "videos" in content
        main = tuple(content["main"]) if own else ("J", "F")
        found = {
            (video, name): scores
            for video, about in content["videos" if own else "sequences"].items()
            for name, scores in about["objects"].items()
        }
        values = {key: _mean(scores, main) for key, scores in found.items()}
        groups = {key: str(scores.get("group", "")) for key, scores in found.items()}
        title = f"{content['protocol']} on {content['title']}" if own else str(content["protocol"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VOSError(f"{path}: is no result of vos-zoo score or vos-zoo test ({error!r})") from error
    known = {key: value for key, value in values.items() if value is not None}
    return Result(str(folder), title if own else "", str(content["data"]) if own else "", main, known, groups)


def _mean(scores: Mapping[str, Any], main: tuple[str, ...]) -> float | None:
    numbers = [scores[name] for name in main]
    return None if None in numbers else float(np.mean(numbers))


def compare(first: Result, second: Result, *, seed: int = 0) -> Comparison:
    """Compare two results.

    Args:
        first: one of them.
        second: the other one.
        seed: of the bootstrap's draws.

    Raises:
        UsageError: they are of different protocols or data, or have no object in common.
    """
    if first.main != second.main or (first.title and second.title and first.title != second.title):
        one, other = (f"{r.where} ({r.title or '&'.join(r.main)})" for r in (first, second))
        raise UsageError(f"{one} and {other} cannot be compared; score both by one protocol on one split")
    keys = sorted({*first.values} & {*second.values})
    if not keys:
        raise UsageError(f"{first.where} and {second.where} have no object in common; score both on one split")
    groups = first.groups if any(first.groups.values()) else second.groups
    videos = sorted({video for video, _ in keys})
    names = sorted({groups.get(key, "") for key in keys})
    sums = np.zeros((2, len(videos), len(names)))
    counts = np.zeros((len(videos), len(names)))
    for key in keys:
        at = videos.index(key[0]), names.index(groups.get(key, ""))
        counts[at] += 1
        for index, result in enumerate((first, second)):
            sums[(index, *at)] += result.values[key]
    draws = np.random.default_rng(seed).multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=DRAWS)
    differences = _score(draws, sums[1], counts) - _score(draws, sums[0], counts)
    once = np.ones((1, len(videos)))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    rows = sorted(
        ((video, one, first.values[video, one], second.values[video, one]) for video, one in keys),
        key=lambda row: (row[3] - row[2], row[0], row[1]),
    )
    return Comparison(
        first,
        second,
        tuple(rows),
        (float(_score(once, sums[0], counts)[0]), float(_score(once, sums[1], counts)[0])),
        (float(low), float(high)),
        float(np.mean(differences > 0)),
        tuple(sorted({*first.values} - {*keys})),
        tuple(sorted({*second.values} - {*keys})),
        len(videos),
    )


def _score(draws: NDArray[Any], sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The main score of every draw, ``(B,)``.

    Args:
        draws: how often each video was drawn, ``(B, V)``.
        sums: sum of the objects' scores per video and group, ``(V, G)``.
        counts: number of the objects, ``(V, G)``.
    """
    number = draws @ counts
    means = np.where(number > 0, (draws @ sums) / np.maximum(number, 1), np.nan)
    return np.asarray(np.nanmean(means, axis=1), dtype=np.float64)
