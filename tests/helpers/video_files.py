"""Encoded videos."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vos_zoo.types import Frame

av = pytest.importorskip("av")
SIZE = (64, 96)


def frame(index: int) -> Frame:
    """A frame that tells its number by its brightness (up to 40 frames)."""
    picture = np.full((*SIZE, 3), 20 + 5 * index, dtype=np.uint8)
    picture[16:40, 20:50] = (220, 40, 30)
    return picture


def encode(
    path: Path,
    count: int = 30,
    times: Sequence[int] | None = None,
    audio: bool = False,
    codec: str = "libx264",
    **muxer: str,
) -> Path:
    """A video of `count` frames at 25 per second, or at `times` in milliseconds."""
    with av.open(str(path), "w", options=muxer) as container:
        sound = container.add_stream("aac", rate=16000) if audio else None
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"g": "12"} if codec == "libx264" else {}
        stream.bit_rate = 4_000_000
        if times is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if sound is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 32000), dtype=np.float32), format="fltp", layout="mono")
            samples.sample_rate = 16000
            container.mux(sound.encode(samples))
        for index in range(count):
            picture = av.VideoFrame.from_ndarray(frame(index), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        for each in container.streams:
            container.mux(each.encode())
    return path


def duration(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return float(stream.duration * stream.time_base)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
