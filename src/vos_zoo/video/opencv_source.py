"""Video files and cameras read by OpenCV."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.types import Frame, UsageError
from vos_zoo.video.containers import HiddenBoxes, is_cut_off, leading_covers
from vos_zoo.video.source import FrameSource, cut_off, library_path, undecodable

_HELD_BACK = 16
"""Maximum number of frames that a decoder delays for reordering."""
_PROBED = 50
"""Number of equally spaced frames after which a file's declared rate is trusted."""


class OpenCVSource(FrameSource):
    """A video file decoded by OpenCV, which applies the display rotation itself."""

    def __init__(self, path: Path) -> None:
        """Read the stream's properties and decode one frame, so that a broken file fails early."""
        import cv2

        super().__init__()
        self.path, self.name = path, path.stem
        with _opened(path) as capture:
            done, first = capture.read()
            if not done:
                raise undecodable(path, "OpenCV finds no frame in it")
            self.size = (first.shape[0], first.shape[1])
            declared = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
            self.fps, count = _timing(capture)
        self._cut = is_cut_off(path)
        self.length = declared if self._cut or count is None else count

    def __iter__(self) -> Iterator[Frame]:
        """The decoded frames; the end of a file that is cut off names the frame.

        OpenCV does not distinguish other decoding errors from the end of the file.
        """
        import cv2

        self._times = array("d")
        whole = _whole_frames(self.path) if self._cut else None
        with _opened(self.path) as capture:
            for frame in islice(_frames(capture), whole):
                self._times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                yield frame
        if self._cut and (self.length is None or len(self._times) < self.length):
            raise cut_off(self.path, len(self._times), self.length)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A capture of the first video stream; cover images before it are hidden, which OpenCV would read instead."""
    import cv2

    covers = leading_covers(path)
    stream: Any = HiddenBoxes(path, covers) if covers else None  # must outlive the capture, which keeps no reference
    try:
        capture = cv2.VideoCapture(stream, cv2.CAP_FFMPEG, []) if covers else cv2.VideoCapture(library_path(path))
    except (cv2.error, TypeError):  # before version 4.11 OpenCV reads only files
        raise UsageError(
            f"{path}: this OpenCV reads its cover image instead of the video; run: pip install 'vos-zoo[video]'"
        ) from None
    try:
        yield capture
    finally:
        capture.release()
        if stream is not None:
            stream.close()


def _whole_frames(path: Path) -> int:
    """Number of frames of a cut-off file before the first gap."""
    import cv2

    times = []
    with _opened(path) as capture:
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    steps = np.diff(times)
    first = max(len(steps) - _HELD_BACK, 0)
    gaps = np.flatnonzero(steps[first:] > 1.5 * np.median(steps)) if len(steps) else steps
    return first + int(gaps[0]) + 1 if len(gaps) else len(times)


def _timing(capture: Any) -> tuple[float | None, int | None]:
    """Mean rate of a capture whose first frame was read, and the number of its frames if they had to be counted.

    The declared rate if the first frames agree with it; otherwise from the times of all frames, which are decoded for
    that: files of variable rate declare a common multiple.
    """
    import cv2

    rate = capture.get(cv2.CAP_PROP_FPS)
    times = [capture.get(cv2.CAP_PROP_POS_MSEC)]
    while len(times) < _PROBED and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    if rate > 0 and all(abs(after - before - 1000 / rate) < 2 for before, after in pairwise(times)):
        return rate, None
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    if times[-1] > times[0]:
        return 1000 * (len(times) - 1) / (times[-1] - times[0]), len(times)
    return (rate or None), None


class CameraSource(FrameSource):
    """A camera read by OpenCV; the stream ends when the camera does or `stop` is called."""

    def __init__(self, number: int) -> None:
        """Read one frame from a camera for its size."""
        import cv2

        super().__init__()
        self.number, self.name = number, "camera"
        with _camera(number) as capture:
            done, first = capture.read() if capture.isOpened() else (False, None)
            if not done or first is None:
                raise UsageError(
                    f"camera:{number}: no camera answers under number {number}; plug one in or try another number"
                )
            rate = capture.get(cv2.CAP_PROP_FPS)
            self.fps = rate if 0 < rate < math.inf else None  # some drivers return -1
            self.size = (first.shape[0], first.shape[1])
        self._stopped = False

    def stop(self) -> None:
        """End the stream with the next frame."""
        self._stopped = True

    def __iter__(self) -> Iterator[Frame]:
        """Frames as the camera delivers them, with their capture times."""
        self._times, self._stopped = array("d"), False
        with _camera(self.number) as capture:
            for frame in _frames(capture):
                if self._stopped:
                    return
                self._times.append(time.monotonic())
                yield frame


@contextmanager
def _camera(number: int) -> Iterator[Any]:
    """A capture of a camera, which is released also if the reader stops early."""
    import cv2

    capture = cv2.VideoCapture(number)
    try:
        yield capture
    finally:
        capture.release()


def _frames(capture: Any) -> Iterator[Frame]:
    """RGB frames of a capture until its end."""
    while True:
        done, frame = capture.read()
        if not done:
            return
        yield np.ascontiguousarray(frame[..., ::-1])
