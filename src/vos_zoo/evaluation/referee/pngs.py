"""Mask files of any tool: 8-bit ids, 16-bit ones that fit 8 bits, and what MOSEv2's program makes of colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vos_zoo.types import LabelMap, VOSError
from vos_zoo.video.masks import read_mask


def read_ids(path: Path, threshold: int | None = None) -> LabelMap:
    """A label map as it is stored, uint8 ``(H, W)``; 16-bit files may hold ids up to 255.

    Raises:
        VOSError: see `read_mask`; or a 16-bit file has higher ids.
    """
    if threshold is None and _mode(path).startswith("I"):
        with Image.open(path) as image:
            values = np.array(image)
        if values.min() < 0 or values.max() > 255:
            raise VOSError(f"mask {path}: has the ids up to {values.max()}; label maps hold 1..254, so renumber them")
        return values.astype(np.uint8)
    return read_mask(path, threshold=threshold)


def read_converted(path: Path) -> LabelMap:
    """A file converted to palette mode as MOSEv2's program does it: colours and 1-bit masks get other numbers.

    Raises:
        VOSError: the file cannot be read.
    """
    if _mode(path) not in ("1", "RGB", "RGBA"):
        return read_ids(path)
    with Image.open(path) as image:
        return np.array(image.convert("P")).astype(np.uint8)


def _mode(path: Path) -> str:
    """The mode of an image file; "" for other files, which `read_mask` refuses."""
    try:
        with Image.open(path) as image:
            return str(image.mode)
    except (OSError, UnidentifiedImageError, SyntaxError):
        return ""
