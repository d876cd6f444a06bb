"""Streaming results to disk: palette PNGs in a folder, an overlay video, both, or COCO JSON.

Files are written atomically: under a temporary name in the same folder, then renamed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.files.atomic import publish, temporary_file
from vos_zoo.types import Frame, FrameResult, LabelMap, Prompt, UsageError, VOSError
from vos_zoo.video.convert import converted
from vos_zoo.video.json_writer import JsonWriter
from vos_zoo.video.masks import overlay, write_mask
from vos_zoo.video.panels import with_caption
from vos_zoo.video.reader import Backend, resolve_backend
from vos_zoo.video.result_writer import ResultWriter
from vos_zoo.video.source import library_path

DEFAULT_FPS = 24.0
"""Frame rate of an overlay video whose source has none (a folder of frames)."""

VIDEO_SUFFIX, JSON_SUFFIX = ".mp4", ".json"
_TICK = Fraction(1, 60000)
"""Ticks per second: a whole number of them per frame at 24, 25, 29.97, 30, 50 and 60 frames per second."""


class MaskFolderWriter(ResultWriter):
    """One palette PNG per frame, ``FOLDER/NAME.png``; written masks are kept if a run is interrupted."""

    def __init__(self, folder: str | Path, *, name: Callable[[int], str] = "{:05d}".format) -> None:
        """Prepare `folder`.

        Args:
            folder: folder of the PNGs; created if needed, files of the same name are replaced.
            name: frame index -> file stem, e.g. `FrameSource.frame_name`.

        Raises:
            UsageError: `folder` is a file.
        """
        self.folder, self.name = Path(folder), name
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"output {folder}: is a file; give a folder for masks or a name ending in {VIDEO_SUFFIX}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Write the label map, uint8 ``(H, W)``; `frame` is not needed."""
        write_mask(self.folder / f"{self.name(index)}.png", labels)

    def finish(self) -> None:
        """Nothing to do: every mask is complete when `write` returns."""

    def discard(self) -> None:
        """Nothing to do: masks are written atomically."""


class OverlayVideoWriter(ResultWriter):
    """An MP4 of the frames with their objects tinted; H.264 by PyAV if it is installed, else mp4v by OpenCV."""

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | None = None,
        alpha: float = 0.5,
        backend: Backend = "auto",
        time: Callable[[int], float | None] | None = None,
        caption: Callable[[int], str] = lambda index: "",
    ) -> None:
        """Prepare the file; it is opened with the first frame and renamed when it is finished.

        Args:
            path: name ending in ``.mp4``; its folder is created, an existing file is replaced.
            fps: frames per second; None takes `DEFAULT_FPS`.
            alpha: share of the palette colour inside an object, 0..1.
            backend: library that encodes.
            time: frame index -> seconds from the first frame, or None, e.g. `FrameSource.time`; frames with times are
                shown at these times (PyAV), others at the rate.
            caption: frame index -> a line of text in the upper left corner, empty for none.

        Raises:
            UsageError: another ending, a rate that is not positive, `path` is a folder, or no backend is installed.
        """
        self.path, self.alpha = Path(path), alpha
        self.fps = DEFAULT_FPS if fps is None else fps
        if self.path.suffix.lower() != VIDEO_SUFFIX or self.path.is_dir():
            raise UsageError(f"output {path}: an overlay video needs a file name ending in {VIDEO_SUFFIX}")
        if not 0 < self.fps < float("inf"):
            raise UsageError(f"output {path}: a rate of {fps} frames per second is invalid; give a positive number")
        self._encoder_type = _PyAVEncoder if resolve_backend(backend) == "pyav" else _OpenCVEncoder
        self._encoder: _PyAVEncoder | _OpenCVEncoder | None = None
        self._size: tuple[int, int] | None = None
        self._time = time
        self._temporary: Path | None = None
        self._caption = caption

    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Encode one frame, uint8 RGB ``(H, W, 3)``, tinted by its labels, uint8 ``(H, W)``; all have one size."""
        picture = _even(with_caption(overlay(frame, labels, self.alpha), self._caption(index)))
        size = (picture.shape[0], picture.shape[1])
        if self._encoder is None:
            self._encoder, self._size = self._opened(size), size
        if size != self._size:
            raise VOSError(
                f"output {self.path}: frame {index} has another size than the first one; a video has one size"
            )
        self._encoder.write(picture, None if self._time is None else self._time(index))

    def _opened(self, size: tuple[int, int]) -> _PyAVEncoder | _OpenCVEncoder:
        """An encoder of frames of `size`; checks first that the path can be written, which encoders report late."""
        try:
            self._temporary = temporary_file(self.path, f".tmp{VIDEO_SUFFIX}")
        except OSError as error:
            raise VOSError(f"output {self.path}: cannot be written ({error.strerror}); choose another path") from error
        return self._encoder_type(self._temporary, size, self.fps)

    def finish(self) -> None:
        """Close the video and rename it.

        Raises:
            VOSError: no frame was written.
        """
        if self._encoder is None or self._temporary is None:
            raise VOSError(f"output {self.path}: there was no frame to write; check the source")
        try:
            self._encoder.close()
            publish(self._temporary, self.path)
        finally:
            self._remove_temporary()

    def discard(self) -> None:
        """Remove what has been encoded so far; an older file of the name is kept."""
        try:
            if self._encoder is not None:
                self._encoder.abandon()
        finally:
            self._remove_temporary()

    def _remove_temporary(self) -> None:
        self._encoder = None
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


class _PyAVEncoder:
    """H.264 in MP4; colours are stored as BT.709 with the matching tags, so players show them unchanged."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        self._av, self._path = av, path
        self._target = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        with self._named_errors():
            self._container = av.open(library_path(path), "w")
            stream: Any = self._container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        self._first: float | None = None
        self._last = -1
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "fast"} if codec == "libx264" else {"qscale": "3"}
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709 in FFmpeg's numbering
        context.color_range = 1
        self._stream = stream

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._av.FFmpegError as error:
            raise VOSError(
                f"output {self._path}: cannot be written ({error}); check the folder and its space"
            ) from error

    def write(self, picture: Frame, seconds: float | None) -> None:
        with self._named_errors():
            drawn = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = converted(drawn, format="yuv420p", **self._target)
            if self._last < 0 and seconds is not None:  # the first frame decides whether times or the rate are used
                self._first = seconds
                self._stream.codec_context.time_base = self._stream.time_base = _TICK
            if self._first is not None:
                self._last = self._ticks(seconds)
                frame.pts, frame.time_base = self._last, _TICK
            self._container.mux(self._stream.encode(frame))

    def _ticks(self, seconds: float | None) -> int:
        """Presentation time of a frame, at least one tick after the frame before it."""
        wanted = self._last + 1 if seconds is None or self._first is None else round((seconds - self._first) / _TICK)
        return max(wanted, self._last + 1)

    def close(self) -> None:
        with self._named_errors():
            self._container.mux(self._stream.encode())  # flush the encoder
            self._container.close()

    def abandon(self) -> None:
        with suppress(self._av.FFmpegError):  # the file is deleted, so errors do not matter
            self._container.close()


