"""What corrections are worth: J&F against the number of corrected frames, with a corrector who makes no mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vos_zoo.metrics.scoring import score_frame
from vos_zoo.suggestions import suggest
from vos_zoo.types import Frame, FrameResult, LabelMap, UsageError, VideoSequence, VOSError

LEVELS = (0, 1, 2, 4, 8)
"""Numbers of corrected frames per video at which the curve is read."""
Track = Callable[[Iterable[Frame], Mapping[int, LabelMap]], Iterator[FrameResult]]


@dataclass
class CorrectedVideo:
    """One video whose frames can be corrected, one after the other.

    A correction gives the true masks of all objects in one frame; tracking starts from them anew, up to the next
    corrected frame. What is tracked from a frame on does therefore not depend on the frames given before it, and is
    computed once for all policies.

    Attributes:
        sequence: the video; all its objects are in the mask of its first frame, and all frames have ground truth.
        track: the tracker.
        step: every `step`-th frame is used, as if the video had no others.
    """

    sequence: VideoSequence
    track: Track
    step: int = 1
    _runs: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.frames = list(range(0, len(self.sequence), self.step))
        self.ids = self.sequence.object_ids
        first = self.truth(0)
        if len(self.frames) < 2 or not np.isin(self.ids, first).all():
            raise UsageError(f"{self.sequence.name}: has not two frames, or not all objects are in its first mask")
        self.correctable = [t for t in range(1, len(self.frames)) if np.isin(self.ids, self.truth(t)).all()]

    def truth(self, t: int) -> LabelMap:
        """Ground truth of used frame `t`, uint8 ``(H, W)``."""
        labels = self.sequence.labels(self.frames[t])
        if labels is None:
            raise VOSError(f"{self.sequence.name}: frame {self.frames[t]} has no ground truth; give another data set")
        return labels

    def run_from(self, start: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """J&F and expected IoU of each object, tracked from used frame `start` on; ``(N, T)``, NaN before it."""
        if start not in self._runs:
            shape = (len(self.ids), len(self.frames))
            scores, expected = np.full(shape, np.nan), np.full(shape, np.nan)
            frames = (self.sequence.frame(self.frames[t]) for t in range(start, len(self.frames)))
            for result in self.track(frames, {0: self.truth(start)}):
                t = start + result.index
                found = score_frame(result.label_map(), self.truth(t), self.ids)
                scores[:, t] = [np.mean(found[identity]) for identity in self.ids]
                if result.confidence is not None:
                    order = [result.ids.index(identity) for identity in self.ids]
                    expected[:, t] = result.confidence.expected_iou[order].cpu().numpy()
            scores[:, start] = expected[:, start] = 1.0
            self._runs[start] = scores, expected
        return self._runs[start]

    def joined(self, given: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """J&F and expected IoU of every frame as tracked from the last frame before it that is given (the first is)."""
        starts = sorted({0, *given})
        stops = [*starts[1:], len(self.frames)]
        scores, expected = (np.full((len(self.ids), len(self.frames)), np.nan) for _ in range(2))
        for start, stop in zip(starts, stops, strict=True):
            own = self.run_from(start)
            scores[:, start:stop], expected[:, start:stop] = own[0][:, start:stop], own[1][:, start:stop]
        return scores, expected

    def score(self, given: Sequence[int]) -> float:
        """Mean J&F over objects and all used frames but the first; corrected frames count as they are: right."""
        return float(self.joined(given)[0][:, 1:].mean())


def choose(video: CorrectedVideo, policy: str, count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """The corrected frames after 0, 1, ... `count` corrections, as a policy chooses them, each after seeing the last.

    Fewer where a video has no more frames.

    Args:
        video: the video.
        policy: "suggest" takes the greatest expected gain; "uniform" spaces each number of frames evenly, anew;
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
    scores, expected = video.joined(given)
    if policy == "worst":
        return min(left, key=lambda t: float(scores[:, t].mean()))
    if policy != "suggest":
        raise UsageError(f"policy {policy!r} is not known; choose suggest, uniform, random, oracle or worst")
    best = suggest({1: expected.mean(axis=0)}, 1, given={1: [0, *given]}, candidates=left, backwards=False)
    return best[0].frame if best else left[0]


def _even(frames: Sequence[int], count: int, length: int) -> list[int]:
    """`count` of these frames, about evenly spaced between the first and the end of the video."""
    chosen: list[int] = []
    for number in range(1, count + 1):
        ideal = number * length / (count + 1)
        chosen.append(min((t for t in frames if t not in chosen), key=lambda t: abs(t - ideal)))
    return sorted(chosen)


def annotation_curve(
    videos: Sequence[CorrectedVideo], policy: str, levels: Sequence[int] = LEVELS, seeds: int = 8
) -> dict[int, float]:
    """Mean J&F of the videos, 0..1, after each number of corrected frames.

    Args:
        videos: the videos.
        policy: who chooses the next frame, see `choose`.
        levels: numbers of corrected frames.
        seeds: "random" is the mean of so many draws.

    Raises:
        UsageError: there is no such policy.
    """
    draws = range(seeds if policy == "random" else 1)
    curves = []
    for video in videos:
        for seed in draws:
            scores = [video.score(given) for given in choose(video, policy, max(levels), np.random.default_rng(seed))]
            curves.append([scores[min(level, len(scores) - 1)] for level in levels])
    return dict(zip(levels, np.mean(curves, axis=0).tolist(), strict=True))


def area(curve: Mapping[int, float]) -> float:
    """Area under a curve by trapezoids, divided by its width."""
    levels = sorted(curve)
    pairs = pairwise(levels)
    return sum((b - a) * (curve[a] + curve[b]) / 2 for a, b in pairs) / (levels[-1] - levels[0])
