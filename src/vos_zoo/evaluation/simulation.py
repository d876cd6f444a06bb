"""What corrections are worth: J&F against the number of corrected frames, with a corrector who makes no mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics.scoring import score_frame
from vos_zoo.session.session import Session
from vos_zoo.types import Frame, LabelMap, UsageError, VideoSequence, VOSError

LEVELS = (0, 1, 2, 4, 8)
"""Numbers of corrected frames per video at which the curve is read."""
Start = Callable[[Callable[[int], Frame], int], Session]
"""Starts a session of a video that is given as a function of a frame's number, and its length."""


class CorrectedVideo:
    """One video in a session, whose frames can be corrected in any order.

    Each object is given in the first frame that shows it. A correction gives the true masks of all visible objects of
    one frame; what is stale is then run again in both directions. Scores of a set of corrected frames are kept.

    Args:
        sequence: the video; all of its frames have ground truth.
        start: starts the session.
        step: every `step`-th frame is used, as if the video had no others.

    Attributes:
        frames: numbers of the used frames in the sequence.
        first: object id -> the used frame in which it is given.
        correctable: used frames that can be corrected, ascending.
        session: what is given, and the results.

    Raises:
        UsageError: less than two frames are used, or none of them shows an object.
        VOSError: a frame has no ground truth.
    """

    def __init__(self, sequence: VideoSequence, start: Start, step: int = 1) -> None:
        self.sequence = sequence
        self.frames = list(range(0, len(sequence), step))
        visible = [set(np.unique(self.truth(t)).tolist()) & set(sequence.object_ids) for t in range(len(self.frames))]
        self.first: dict[int, int] = {}
        for t, ids in enumerate(visible):
            self.first.update(dict.fromkeys(sorted(ids - self.first.keys()), t))
        if len(self.frames) < 2 or not self.first:
            raise UsageError(f"{sequence.name}: has not two frames, or no object in any of them")
        self.correctable = [t for t, ids in enumerate(visible) if any(self.first[identity] < t for identity in ids)]
        self.session = start(lambda t: sequence.frame(self.frames[t]), len(self.frames))
        for identity, t in self.first.items():
            self.session.give(t, self.truth(t) == identity, object=identity)
            self.session.restrict(identity, t)
        self._corrected: list[int] = []
        self._scores: dict[frozenset[int], NDArray[np.float64]] = {}

    def truth(self, t: int) -> LabelMap:
        """Ground truth of used frame `t`, uint8 ``(H, W)``."""
        labels = self.sequence.labels(self.frames[t])
        if labels is None:
            raise VOSError(f"{self.sequence.name}: frame {self.frames[t]} has no ground truth; give another data set")
        return labels

    def correct(self, given: Sequence[int]) -> None:
        """Bring the session to where these used frames are corrected and nothing is stale."""
        while not set(self._corrected) <= set(given):
            self.session.undo()
            self._corrected.pop()
        for t in sorted(set(given) - set(self._corrected)):
            labels = self.truth(t)
            self.session.give(t, np.where(np.isin(labels, list(self.first)), labels, 0))
            self._corrected.append(t)
        self.session.run()

    def scores(self, given: Sequence[int]) -> NDArray[np.float64]:
        """J&F of each object in each used frame with these frames corrected, ``(N, T)``; NaN up to its first one."""
        key = frozenset(given)
        if key not in self._scores:
            self.correct(given)
            found = np.full((len(self.first), len(self.frames)), np.nan)
            for t in range(1, len(self.frames)):
                ids = [identity for identity, start in self.first.items() if start < t]
                result = self.session.result(t) if ids else None
                if result is not None:
                    values = score_frame(result.labels, self.truth(t), ids)
                    found[[list(self.first).index(i) for i in ids], t] = [np.mean(values[i]) for i in ids]
            self._scores[key] = found
        return self._scores[key]

    def score(self, given: Sequence[int]) -> float:
        """Mean J&F over objects and frames, without the frames in which they were given at first."""
        return float(np.nanmean(self.scores(given)))

    def suggested(self, given: Sequence[int]) -> int | None:
        """The frame that the session suggests to correct next; None if it suggests none."""
        self.scores(given)  # kept, so that nothing is tracked again for them
        self.correct(given)
        left = [t for t in self.correctable if t not in given]
        found = self.session.suggest(1, frames=left, together=True)
        return found[0].frame if found else None


def choose(video: CorrectedVideo, policy: str, count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """The corrected frames after 0, 1, ... `count` corrections, as a policy chooses them, each after seeing the last.

    Fewer where a video has no more frames.

    Args:
        video: the video.
        policy: "suggest" takes what `Session.suggest` says; "uniform" spaces each number of frames evenly, anew;
            "random"; "oracle" tries every frame and takes the best; "worst" takes the lowest true J&F.
        count: number of corrections.
        rng: for "random".

    Raises:
        UsageError: there is no such policy.
    """
    given: list[int] = []
    yield []
    for number in range(1, min(count, len(video.correctable)) + 1):
        left = [t for t in video.correctable if t not in given]
        if policy == "uniform":
            given = _even(video.correctable, number, len(video.frames))
        else:
            given = [*given, _next(video, policy, given, left, rng)]
        yield given


def _next(video: CorrectedVideo, policy: str, given: list[int], left: list[int], rng: np.random.Generator) -> int:
    if policy == "random":
        return int(rng.choice(left))
    if policy == "oracle":
        return max(left, key=lambda t: video.score([*given, t]))
    if policy == "worst":
        scores = np.nanmean(video.scores(given)[:, left], axis=0)
        return left[int(scores.argmin())]
    if policy != "suggest":
        raise UsageError(f"policy {policy!r} is not known; choose suggest, uniform, random, oracle or worst")
    best = video.suggested(given)
    known = [*given, *video.first.values()]
    return max(left, key=lambda t: min(abs(t - other) for other in known)) if best is None else best


def _even(frames: Sequence[int], count: int, length: int) -> list[int]:
    """`count` of these frames, about evenly spaced between the first and the end of the video."""
    chosen: list[int] = []
    for number in range(1, count + 1):
        ideal = number * length / (count + 1)
        chosen.append(min((t for t in frames if t not in chosen), key=lambda t: abs(t - ideal)))
    return sorted(chosen)


def annotation_curve(
    video: CorrectedVideo, policy: str, levels: Sequence[int] = LEVELS, draws: int = 4
) -> dict[int, float]:
    """J&F of a video, 0..1, after each number of corrected frames.

    Args:
        video: the video.
        policy: who chooses the next frame, see `choose`.
        levels: numbers of corrected frames.
        draws: "random" is the mean of so many.

    Raises:
        UsageError: there is no such policy.
    """
    curves = []
    for seed in range(draws if policy == "random" else 1):
        chosen = list(choose(video, policy, max(levels), np.random.default_rng(seed)))
        curves.append({level: video.score(chosen[min(level, len(chosen) - 1)]) for level in levels})
    return mean_curve(curves)


def mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean of curves with the same numbers of corrected frames."""
    return {level: float(np.mean([curve[level] for curve in curves])) for level in curves[0]}


def area(curve: Mapping[int, float]) -> float:
    """Area under a curve by trapezoids, divided by its width."""
    levels = sorted(curve)
    pairs = pairwise(levels)
    return sum((b - a) * (curve[a] + curve[b]) / 2 for a, b in pairs) / (levels[-1] - levels[0])
