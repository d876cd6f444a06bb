"""Frames of a video by number, decoded from disk when they are asked for; a bounded number of bytes is held."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from vos_zoo.types import Frame, VOSError
from vos_zoo.video.source import FrameSource

CACHE_BYTES = 200_000_000
"""Bytes of decoded frames that are held for one video."""


class FrameStore:
    """Reads the frames of a source by number; safe to use from several threads.

    A frame after the last one read is decoded on the way forward; one before it that is no longer held needs a new
    pass from the start of the video.

    Args:
        source: a video file or a folder.
        cache_bytes: bytes of decoded frames to hold; the frames used last are kept.
    """

    def __init__(self, source: FrameSource, cache_bytes: int = CACHE_BYTES) -> None:
        self.source = source
        frame_bytes = 3 * source.size[0] * source.size[1]
        self._capacity = max(2, cache_bytes // frame_bytes)
        self._held: OrderedDict[int, Frame] = OrderedDict()
        self._stream: Iterator[Frame] = iter(())
        self._next: int | None = None
        self._lock = threading.Lock()

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``.

        Raises:
            VOSError: the frame cannot be read, or the video ends before it.
        """
        with self._lock:
            if index in self._held:
                self._held.move_to_end(index)
                return self._held[index]
            if self._next is None or index < self._next:
                self._stream, self._next = iter(self.source), 0
            for frame in self._stream:
                number, self._next = self._next, self._next + 1
                self._keep(number, frame)
                if number == index:
                    return frame
            count, self._next = self._next, None
            raise VOSError(f"{self.source.name}: there is no frame {index}; the video ended after {count} frames")

    def _keep(self, index: int, frame: Frame) -> None:
        self._held[index] = frame
        self._held.move_to_end(index)
        while len(self._held) > self._capacity:
            self._held.popitem(last=False)
