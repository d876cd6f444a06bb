"""Folders of masks."""

from __future__ import annotations

import numpy as np

SIZE = (48, 64)


def square(label: int, top: int, left: int, side: int = 14) -> np.ndarray:
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[top : top + side, left : left + side] = label
    return labels


def moving(labels: tuple[int, ...], frames: int = 6, shift: int = 0) -> list[np.ndarray]:
    """Label maps of squares that move to the right, `shift` pixels off."""
    tops = range(2, 2 + 15 * len(labels), 15)
    return [
        np.maximum.reduce([square(label, top, 4 + 2 * t + shift) for label, top in zip(labels, tops, strict=True)])
        for t in range(frames)
    ]
