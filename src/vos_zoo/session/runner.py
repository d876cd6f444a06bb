"""Runs passes over the frames whose results are stale, and stores what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from vos_zoo.engine.propagator import Propagator
from vos_zoo.session.checkpoints import Checkpoints
from vos_zoo.session.events import Events
from vos_zoo.session.evidence import evidence_of
from vos_zoo.session.frames import FrameStore
from vos_zoo.session.passes import Pass
from vos_zoo.session.prompt_book import PromptBook
from vos_zoo.session.results import Part, ResultStore
from vos_zoo.types import FrameResult

DIRECTIONS = (1, -1)


class Runner:
    """The passes of a session in both directions.

    Args:
        frames: of the video.
        book: what is given.
        store: of the results.
        checkpoints: of the passes.
        make_stream: makes a fresh stream.
        evaluating: a context in which the model may run.
        read_state: reads a saved state.
    """

    def __init__(
        self,
        frames: FrameStore,
        book: PromptBook,
        store: ResultStore,
        checkpoints: Checkpoints,
        make_stream: Callable[[], Propagator],
        evaluating: Callable[[], AbstractContextManager[None]],
        read_state: Callable[..., Any],
    ) -> None:
        self.frames, self.book, self.store, self.checkpoints = frames, book, store, checkpoints
        self.passes: dict[int, Pass] = {}
        self._make_stream, self._evaluating, self._read_state = make_stream, evaluating, read_state
        self._events: dict[int, Events] = {}
        self._events_of: object = None

    def events(self, direction: int) -> Events:
        """What happens in a direction, by the current prompts."""
        if self._events_of is not self.book.now:
            self._events_of = self.book.now
            self._events = {each: Events(self.book.now, each, self.frames.length) for each in DIRECTIONS}
        return self._events[direction]

    def is_fresh(self, direction: int, frame: int) -> bool:
        """Whether a frame has a result of a direction that depends on the current prompts alone."""
        found, events = self.store.stamp(direction, frame), self.events(direction)
        if found is None or not events:
            return False
        head, stamp, _ = found
        return stamp != "" and stamp == events.stamp(head)

    def is_outdated(self, direction: int, frame: int) -> bool:
        """Whether a frame has a result of a direction that depends on other prompts than the current ones."""
        return self.store.stamp(direction, frame) is not None and not self.is_fresh(direction, frame)

    def stale(self, direction: int, start: int, stop: int) -> list[int]:
        """Frames ``[start, stop)`` that a run in a direction computes, in its order."""
        events = self.events(direction)
        return [t for t in events.order(start, stop) if events.covers(t) and not self.is_fresh(direction, t)]

    def run(self, direction: int, start: int, stop: int) -> Iterator[FrameResult]:
        """Compute what is stale of the frames ``[start, stop)``, and what lies between them and a known state.

        Yields:
            Results, stored already, in the order of the direction; ids are keys. Those of a clip that is not full yet
            come last, and are computed again when the pass goes on.
        """
        wanted, events = self.stale(direction, start, stop), self.events(direction)
        if not wanted:
            return
        current = self._pass(direction, wanted[0], events)
        while current.newest is None or (wanted[-1] - current.newest) * direction > 0:
            if self.checkpoints.is_due(current, events):
                self.checkpoints.add(current, self.store.revision())
            frame = self.frames.frame(current.next)
            with self._evaluating():
                results = current.push(frame, events)
            yield from self._stored(current, results, partial=False)
        with self._evaluating():
            results = current.preview()
        yield from self._stored(current, results, partial=True)

    def _pass(self, direction: int, first: int, events: Events) -> Pass:
        """A pass that has not finished frame `first` yet: the current one, one from a checkpoint, or a new one."""
        held = self.passes.get(direction)
        best = self.checkpoints.best(direction, events, first)
        if held is not None and held.newest is not None:
            valid = held.stamp == events.stamp(held.newest) and (first - held.finished) * direction > 0
            if valid and (best is None or (best.newest - held.newest) * direction <= 0):
                return held
        self.passes.pop(direction, None)
        if best is None:
            self.passes[direction] = Pass(self._make_stream, direction, events.first)
        else:
            state = self.checkpoints.load(best, self._read_state)
            self.passes[direction] = Pass.restored(self._make_stream, state)
        return self.passes[direction]

    def _stored(self, current: Pass, results: list[FrameResult], partial: bool) -> list[FrameResult]:
        """The results, of which those that were not known are stored."""
        assert current.newest is not None
        for result in results:
            found = self.store.stamp(current.direction, result.index)
            if self.is_fresh(current.direction, result.index) and found is not None and not found[2]:
                continue
            part = Part.of(result, evidence_of(result))
            self.store.put(current.direction, result.index, part, current.newest, current.stamp, partial)
        return results
