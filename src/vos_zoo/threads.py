"""Threads that read ahead of a computation and write behind it, in order and with bounded queues."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class _End:
    """The last entry of a queue; `error` is what ended the thread's work, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The same items in the same order, read by a thread that is at most `depth` items ahead.

    An exception is raised where the items would raise it. When the caller stops early, so does the thread, and it
    closes what it reads.

    Args:
        items: read by the thread alone.
        depth: items that are held.
    """
    held: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: T | _End) -> bool:
        while not stopped.is_set():
            try:
                held.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        iterator: Iterator[T] = iter(())
        try:
            iterator = iter(items)
            for item in iterator:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:
            put(_End(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=read, name="reading ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(entry := held.get(), _End):
            yield entry
        if entry.error is not None:
            raise entry.error
    finally:
        stopped.set()
        thread.join()


class Behind(Generic[T]):
    """Calls a function with one item after the other in a thread, at most `depth` items behind.

    Args:
        work: called in the order of `put`; after an exception it is not called again.
        depth: items that wait at most; `put` blocks while there are as many.

    As a context manager it is closed at the end, also after an exception; that of an earlier item comes first.
    """

    def __init__(self, work: Callable[[T], None], depth: int = 8) -> None:
        self._work, self._held = work, queue.Queue[T | _End](depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writing behind", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except BaseException:
            if error is None or isinstance(error, Exception):
                raise

    def put(self, item: T) -> None:
        """Hand over an item; raises what an earlier one raised."""
        self._check()
        self._held.put(item)

    def close(self) -> None:
        """Wait until all items are done; raises what one of them raised."""
        if self._thread.is_alive():
            self._held.put(_End())
            self._thread.join()
        self._check()

    def _check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        failed = False
        while not isinstance(item := self._held.get(), _End):
            try:
                if not failed:
                    self._work(item)
            except BaseException as error:
                failed, self._error = True, error
