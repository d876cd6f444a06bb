"""Tracking from a frame, forward or backward, with what is drawn on the way; and which results are out of date."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos_zoo.demo.drawing import Drawing
from vos_zoo.types import Box, Frame, FrameResult, LabelMap, UsageError

if TYPE_CHECKING:
    from vos_zoo.engine.propagator import Propagator
    from vos_zoo.model import VOSModel


@dataclass(frozen=True)
class Run:
    """What one run of the tracker started from.

    Attributes:
        weights: name of the weights.
        start: its first frame.
        drawings: all drawings at the time, by frame.
        source: the run whose result was tracked on from frame `start`; None: all objects were drawn there.
    """

    weights: str
    start: int
    drawings: Mapping[int, Drawing]
    source: int | None

    def agrees(self, frame: int, drawings: Mapping[int, Drawing], itself: bool) -> bool:
        """Whether the drawings from the start up to `frame` are still those that the run used.

        Args:
            frame: number of the frame.
            drawings: the current drawings.
            itself: whether what the run was given in the frame itself counts; drawn there since is never counted, since
                it is shown over the result.
        """
        low, high = min(self.start, frame), max(self.start, frame)
        between = [number for number in {*self.drawings, *drawings} if low <= number <= high and number != frame]
        if frame == self.start or (itself and frame in self.drawings):
            between.append(frame)
        return all(self.drawings.get(number) == drawings.get(number) for number in between)


def is_stale(frame: int, run: int, runs: Sequence[Run], drawings: Mapping[int, Drawing], weights: str) -> bool:
    """Whether the result of a frame may change if it is tracked again.

    Args:
        frame: its number.
        run: the run it came from.
        runs: all runs.
        drawings: the current drawings, by frame.
        weights: the weights that are chosen now.
    """
    source: int | None = run
    while source is not None:
        used = runs[source]
        if used.weights != weights or not used.agrees(frame, drawings, itself=source == run):
            return True
        frame, source = used.start, used.source
    return False


def track(
    model: VOSModel,
    lock: threading.Lock,
    read: Callable[[int], Frame],
    frames: range,
    first: LabelMap,
    drawings: Mapping[int, Drawing],
) -> Generator[tuple[int, LabelMap]]:
    """Track objects through frames, lazily.

    Args:
        model: the model.
        lock: held while the network runs.
        read: frame number -> uint8 RGB ``(H, W, 3)``.
        frames: numbers of the frames, from the start on; may descend.
        first: label map of the first of them, uint8 ``(H, W)``.
        drawings: frame -> what is drawn there; those on the way correct known objects and add new ones, and an object
            drawn without a pixel is not tracked on.

    Yields:
        Frame number and label map, uint8 ``(H, W)``, frame by frame.

    Raises:
        UsageError: the first frame has no object.
    """
    if not first.any():
        raise UsageError(f"nothing to track: draw an object on frame {frames[0]} first")
    propagator = model.propagator()
    for number in frames:
        prompt: LabelMap | None = first if number == frames[0] else None
        frame, drawing = read(number), drawings.get(number) if prompt is None else None
        with lock:
            results = _drop(propagator, drawing)
            if drawing is not None and drawing.visible:
                prompt = drawing.labels
            results += propagator.push(frame, prompt)
        yield from _labelled(results, frames)
    with lock:
        results = propagator.flush()
    yield from _labelled(results, frames)


def _drop(propagator: Propagator, drawing: Drawing | None) -> list[FrameResult]:
    """Stop tracking the objects that a drawing says are out of sight."""
    gone = [] if drawing is None else [i for i in drawing.objects - drawing.visible if i in propagator.ids]
    return propagator.drop(gone) if gone else []


def _labelled(results: Sequence[FrameResult], frames: range) -> Generator[tuple[int, LabelMap]]:
    for result in results:
        yield frames[result.index], result.label_map()


def mask_in_box(model: VOSModel, lock: threading.Lock, frame: Frame, box: Box) -> NDArray[np.bool_]:
    """The mask of the object in a box, bool ``(H, W)``.

    Args:
        model: draws it, or has a shipped model draw it.
        lock: held while the network runs.
        frame: uint8 RGB ``(H, W, 3)``.
        box: in pixels of the frame.

    Raises:
        UsageError: the box is empty or not inside the frame, or no object is found in it.
    """
    with lock:
        (result,) = model.track([frame], {0: {1: box}})
    mask = result.label_map() == 1
    if not mask.any():
        raise UsageError("no object was found in the box; drag it closer around the object, or use the brush")
    return mask
