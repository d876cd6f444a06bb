"""Frames of a video file, a folder of images or a camera, one RGB frame at a time.

A source is opened once for its properties (size, rate, names) and again for every pass over it, so it can be iterated
twice and holds one frame at a time. Video files are read by PyAV if it is installed (extra ``video``), else by OpenCV.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import FRAME_SUFFIXES, camera_number, describe_order, list_files, no_such_file
from vos_zoo.types import Frame, UsageError, VOSError
from vos_zoo.video.opencv_source import CameraSource, OpenCVSource
from vos_zoo.video.pyav_source import PyAVSource
from vos_zoo.video.source import FrameSource

Backend: TypeAlias = Literal["auto", "pyav", "opencv"]
"""The library that decodes or encodes video files; "auto" is PyAV if it is installed, else OpenCV."""


def open_video(source: str | Path, *, backend: Backend = "auto") -> FrameSource:
    """Open a video file, a folder of frames, or a camera (``"camera"``, ``"camera:1"``; as a str, not a Path).

    Args:
        source: the source. Folders hold images (.jpg .png .bmp .webp .tif), ordered by the numbers in their names.
        backend: library for video files.

    Raises:
        UsageError: it does not exist, the folder has no frames, the file holds no video that can be decoded, the camera
            does not answer, or the backend is not installed.
    """
    number = camera_number(source)
    if number is not None:
        return CameraSource(number)
    path = Path(source)
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise UsageError(f"{source}: there is no such video file or folder; check the name (or give 'camera')")
    return PyAVSource(path) if resolve_backend(backend) == "pyav" else OpenCVSource(path)


def resolve_backend(backend: Backend) -> Literal["pyav", "opencv"]:
    """The library of "auto" on this machine.

    Raises:
        UsageError: `backend` is unknown or not installed.
    """
    if backend not in ("auto", "pyav", "opencv"):
        raise UsageError(f"video backend {backend!r} is unknown; use 'auto', 'pyav' or 'opencv'")
    has_pyav = importlib.util.find_spec("av") is not None
    has_opencv = importlib.util.find_spec("cv2") is not None
    if has_pyav and backend != "opencv":
        return "pyav"
    if has_opencv and backend != "pyav":
        return "opencv"
    raise UsageError(f"video backend {backend!r} is not installed; run: pip install 'vos-zoo[video]'")


class FolderSource(FrameSource):
    """The images of one folder, in natural order of their names."""

    def __init__(self, folder: Path) -> None:
        """List the frames of `folder` and read the first one for its size; warn of an ambiguous order."""
        super().__init__()
        self.files = list_files(folder)
        if not self.files:
            raise UsageError(
                f"{folder}: holds no frames ({' '.join(sorted(FRAME_SUFFIXES))}); give the frames' own folder"
            )
        lost = next((path for path in self.files if not path.exists()), None)
        if lost is not None:
            raise UsageError(f"frame {lost}: {no_such_file(lost)}")
        self.name = folder.resolve().name
        self.names = tuple(path.stem for path in self.files)
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise UsageError(f"{folder}: frame {twice[0]!r} exists in two formats; keep one file per frame")
        order = describe_order(self.names)
        if order is not None:
            warnings.warn(f"{folder}: {order}", stacklevel=3)
        self.length = len(self.files)
        try:
            first = read_frame(self.files[0])
        except VOSError as error:
            raise UsageError(str(error)) from error
        self.size = (first.shape[0], first.shape[1])

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order; a frame of another size is an error."""
        for path in self.files:
            frame = read_frame(path)
            if frame.shape[:2] != self.size:
                raise VOSError(
                    f"frame {path}: its size {frame.shape[1]}x{frame.shape[0]} differs from the first frame's "
                    f"{self.size[1]}x{self.size[0]}; all frames of a video need one size"
                )
            yield frame
