"""Frames of PyAV in another pixel format or size."""

from __future__ import annotations

from typing import Any


def converted(frame: Any, **options: Any) -> Any:
    """A frame in another format or size, converted by one thread.

    Several threads of FFmpeg's scaler overwrite the first pixels of each other's rows, at random, where the width is no
    multiple of what it converts at once. Versions of PyAV that always use one thread do not take the argument.

    Args:
        frame: a frame of PyAV.
        options: arguments of its method `reformat`.
    """
    try:
        return frame.reformat(threads=1, **options)
    except TypeError:
        return frame.reformat(**options)
