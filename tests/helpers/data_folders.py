"""Frames and masks written to folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo.video.masks import write_mask

SIZE = (24, 40)


def write_frames(folder: Path, names: list[str], size: tuple[int, int] = SIZE, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        Image.new("RGB", (size[1], size[0]), (10 * shade, 100, 50)).save(folder / f"{name}{suffix}")


def label_map(*ids: int) -> np.ndarray:
    labels = np.zeros(SIZE, dtype=np.uint8)
    for column, identity in enumerate(ids):
        labels[4:12, 6 * column : 6 * column + 5] = identity
    return labels


def write_masks(folder: Path, maps: dict[str, tuple[int, ...]]) -> None:
    for name, ids in maps.items():
        write_mask(folder / f"{name}.png", label_map(*ids))


def names(count: int, start: int = 0, step: int = 1, digits: int = 5) -> list[str]:
    return [f"{start + step * index:0{digits}d}" for index in range(count)]