class _OpenCVEncoder:
    """MPEG-4 part 2 in MP4: the only codec that OpenCV's wheels can write."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import cv2

        height, width = size
        self._writer = cv2.VideoWriter(library_path(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        if not self._writer.isOpened():
            raise VOSError(f"output {path}: OpenCV cannot write MP4 here; run: pip install 'vos-zoo[video]'")

    def write(self, picture: Frame, seconds: float | None) -> None:
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> None:
        self._writer.release()

    def abandon(self) -> None:
        self._writer.release()


def _even(picture: Frame) -> Frame:
    """The image with its last row or column repeated to an even size, as 4:2:0 video requires."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class CombinedWriter(ResultWriter):
    """Several writers as one; if one cannot finish, the others still do, and its error is raised."""

    def __init__(self, writers: Sequence[ResultWriter]) -> None:
        """Write everything to each of `writers`."""
        self.writers = tuple(writers)

    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Write frame `index`, uint8 ``(H, W, 3)``, and its labels, uint8 ``(H, W)``, with every writer."""
        for writer in self.writers:
            writer.write(index, frame, labels)

    def finish(self) -> None:
        """Finish every writer."""
        self._all(lambda writer: writer.finish)

    def discard(self) -> None:
        """Discard every writer's output."""
        self._all(lambda writer: writer.discard)

    def _all(self, action: Callable[[ResultWriter], Callable[[], None]]) -> None:
        with ExitStack() as stack:  # runs all callbacks even if one raises
            for writer in reversed(self.writers):
                stack.callback(action(writer))


def open_writer(
    output: str | Path,
    *,
    name: Callable[[int], str] = "{:05d}".format,
    fps: float | None = None,
    time: Callable[[int], float | None] | None = None,
    caption: Callable[[int], str] = lambda index: "",
    video: str = "video",
) -> ResultWriter:
    """The writer for an output name: an overlay video for ``*.mp4``, COCO JSON for ``*.json``, else palette PNGs.

    Args:
        output: file or folder name.
        name: frame index -> file stem of its mask.
        fps: rate of a video.
        time: frame index -> seconds from the first frame, or None; see `OverlayVideoWriter`.
        caption: frame index -> text on the frame of a video.
        video: the video's name in a JSON file.

    Raises:
        UsageError: the name has another file ending, or the writer refuses it.
    """
    path = Path(output)
    if path.suffix.lower() == VIDEO_SUFFIX:
        return OverlayVideoWriter(path, fps=fps, time=time, caption=caption)
    if path.suffix.lower() == JSON_SUFFIX:
        return JsonWriter(path, video=video, name=name)
    if path.suffix.lower() in {".avi", ".gif", ".mkv", ".mov", ".webm", ".png", ".jpg", ".jpeg", ".zip"}:
        raise UsageError(
            f"output {output}: {path.suffix} cannot be written; give a name ending in .mp4 or .json, or a folder"
        )
    return MaskFolderWriter(path, name=name)


Track = Callable[[Iterable[Frame], Mapping[int, Prompt]], Iterable[FrameResult]]
"""A tracker: frames and prompts in, one result per frame out, in order."""


def with_frames(
    track: Track, frames: Iterable[Frame], prompts: Mapping[int, Prompt]
) -> Iterator[tuple[Frame, FrameResult]]:
    """Run a tracker and yield every result with its frame.

    Only frames that the tracker has read ahead of its results (at most a clip) are held.

    Args:
        track: the tracker, e.g. `VOSModel.track`.
        frames: uint8 RGB ``(H, W, 3)`` each.
        prompts: frame index -> prompt.

    Raises:
        VOSError: a result has no frame that was read, or is out of order.
    """
    waiting: deque[tuple[int, Frame]] = deque()

    def remembered() -> Iterator[Frame]:
        for index, frame in enumerate(frames):
            waiting.append((index, frame))
            yield frame

    for result in track(remembered(), prompts):
        while waiting and waiting[0][0] < result.index:  # the tracker may skip frames before the first prompt
            waiting.popleft()
        if not waiting or waiting[0][0] != result.index:
            raise VOSError(f"the tracker's result {result.index} has no frame that was read; results must be in order")
        yield waiting.popleft()[1], result
