"""One pass through the video in one direction: the stream, where it is, and its state as a value."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.stream_state import set_stream_state, stream_state
from vos_zoo.session.events import Events
from vos_zoo.types import Frame, FrameResult


class Pass:
    """A stream that goes through the video from the first prompt of its direction on.

    Args:
        make_stream: makes a fresh stream.
        direction: 1 forward, -1 backward.
        origin: the frame that is read first.

    Attributes:
        newest: the frame that was read last; None before the first.
        stamp: digest of what happened up to it.
    """

    def __init__(self, make_stream: Callable[[], Propagator], direction: int, origin: int) -> None:
        self.stream = make_stream()
        self.direction = direction
        self.origin = origin
        self.newest: int | None = None
        self.stamp = ""

    @property
    def next(self) -> int:
        """The frame that is read next."""
        return self.origin if self.newest is None else self.newest + self.direction

    @property
    def finished(self) -> int:
        """The newest frame that has a result which will not change; the one before the origin at first."""
        return self.next - self.direction * (1 + len(self.stream._buffer))

    def push(self, frame: Frame, events: Events) -> list[FrameResult]:
        """Read the next frame, with what happens in it.

        Returns:
            Results of all frames that are finished, numbered as in the video; their ids are keys.
        """
        number, stream = self.next, self.stream
        gone = [key for key in events.ended(number) if key in stream.ids]
        results = stream.drop(gone) if gone else []
        given = events.given(number)
        restart = [key for key, prompt in given.items() if prompt.restart]
        results += stream.push_objects(frame, {key: prompt.unpacked() for key, prompt in given.items()}, restart)
        self.newest, self.stamp = number, events.stamp(number)
        return self._numbered(results)

    def preview(self) -> list[FrameResult]:
        """Results of a clip that is not full; the pass goes on as if they had not been asked for."""
        if not self.stream._buffer:
            return []
        state = copy.deepcopy(stream_state(self.stream))
        results = self.stream.flush()
        set_stream_state(self.stream, state)
        return self._numbered(results)

    def _numbered(self, results: list[FrameResult]) -> list[FrameResult]:
        """Results with the numbers of the video's frames."""
        return [replace(result, index=self.origin + self.direction * result.index) for result in results]

    def state(self) -> dict[str, Any]:
        """The pass as a value; its parts are the stream's own."""
        return {
            "direction": self.direction,
            "origin": self.origin,
            "newest": self.newest,
            "stamp": self.stamp,
            "stream": stream_state(self.stream),
        }

    @classmethod
    def restored(cls, make_stream: Callable[[], Propagator], state: Mapping[str, Any]) -> Pass:
        """The pass of a value, which it takes over."""
        found = cls(make_stream, state["direction"], state["origin"])
        found.newest, found.stamp = state["newest"], state["stamp"]
        set_stream_state(found.stream, state["stream"])
        return found
