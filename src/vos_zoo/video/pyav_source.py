"""Video files decoded by PyAV (FFmpeg): rotation, cover images, variable rates, cut-off files."""

from __future__ import annotations

import math
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.types import Frame, UsageError, VOSError
from vos_zoo.video.containers import is_cut_off
from vos_zoo.video.convert import converted
from vos_zoo.video.source import FrameSource, cut_off, library_path, undecodable

_VP8_SHOWN = 0x10
"""Bit of a VP8 packet's first byte: the frame is shown, not only used to predict others."""


class PyAVSource(FrameSource):
    """A video file decoded by PyAV (FFmpeg); its display rotation is applied."""

    def __init__(self, path: Path) -> None:
        """Read the stream's properties and decode one frame, so that a broken file fails early."""
        import av

        super().__init__()
        self.path, self.name = path, path.stem
        try:
            with av.open(library_path(path)) as container:
                stream = _video_stream(container)
                if stream is None and is_cut_off(path):
                    raise undecodable(path, "")
                if stream is None:
                    raise UsageError(f"{path}: has no video stream; give a video file or a folder of frames")
                rate, declared = stream.average_rate, _declared_frames(container, stream)
                first = next(container.decode(stream), None)
            if first is None:
                raise undecodable(path, "no frame in it")
            self.fps, count = _timing(path, float(rate) if rate else None)
            self.length = declared if is_cut_off(path) or count is None else count
        except (av.FFmpegError, ValueError) as error:
            raise undecodable(path, error) from error
        height, width = _upright(first).shape[:2]
        self.size = (height, width)

    def __iter__(self) -> Iterator[Frame]:
        """The decoded frames, upright; a decoding error, or the end of a cut-off file, names the frame."""
        import av

        self._times, cut, warned = array("d"), is_cut_off(self.path), False
        with av.open(library_path(self.path)) as container:
            stream = _video_stream(container)
            assert stream is not None, "checked when the file was opened"
            stream.thread_type = "AUTO"
            try:
                for frame in _decoded(container, stream, cut):
                    if frame.is_corrupt and cut:
                        break
                    if frame.is_corrupt and not warned:
                        warned = True
                        warnings.warn(f"{self.path}: frame {len(self._times)} is damaged", stacklevel=2)
                    self._times.append(math.nan if frame.time is None else frame.time)
                    yield _upright(frame)
            except av.FFmpegError as error:
                if not cut:
                    raise VOSError(
                        f"{self.path}: frame {len(self._times)} cannot be decoded ({error}); re-encode it"
                    ) from error
        if cut and (self.length is None or len(self._times) < self.length):
            raise cut_off(self.path, len(self._times), self.length)


def _video_stream(container: Any) -> Any | None:
    """The first video stream that is not an attached image (a cover, thumbnails of chapters)."""
    from av.stream import Disposition

    attached = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((stream for stream in container.streams.video if not stream.disposition & attached), None)


def _declared_frames(container: Any, stream: Any) -> int | None:
    """Number of frames that a file declares, or that fit its duration."""
    if stream.frames or not container.duration or not stream.average_rate:
        return stream.frames or None
    return round(container.duration / 1_000_000 * stream.average_rate)


def _decoded(container: Any, stream: Any, cut: bool) -> Iterator[Any]:
    """PyAV's frames in display order; of a cut-off file those before the first missing one."""
    last, step = None, math.inf
    for packet in container.demux(stream):
        ends = cut and (packet.is_corrupt or not packet.size)  # flush the frames that the decoder delayed
        for frame in stream.decode(None) if ends else packet.decode():
            if last is not None and frame.pts is not None:
                if ends and frame.pts - last > 1.5 * step:  # the frames between were after the cut
                    return
                step = min(step, frame.pts - last)
            last = frame.pts
            yield frame
        if ends:
            return


def _timing(path: Path, declared: float | None) -> tuple[float | None, int | None]:
    """Mean rate and number of the displayed frames, from the packets' times, without decoding.

    Declared values are often wrong: live recordings have no rate or a common multiple of all, MP4s of variable rate
    count up to the last decoding time, trimmed ones count frames they do not show. `declared` is used if packets have
    no times.
    """
    import av

    with av.open(library_path(path)) as container:
        stream = _video_stream(container)
        assert stream is not None, "checked when the file was opened"
        shown = [packet.pts for packet in container.demux(stream) if packet.pts is not None and _is_shown(packet)]
        seconds = float((max(shown) - min(shown)) * stream.time_base) if shown else 0.0
    if not seconds:
        return declared, len(shown) or None
    rate = (len(shown) - 1) / seconds
    agrees = declared is not None and abs(rate / declared - 1) < 0.005  # times may be rounded to milliseconds
    return declared if agrees else rate, len(shown)


def _is_shown(packet: Any) -> bool:
    """Whether a packet's frame is displayed: trimmed videos and VP8 have others."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(bytes(packet)[0] & _VP8_SHOWN)


def _upright(frame: Any) -> Frame:
    """A PyAV frame as RGB, rotated by its display matrix (`rotation`: degrees counter-clockwise, multiples of 90)."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    picture = converted(frame, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
