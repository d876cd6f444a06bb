"""Frames from anywhere: a video file, a folder of pictures or a camera, one RGB frame at a time.

A source is opened once for its facts (size, rate, names) and again for every pass over it, so it can be iterated twice
and holds one frame at a time. Video files go through PyAV where it is installed (extra ``video``), else OpenCV.
"""

from __future__ import annotations

import importlib.util
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import FRAME_SUFFIXES, camera_number, describe_order, list_files, no_such_file
from vos_zoo.types import Frame, UsageError, VOSError

Backend: TypeAlias = Literal["auto", "pyav", "opencv"]
"""Which library decodes or encodes video files; "auto" is PyAV where it is installed, else OpenCV."""


class FrameSource(ABC):
    """A stream of frames; iterating it yields uint8 RGB ``(H, W, 3)`` lazily and may be done again.

    Attributes:
        name: short name for messages and outputs (file stem, folder name, "camera").
        size: (height, width) of every frame, as shown (after rotation).
        fps: frames per second, None where nothing says so (folders).
        length: number of frames, as far as the container declares it; None where unknown (cameras).
        names: file stems of the frames, None where frames only have numbers.
    """

    name: str
    size: tuple[int, int]
    fps: float | None = None
    length: int | None = None
    names: tuple[str, ...] | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames from the first one on, uint8 RGB ``(H, W, 3)``."""

    def frame_name(self, index: int) -> str:
        """Name of frame `index` for output files: its file stem, or its number with at least five digits."""
        return self.names[index] if self.names is not None else f"{index:05d}"


def open_video(source: str | Path, *, backend: Backend = "auto") -> FrameSource:
    """Open a video file, a folder of frames, or a camera (``"camera"``, ``"camera:1"``; as a str, not a Path).

    Args:
        source: what to read. Folders hold pictures (.jpg .png .bmp .webp .tif), ordered by the numbers in their names.
        backend: library for video files.

    Raises:
        UsageError: nothing is there, the folder has no frames, the file holds no video that can be decoded, the camera
            does not answer, or the wanted backend is not installed.
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
    """The library "auto" stands for on this machine.

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
    """The pictures of one folder, in natural order of their names; how they are read says `vos_zoo.files.frames`."""

    def __init__(self, folder: Path) -> None:
        """List the frames of `folder` and read the first one for its size; warn of an order others may not share."""
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
            raise UsageError(f"{folder}: frame {twice[0]!r} is there in two formats; keep one picture per frame")
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
        """The frames in order; a frame of another size is an error, a tracker could not use it."""
        for path in self.files:
            frame = read_frame(path)
            if frame.shape[:2] != self.size:
                raise VOSError(
                    f"frame {path}: its size {frame.shape[1]}x{frame.shape[0]} differs from the first frame's "
                    f"{self.size[1]}x{self.size[0]}; all frames of a video need one size"
                )
            yield frame


class PyAVSource(FrameSource):
    """A video file decoded by PyAV (FFmpeg); its display rotation is applied."""

    def __init__(self, path: Path) -> None:
        """Read the stream's facts and decode one frame, so that a broken file is refused before any work."""
        import av

        self.path, self.name = path, path.stem
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise UsageError(f"{path}: has no video stream; give a video file or a folder of frames")
                stream = container.streams.video[0]
                rate = stream.average_rate or stream.guessed_rate
                self.fps = float(rate) if rate else None
                self.length = stream.frames or None
                first = next(container.decode(stream), None)
        except (av.FFmpegError, ValueError) as error:
            raise _undecodable(path, error) from error
        if first is None:
            raise _undecodable(path, "no frame in it")
        height, width = _upright(first).shape[:2]
        self.size = (height, width)

    def __iter__(self) -> Iterator[Frame]:
        """The decoded frames, upright; a decoding error in the middle names the frame."""
        import av

        index = 0
        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            decoded = container.decode(stream)
            while True:
                try:
                    frame = next(decoded, None)
                except av.FFmpegError as error:
                    raise VOSError(f"{self.path}: frame {index} cannot be decoded ({error}); re-encode it") from error
                if frame is None:
                    return
                yield _upright(frame)
                index += 1


def _upright(frame: Any) -> Frame:
    """A PyAV frame as RGB, turned by its display matrix (`rotation`: degrees counter-clockwise, multiples of 90)."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _undecodable(path: Path, reason: object) -> UsageError:
    detail = " ".join(str(reason).split())
    return UsageError(f"{path}: cannot be decoded as a video ({detail}); give an MP4 or a folder of frames")


class OpenCVSource(FrameSource):
    """A video file decoded by OpenCV, which applies the display rotation itself."""

    def __init__(self, path: Path) -> None:
        """Read the stream's facts and decode one frame, so that a broken file is refused before any work."""
        import cv2

        self.path, self.name = path, path.stem
        capture = cv2.VideoCapture(str(path))
        try:
            done, first = capture.read()
            if not done:
                raise _undecodable(path, "OpenCV finds no frame in it")
            self.fps = capture.get(cv2.CAP_PROP_FPS) or None
            self.length = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
            self.size = (first.shape[0], first.shape[1])
        finally:
            capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """The decoded frames; OpenCV does not tell a decoding error from the end of the file."""
        import cv2

        yield from _captured(cv2.VideoCapture(str(self.path)))


class CameraSource(FrameSource):
    """A camera read by OpenCV; the stream ends when the camera does or the user stops it."""

    def __init__(self, number: int) -> None:
        """Take one picture from a camera for its size."""
        import cv2

        self.number, self.name = number, "camera"
        capture = cv2.VideoCapture(self.number)
        try:
            done, first = capture.read() if capture.isOpened() else (False, None)
            if not done or first is None:
                raise UsageError(
                    f"camera:{number}: no camera answers under number {number}; plug one in or try another number"
                )
            self.fps = capture.get(cv2.CAP_PROP_FPS) or None
            self.size = (first.shape[0], first.shape[1])
        finally:
            capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Pictures as the camera delivers them."""
        import cv2

        yield from _captured(cv2.VideoCapture(self.number))


def _captured(capture: Any) -> Iterator[Frame]:
    """RGB frames of an OpenCV capture until it has no more; releases it also when the reader stops early."""
    try:
        while True:
            done, frame = capture.read()
            if not done:
                return
            yield np.ascontiguousarray(frame[..., ::-1])
    finally:
        capture.release()
