"""Drawn truths and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vos_zoo.cli import main
from vos_zoo.video.masks import write_mask

SIZE = (40, 50)
PLAIN_FRAMES = [f"{index:05d}" for index in range(6)]


def labels(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """A label map of boxes (id, top, left, height, width)."""
    found = np.zeros(SIZE, np.uint8)
    for one, top, left, height, width in boxes:
        found[top : top + height, left : left + width] = one
    return found


TRUTH = labels((1, 5, 5, 20, 20), (2, 25, 30, 10, 10))
HALF = labels((1, 5, 5, 20, 10), (2, 25, 30, 10, 10))


def write_maps(folder: Path, videos: Mapping[str, Sequence[np.ndarray]], frames: Sequence[str]) -> None:
    for video, maps in videos.items():
        for frame, one in zip(frames, maps, strict=True):
            write_mask(folder / video / f"{frame}.png", one)


def videos(prediction: np.ndarray = HALF) -> dict[str, list[np.ndarray]]:
    return {"alpha": [TRUTH] + [prediction] * 5, "beta": [TRUTH] * 6}


def score(*words: object) -> int:
    return main(["score", *map(str, words)])
