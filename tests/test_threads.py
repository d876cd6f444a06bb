"""Threads beside a computation: order kept, errors where they belong, nothing lost, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vos_zoo.threads import Behind, ahead
from vos_zoo.types import VOSError
from vos_zoo.video.background import BackgroundWriter
from vos_zoo.video.writer import MaskFolderWriter


def running() -> int:
    return sum(thread.name in ("reading ahead", "writing behind") for thread in threading.enumerate())


def test_items_read_ahead_come_in_order_and_at_most_as_many_are_held() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            yield number

    items = ahead(source(), depth=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(read) <= 1 + 3 + 1
    assert list(items) == list(range(1, 20))
    assert running() == 0


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise VOSError("frame 3 is broken")

    items = ahead(source())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(VOSError, match="frame 3 is broken"):
        next(items)
    assert running() == 0


def test_a_reader_that_is_left_early_is_closed() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = ahead(source(), depth=2)
    next(items)
    items.close()
    assert closed.is_set() and running() == 0


def test_work_behind_is_done_in_order_and_its_error_stops_it() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise VOSError("disk full at 3")
        done.append(item)

    behind = Behind(work, depth=2)
    with pytest.raises(VOSError, match="disk full at 3"):
        for item in range(100):
            behind.put(item)
        behind.close()
    behind.close()
    assert done == [0, 1, 2] and running() == 0


class _Slow(MaskFolderWriter):
    finished = discarded = False

    def write(self, index: int, frame: np.ndarray, labels: np.ndarray) -> None:
        time.sleep(0.02)
        super().write(index, frame, labels)

    def finish(self) -> None:
        self.finished = True

    def discard(self) -> None:
        self.discarded = True


@pytest.mark.parametrize("interrupted", [False, True])
def test_results_handed_over_are_written_also_when_a_run_is_interrupted(tmp_path: Path, interrupted: bool) -> None:
    slow, frame, labels = _Slow(tmp_path), np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8)

    def run() -> None:
        with BackgroundWriter(slow) as writer:
            for index in range(6):
                writer.write(index, frame, labels)
            if interrupted:
                raise KeyboardInterrupt

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{index:05d}.png" for index in range(6)]
    assert (slow.finished, slow.discarded) == (not interrupted, interrupted) and running() == 0
