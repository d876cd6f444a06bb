"""RGBA pictures of single objects: the frame's colours (or the object's palette colour), the mask as alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import MAX_ID
from vos_zoo.types import Frame, VOSError
from vos_zoo.video.masks import davis_palette


def to_rgba(mask: NDArray[Any], name: str, frame: Frame | None = None) -> NDArray[np.uint8]:
    """A picture of one object, uint8 ``(H, W, 4)``, transparent elsewhere.

    Args:
        mask: the object, ``(H, W)``.
        name: its name; an id has its palette colour, other names that of object 1.
        frame: the frame, uint8 RGB ``(H, W, 3)``; its colours are kept under the transparent pixels, too.

    Raises:
        VOSError: frame and mask differ in size.
    """
    visible = np.asarray(mask, dtype=bool)
    if frame is not None and frame.shape[:2] != visible.shape:
        raise VOSError(f"object {name}: the frame is {frame.shape[:2]}, its mask {visible.shape} (height, width)")
    if frame is None:
        one = int(name) if name.isascii() and name.isdecimal() and 0 < int(name) <= MAX_ID else 1
        frame = np.full((*visible.shape, 3), davis_palette()[3 * one : 3 * one + 3], dtype=np.uint8)
    return np.dstack([frame, np.where(visible, np.uint8(255), np.uint8(0))])


def from_rgba(picture: NDArray[np.uint8], what: str = "picture") -> NDArray[np.bool_]:
    """The mask of a picture, bool ``(H, W)``: where it is at least half opaque.

    Args:
        picture: uint8 ``(H, W, 4)``.
        what: what it is, for the message.

    Raises:
        VOSError: it has no alpha channel.
    """
    if picture.ndim != 3 or picture.shape[2] != 4:
        raise VOSError(f"{what}: has no alpha channel; a mask that is a picture of its own needs no import")
    return np.asarray(picture[..., 3] >= 128)
