"""Reads masks a few frames ahead in threads, on all cores: decoding a file does not hold the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Found = TypeVar("Found")
_FRAMES = 4
"""How many frames are read ahead."""


class ReadAhead(Generic[Found]):
    """A function of frames that are mostly asked for in order; calls give what `read` gives, errors included.

    Args:
        read: frame name -> what is read; called in threads.
        frames: the frames in order.
        pool: the threads.
    """

    def __init__(self, read: Callable[[str], Found], frames: Sequence[str], pool: ThreadPoolExecutor) -> None:
        self._read, self._frames, self._pool = read, frames, pool
        self._places = {frame: place for place, frame in enumerate(frames)}
        self._pending: dict[str, Future[Found]] = {}

    def __call__(self, frame: str) -> Found:
        """What is read of a frame."""
        place = self._places.get(frame)
        if place is None:
            return self._read(frame)
        due = self._frames[place : place + 1 + _FRAMES]
        waiting = {name: self._pending.get(name) or self._pool.submit(self._read, name) for name in due}
        found = waiting.pop(frame)
        self._pending = waiting  # what was read for frames that nobody asked for is dropped
        return found.result()


@contextmanager
def reading_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to read with; what nobody asked for is not read any more at the end."""
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
