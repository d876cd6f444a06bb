"""Drawn videos, and trackers whose results are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from vos_zoo.evaluation import evaluate
from vos_zoo.types import Frame, FrameResult, LabelMap, VideoSequence

SIZE = (40, 56)
quiet = partial(evaluate, progress=False)


@dataclass
class Squares(VideoSequence):
    """Grey squares that move to the right by `step` pixels a frame; object `i` starts in frame `starts[i]`."""

    name: str = "squares"
    count: int = 8
    starts: Mapping[int, int] = field(default_factory=lambda: {1: 0, 5: 0})
    step: int = 2
    truth: bool = True
    given: Mapping[int, LabelMap] | None = None

    def __post_init__(self) -> None:
        self.frame_names = tuple(f"{5 * index:05d}" for index in range(self.count))
        self.object_ids = tuple(self.starts)

    def frame(self, index: int) -> Frame:
        return np.repeat(self._all(index)[..., None] * np.uint8(40), 3, axis=2)

    def labels(self, index: int) -> LabelMap | None:
        return self._all(index) if self.truth or index in self.prompts() else None

    def prompts(self) -> dict[int, LabelMap]:
        if self.given is not None:
            return dict(self.given)
        prompts: dict[int, LabelMap] = {}
        for identity, start in self.starts.items():
            labels = self._all(start)
            prompts[start] = prompts.get(start, np.zeros(SIZE, np.uint8)) | np.where(labels == identity, labels, 0)
        return prompts

    def _all(self, index: int) -> LabelMap:
        labels = np.zeros(SIZE, dtype=np.uint8)
        for number, (identity, start) in enumerate(self.starts.items()):
            if index >= start:
                left = 2 + self.step * index
                labels[4 + 18 * number : 16 + 18 * number, left : left + 14] = identity
        return labels


def result(index: int, labels: LabelMap, ids: Iterable[int]) -> FrameResult:
    """A result that says exactly `labels`."""
    planes = [labels == identity for identity in (0, *ids)]
    return FrameResult(index, tuple(ids), torch.from_numpy(np.stack(planes).astype(np.float32)))


def perfect(frames: Iterable[Frame], prompts: Mapping[int, Any]) -> Iterator[FrameResult]:
    """Reads the ids off the grey values."""
    for index, frame in enumerate(frames):
        yield result(index, frame[..., 0] // 40, (1, 5))


def blind(frames: Iterable[Frame], prompts: Mapping[int, Any]) -> Iterator[FrameResult]:
    """Never sees an object."""
    for index, frame in enumerate(frames):
        yield result(index, np.zeros(frame.shape[:2], np.uint8), (1, 5))


def spy(calls: list[Any], inner: Callable[..., Iterator[FrameResult]] = perfect) -> Callable[..., Any]:
    """A tracker that notes how often it is run."""

    def track(frames: Iterable[Frame], prompts: Mapping[int, Any], **options: Any) -> Iterator[FrameResult]:
        calls.append((sorted(prompts), options))
        return inner(frames, prompts)

    return track
