"""The interface of all sources of frames, and their errors for files that are not a video or are cut off."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path

from vos_zoo.types import Frame, UsageError, VOSError
from vos_zoo.video.containers import is_cut_off


class FrameSource(ABC):
    """A stream of frames; iterating yields uint8 RGB ``(H, W, 3)`` lazily, and may be repeated.

    A frame that cannot be read, and a premature end of the file, raise a `VOSError` when they are reached.

    Attributes:
        name: short name for messages and outputs (file stem, folder name, "camera").
        size: (height, width) of every frame, as displayed (after rotation).
        fps: mean frames per second, None if unknown (folders).
        length: number of frames as declared by the container; None if unknown (cameras).
        names: file stems of the frames, None if frames only have numbers.
    """

    name: str
    size: tuple[int, int]
    fps: float | None = None
    length: int | None = None
    names: tuple[str, ...] | None = None

    def __init__(self) -> None:
        self._times = array("d")

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames from the first one on, uint8 RGB ``(H, W, 3)``."""

    def frame_name(self, index: int) -> str:
        """Name of frame `index` for output files: its file stem, or its number with at least five digits."""
        return self.names[index] if self.names is not None else f"{index:05d}"

    def time(self, index: int) -> float | None:
        """Seconds from the first frame to frame `index`, once it is read; None if frames have no times."""
        if not 0 <= index < len(self._times):
            return None
        seconds = self._times[index] - self._times[0]
        return seconds if seconds == seconds else None


def library_path(path: Path) -> str:
    """A path in a form that FFmpeg and OpenCV read as a file: ``12:30.mp4`` alone would be a protocol."""
    return os.path.abspath(path)


def undecodable(path: Path, reason: object) -> UsageError:
    """The error for a file without a video that can be decoded."""
    if is_cut_off(path):
        return UsageError(f"{path}: the file is cut off before its first frame or its index; get the whole file")
    detail = " ".join(str(reason).split())
    return UsageError(f"{path}: cannot be decoded as a video ({detail}); give an MP4 or a folder of frames")


def cut_off(path: Path, count: int, length: int | None) -> VOSError:
    """The error for a file that ends after `count` frames."""
    declared = "" if length is None else f" of the {length} it declares"
    return VOSError(f"{path}: the file is cut off: frame {count}{declared} is missing; get the whole file")
