"""Small videos."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from vos_zoo.types import Frame, LabelMap

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")
    )
    for name, module in (("pyav", "av"), ("opencv", "cv2"))
]
SIZE = (48, 64)


def quarters(index: int, size: tuple[int, int] = SIZE) -> Frame:
    """A red, a green, a blue and a grey quarter; the grey one gets brighter with time."""
    height, width = size
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    frame[: height // 2, : width // 2] = (200, 30, 30)
    frame[: height // 2, width // 2 :] = (30, 200, 30)
    frame[height // 2 :, : width // 2] = (30, 30, 200)
    frame[height // 2 :, width // 2 :] = 20 + 15 * index
    return frame


def square(size: tuple[int, int] = SIZE, identity: int = 1) -> LabelMap:
    labels = np.zeros(size, dtype=np.uint8)
    labels[8:20, 10:30] = identity
    return labels
