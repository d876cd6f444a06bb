"""A video per object whose alpha channel is the mask: ProRes 4444 (``.mov``) or VP9 (``.webm``), by PyAV.

Alpha is stored without loss by both; VP9 is encoded without loss as a whole. A file holds neither frame names nor ids:
the file's name is the object's, frames are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.files.atomic import atomic_file
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.convert import converted
from vos_zoo.video.formats.rgba import from_rgba
from vos_zoo.video.source import library_path

CODECS = {
    ".mov": ("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}),
    ".webm": ("libvpx-vp9", "yuva420p", {"lossless": "1", "row-mt": "1"}),
}
"""Ending of the file -> FFmpeg's encoder, its pixel format and its options."""
_DECODER = {"vp9": "libvpx-vp9"}  # FFmpeg's own decoder of VP9 skips the alpha channel


def write_alpha_video(path: str | Path, pictures: Iterable[NDArray[np.uint8]], fps: float = 24.0) -> Path:
    """Write pictures with alpha as a video, atomically.

    Args:
        path: the file, ``.mov`` (ProRes 4444) or ``.webm`` (VP9).
        pictures: uint8 RGBA ``(H, W, 4)`` each, of one size.
        fps: frames per second.

    Raises:
        UsageError: another ending, or PyAV or its encoder is not installed.
        VOSError: there is no picture, sizes differ, or the file cannot be written.
    """
    path = Path(path)
    av = _pyav(path)
    codec, pixels, options = CODECS[path.suffix.lower()]
    if codec not in av.codecs_available:
        raise UsageError(f"{path}: this FFmpeg has no encoder {codec}; run: pip install 'vos-zoo[video]'")
    with _named_errors(av, path), atomic_file(path) as temporary:
        form = path.suffix.lower().removeprefix(".")
        with av.open(library_path(temporary), "w", format=form) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.pix_fmt, stream.options = pixels, dict(options)
            size: tuple[int, ...] | None = None
            for picture in pictures:
                if size is None:
                    size = picture.shape
                    stream.height, stream.width = picture.shape[:2]
                if picture.shape != size:
                    raise VOSError(f"{path}: a picture is {picture.shape}, the first one {size}; a video has one size")
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgba")
                container.mux(stream.encode(converted(frame, format=pixels)))
            if size is None:
                raise VOSError(f"{path}: there is no frame to write")
            container.mux(stream.encode())
    return path


def read_alpha_video(path: str | Path) -> Iterator[NDArray[np.bool_]]:
    """The masks of a video with alpha, bool ``(H, W)`` per frame: where it is at least half opaque.

    Raises:
        UsageError: another ending, or PyAV is not installed.
        VOSError: it cannot be read, or has no alpha channel.
    """
    path = Path(path)
    av = _pyav(path)
    with _named_errors(av, path), av.open(library_path(path)) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise VOSError(f"{path}: has no video stream; give a video with an alpha channel")
        name = stream.codec_context.name
        own = av.CodecContext.create(_DECODER[name], "r") if name in _DECODER else None
        for packet in container.demux(stream):
            frames = packet.decode() if own is None else own.decode(packet if packet.size else None)
            for frame in frames:
                if not any(component.is_alpha for component in frame.format.components):
                    raise VOSError(f"{path}: has no alpha channel ({frame.format.name}); export it with alpha")
                yield from_rgba(converted(frame, format="rgba").to_ndarray(), str(path))


def _pyav(path: Path) -> Any:
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"{path}: a video with alpha ends in {' or '.join(CODECS)}")
    try:
        import av
    except ImportError as error:
        raise UsageError("a video with alpha needs PyAV: pip install 'vos-zoo[video]'") from error
    return av


@contextmanager
def _named_errors(av: Any, path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise VOSError(f"{path}: {error}; check the file, its folder and the space there") from error
