"""Results of one video with one model: a session that is given what is drawn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos_zoo.demo.drawing import Drawing
from vos_zoo.types import Box, Frame, LabelMap, UsageError

if TYPE_CHECKING:
    from vos_zoo.model import VOSModel
    from vos_zoo.session.session import Session

CHECKPOINT_EVERY = 20
"""Frames after which a session stores a state to go back to: a correction computes at most so many frames twice."""
WHOLE: tuple[int, int | None] = (0, None)
"""The range of an object that is nowhere said to be out of sight."""


class Tracker:
    """Tracks what is drawn, both ways; not to be used by two threads at once.

    Args:
        session: of the video, fresh.
        lock: held while the network runs.
    """

    def __init__(self, session: Session, lock: threading.Lock) -> None:
        self._session, self._lock = session, lock
        self._drawings: Mapping[int, Drawing] = {}
        self._ranges: dict[int, tuple[int, int | None]] = {}

    def give(self, drawings: Mapping[int, Drawing]) -> None:
        """Track these drawings, by frame, from now on; results that depend on others become stale."""
        session = self._session
        if drawings == self._drawings:
            return
        for identity in self._ranges:
            session.restrict(identity, *WHOLE)
        for frame in sorted({*drawings, *self._drawings}):
            drawing = drawings.get(frame)
            if drawing == self._drawings.get(frame):
                continue
            if frame in session.given:
                session.take_back(frame)
            labels = None if drawing is None else drawing.labels
            for identity in sorted(drawing.visible) if drawing is not None else ():
                session.give(frame, labels == identity, object=identity)
        self._ranges = {i: found for i, found in ranges_in_sight(drawings).items() if i in session.ids}
        for identity, (start, stop) in self._ranges.items():
            session.restrict(identity, start, stop)
        self._drawings = dict(drawings)

    def labels(self, frame: int) -> LabelMap | None:
        """The label map of a frame, uint8 ``(H, W)``; None: nothing is known."""
        found = self._session.result(frame)
        return None if found is None else found.labels

    def frames(self) -> tuple[list[int], list[int]]:
        """Frames with results, and those of them that are not up to date; ascending."""
        index = self._session.store.index
        tracked = np.flatnonzero(index[1]["revision"] | index[-1]["revision"]).tolist()
        stale = set(self._session.stale())
        return tracked, [frame for frame in tracked if frame in stale]

    def to_track(self, frame: int, step: int) -> list[int]:
        """The frames that `steps` computes.

        Args:
            frame: the first of them.
            step: 1 to the end of the video, -1 to its start.
        """
        start, stop = (frame, None) if step > 0 else (0, frame + 1)
        return self._session.stale(step, start, stop)

    def steps(self, frame: int, step: int) -> Iterator[int]:
        """Track, one frame at a time; yields the numbers of the frames, also of those on the way to the first one."""
        start, stop = (frame, None) if step > 0 else (0, frame + 1)
        results = self._session.steps(start, stop, step)
        while True:
            with self._lock:
                result = next(results, None)
            if result is None:
                return
            yield result.index


def ranges_in_sight(drawings: Mapping[int, Drawing]) -> dict[int, tuple[int, int | None]]:
    """The frames ``[start, stop)`` in which an object exists, for objects that are said to be out of sight.

    An object that is drawn without a pixel ends there, if it is drawn before and not after; it starts behind, if it is
    drawn after and not before. Between two frames in which it is drawn nothing follows.
    """
    found: dict[int, tuple[int, int | None]] = {}
    for identity in {i for drawing in drawings.values() for i in drawing.objects - drawing.visible}:
        seen = [frame for frame, drawing in drawings.items() if identity in drawing.visible]
        gone = [f for f, drawing in drawings.items() if identity in drawing.objects and identity not in drawing.visible]
        if not seen:
            continue
        before, after = [f for f in gone if f < min(seen)], [f for f in gone if f > max(seen)]
        bounds = (max(before) + 1 if before else 0, min(after) if after else None)
        if bounds != WHOLE:
            found[identity] = bounds
    return found


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
