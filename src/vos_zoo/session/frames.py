"""Frames of a video by number, from a file, a folder, an array, a sequence or a function; cached in bounded memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import camera_number
from vos_zoo.prompts import check_frame
from vos_zoo.types import Frame, UsageError, VideoSequence, VOSError
from vos_zoo.video.reader import FolderSource, open_video
from vos_zoo.video.source import FrameSource

Video: TypeAlias = "str | Path | Sequence[Frame] | VideoSequence | Callable[[int], Frame] | Any"
"""A video file, a folder of frames, an array ``(T, H, W, 3)``, a sequence of frames, or a function of the number."""
CACHE_BYTES = 256 << 20
"""Frames in memory, by default."""
_SAMPLES = 16
"""Frames whose pixels identify a video that is given as a function."""


class FrameStore:
    """Frames by number.

    Args:
        video: see `Video`; a function is called with the number of a frame and returns the same pixels every time.
        length: frames of the video; needed for a function, else found.
        cache_bytes: frames kept in memory at most (at least one).

    Attributes:
        length: frames of the video.
        size: (height, width) of the frames.
        name: of the video, for messages.
        names: file stems of the frames, None if they have only numbers.
        fps: frames per second, None if unknown.

    Raises:
        UsageError: it is none of these, or has no frames.
    """

    def __init__(self, video: Video, length: int | None = None, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache: OrderedDict[int, Frame] = OrderedDict()
        self._cache_bytes, self._cached = cache_bytes, 0
        self._reader: _Reader | None = None
        self.names: tuple[str, ...] | None = None
        self.fps: float | None = None
        self.name = "video"
        self._content: Callable[[], Iterator[bytes]] = self._sampled_content
        self._read, found = self._open(video)
        count = length if length is not None else found
        if count is None:
            raise UsageError("a video given as a function needs its number of frames: length=N")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise UsageError(f"the video has {count!r} frames; it needs at least one")
        if found is not None and count > found:
            raise UsageError(f"length is {count}, but the video has {found} frames")
        self.length: int = count
        first = self.frame(0)
        self.size = (first.shape[0], first.shape[1])
        self._digest: str | None = None

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``; not to be changed.

        Raises:
            UsageError: there is no such frame, or it is no frame of this video's size.
            VOSError: it cannot be read.
        """
        if not 0 <= index < self.length:
            raise UsageError(f"there is no frame {index}; the video has {self.length}, numbered from 0")
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        return self._keep(index, self._read(index))

    @property
    def digest(self) -> str:
        """SHA-256 that identifies the video: of its file, of its frames' files or pixels, or of some frames' pixels."""
        if self._digest is None:
            digest = hashlib.sha256(repr((self.length, self.size)).encode())
            for part in self._content():
                digest.update(part)
            self._digest = digest.hexdigest()
        return self._digest

    def _keep(self, index: int, frame: Frame) -> Frame:
        """Check a frame and cache it."""
        frame = check_frame(frame, getattr(self, "size", None), index)
        self._cache[index] = frame
        self._cached += frame.nbytes
        while self._cached > self._cache_bytes and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return frame

    def _open(self, video: Video) -> tuple[Callable[[int], Frame], int | None]:
        """How frames are read, and their number where it is known."""
        if isinstance(video, str | Path):
            if camera_number(video) is not None:
                raise UsageError("a camera has no frames by number; record it first, and give the file")
            return self._open_source(open_video(video))
        if isinstance(video, FrameSource):
            return self._open_source(video)
        if isinstance(video, VideoSequence):
            self.name, self.names = video.name, video.frame_names
            self._content = lambda: (video.frame_content(index) for index in range(len(video)))
            return video.frame, len(video)
        if callable(video) and not hasattr(video, "__getitem__"):
            return video, None
        if not (hasattr(video, "__getitem__") and hasattr(video, "__len__")):
            raise UsageError(
                f"the video is a {type(video).__name__}; give a file, a folder, an array (T, H, W, 3), a sequence of "
                "frames, or a function of the frame's number with length=N"
            )
        frames: Any = video
        if not len(frames):
            raise UsageError("the video has no frames")
        self._content = lambda: (np.ascontiguousarray(frames[index]).tobytes() for index in range(self.length))
        return frames.__getitem__, len(frames)

    def _open_source(self, source: FrameSource) -> tuple[Callable[[int], Frame], int | None]:
        self.name, self.names, self.fps = source.name, source.names, source.fps
        if isinstance(source, FolderSource):
            files = source.files
            self._content = lambda: (f"{path.name}:".encode() + path.read_bytes() for path in files)
            return lambda index: read_frame(files[index]), len(files)
        self._reader = _Reader(source, self._keep)
        path = getattr(source, "path", None)
        if path is not None:
            self._content = lambda: _chunks(path)
        return self._reader, source.length if source.length is not None else sum(1 for _ in source)

    def _sampled_content(self) -> Iterator[bytes]:
        """Pixels of evenly spread frames."""
        for index in sorted({round(t) for t in np.linspace(0, self.length - 1, min(_SAMPLES, self.length))}):
            yield self.frame(index).tobytes()


class _Reader:
    """Frames of a source that is read in order: on from the last frame, or again from the first.

    All frames on the way are cached, so that going backward reads the source once per filling of the cache.
    """

    def __init__(self, source: FrameSource, keep: Callable[[int, Frame], Frame]) -> None:
        self._source, self._keep = source, keep
        self._frames: Iterator[Frame] = iter(())
        self._next: int | None = None

    def __call__(self, index: int) -> Frame:
        if self._next is None or index < self._next:
            self._frames, self._next = iter(self._source), 0
        for frame in self._frames:
            number, self._next = self._next, self._next + 1
            if number == index:
                return frame
            self._keep(number, frame)
        count, self._next = self._next, None
        raise VOSError(f"{self._source.name}: ends after {count} frames; frame {index} is missing")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
