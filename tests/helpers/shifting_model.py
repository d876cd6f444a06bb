"""A stand-in for a model whose masks are known in advance: every object moves one pixel to the right per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vos_zoo.types import Frame, LabelMap, Prompt


@dataclass
class Result:
    """As `FrameResult`, with its label map alone."""

    index: int
    labels: LabelMap

    def label_map(self) -> LabelMap:
        """The label map."""
        return self.labels


class ShiftingPropagator:
    """As `Propagator`; calls `wait` before every frame."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait, self._labels, self._next = wait, None, 0

    @property
    def ids(self) -> list[int]:
        """The objects that are tracked."""
        return [] if self._labels is None else [int(i) for i in np.unique(self._labels) if i]

    def push(self, frame: Frame, prompt: LabelMap | None = None) -> list[Result]:
        """Move what is tracked, and put what is given over it."""
        self._wait()
        labels = np.zeros(frame.shape[:2], np.uint8)
        if self._labels is not None:
            labels[:, 1:] = self._labels[:, :-1]
        if prompt is not None:
            labels[np.isin(labels, np.unique(prompt))] = 0
            labels = np.where(prompt > 0, prompt, labels)
        self._labels, self._next = labels, self._next + 1
        return [Result(self._next - 1, labels)]

    def drop(self, ids: Iterable[int]) -> list[Result]:
        """Track these objects no longer."""
        self._labels = np.where(np.isin(self._labels, list(ids)), np.uint8(0), self._labels)
        return []

    def flush(self) -> list[Result]:
        """Nothing waits."""
        return []


class ShiftingModel:
    """As `VOSModel`; the mask in a box is the box."""

    boxes_drawn_by = None

    def __init__(self) -> None:
        self.wait: Callable[[], None] = lambda: None
        self.frames = 0

    def propagator(self) -> ShiftingPropagator:
        """A streaming engine."""

        def step() -> None:
            self.wait()
            self.frames += 1

        return ShiftingPropagator(step)

    def track(self, frames: list[Frame], prompts: Mapping[int, Prompt]) -> list[Result]:
        """The masks of boxes in the first frame."""
        labels = np.zeros(frames[0].shape[:2], np.uint8)
        for identity, (x, y, w, h) in prompts[0].items():
            labels[round(y) : round(y + h), round(x) : round(x + w)] = identity
        return [Result(0, labels)]
