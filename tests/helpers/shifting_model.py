"""A stand-in for a model whose masks are known in advance: every object moves one pixel to the right per frame."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from vos_zoo.session.session import Session
from vos_zoo.types import Frame, FrameResult, Prompt


class ShiftingStream:
    """As `Propagator`, as far as a session asks; calls `step` before every frame."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.boxes = SimpleNamespace(prepare=lambda prompt: None)
        self._buffer: list[Any] = []
        self._step, self._labels, self._next = step, None, 0

    @property
    def ids(self) -> list[int]:
        """The objects that are tracked."""
        return [] if self._labels is None else [int(i) for i in np.unique(self._labels) if i]

    def push_objects(
        self, frame: Frame, objects: Mapping[int, Any], restart: Collection[int] = ()
    ) -> list[FrameResult]:
        """Move what is tracked, and put what is given over it."""
        self._step()
        labels = np.zeros(frame.shape[:2], np.uint8)
        if self._labels is not None:
            labels[:, 1:] = self._labels[:, :-1]
        labels[np.isin(labels, list(objects))] = 0
        for identity, mask in objects.items():
            labels[mask] = identity
        self._labels, self._next = labels, self._next + 1
        return [_result(self._next - 1, labels)]

    def drop(self, ids: Iterable[int]) -> list[FrameResult]:
        """Track these objects no longer."""
        self._labels = np.where(np.isin(self._labels, list(ids)), np.uint8(0), self._labels)
        return []


def _result(index: int, labels: np.ndarray) -> FrameResult:
    ids = tuple(int(i) for i in np.unique(labels) if i)
    return FrameResult(index, ids, torch.from_numpy(np.stack([labels == i for i in (0, *ids)])).float())


class ShiftingModel:
    """As `VOSModel`; the mask in a box is the box.

    Attributes:
        frames: number of frames that were tracked.
        wait: called before each.
    """

    boxes_drawn_by = None

    def __init__(self) -> None:
        self.wait: Callable[[], None] = lambda: None
        self.frames = 0

    def session(self, video: Any, folder: str | Path, checkpoint_every: int = 0) -> Session:
        """A session without stored states."""
        return Session.start(self, video, folder, checkpoint_every=0)

    def track_settings(self, preset: str | None = None) -> None:
        """There are none."""

    def stream(self, settings: Any, mask_threshold: int | None = None) -> ShiftingStream:
        """A streaming engine."""

        def step() -> None:
            self.wait()
            self.frames += 1

        return ShiftingStream(step)

    def evaluating(self) -> nullcontext[None]:
        """There is nothing to prepare."""
        return nullcontext()

    def track(self, frames: list[Frame], prompts: Mapping[int, Prompt]) -> list[FrameResult]:
        """The masks of boxes in the first frame."""
        labels = np.zeros(frames[0].shape[:2], np.uint8)
        for identity, (x, y, w, h) in prompts[0].items():
            labels[round(y) : round(y + h), round(x) : round(x + w)] = identity
        return [_result(0, labels)]
