"""Masks of every kind as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vos_zoo.video.masks import write_mask

SIZE = (48, 64)


def squares(*ids: int) -> np.ndarray:
    """A square of 8x8 pixels per id, side by side."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    for column, identity in enumerate(ids):
        labels[10:18, 4 + 12 * column : 12 + 12 * column] = identity
    return labels


def folder_of(root: Path, videos: dict[str, list[np.ndarray]], save: Callable[..., None] = write_mask) -> Path:
    """A data set of videos with these masks, one per frame."""
    for name, maps in videos.items():
        for index, labels in enumerate(maps):
            frame = root / "JPEGImages" / name / f"{index:05d}.jpg"
            frame.parent.mkdir(parents=True, exist_ok=True)
            (root / "Annotations" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIZE[1], SIZE[0]), (90, 20 * index, 50)).save(frame)
            save(root / "Annotations" / name / f"{index:05d}.png", labels)
    return root


def save_grey(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels).save(path)


def ellipse(level: int = 255, size: int = 20, at: tuple[int, int] = (8, 8)) -> Image.Image:
    image = Image.new("L", (SIZE[1], SIZE[0]))
    ImageDraw.Draw(image).ellipse([*at, at[0] + size, at[1] + size], fill=level)
    return image
