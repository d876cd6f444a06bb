"""What a user gives in a frame, checked: masks and boxes of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vos_zoo.types import Frame, Prompt, UsageError


def check_frame(frame: Any, size: tuple[int, int] | None, index: int) -> Frame:
    """Frame number `index` of a video of `size` (H, W; None: the first one).

    Raises:
        UsageError: it is no uint8 RGB array, or of another size.
    """
    if not isinstance(frame, np.ndarray):
        raise UsageError(f"frame {index} is a {type(frame).__name__}; frames are uint8 RGB arrays (H, W, 3)")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise UsageError(f"frame {index} is {frame.dtype} {frame.shape}; frames are uint8 RGB (H, W, 3)")
    if size is not None and frame.shape[:2] != size:
        raise UsageError(f"frame {index} has size {frame.shape[:2]}, the video {size}; resize it, or start anew")
    return frame


def understand(frame: Frame, prompt: Prompt, index: int) -> dict[int, Any] | None:
    """Prompt of frame `index` as id -> bool mask ``(H, W)`` or box (x, y, w, h); None if it names no object.

    Raises:
        UsageError: it does not fit `frame`.
    """
    height, width = frame.shape[:2]
    if isinstance(prompt, Mapping):
        return _boxes(prompt, height, width, index)
    labels = np.asarray(prompt)
    if labels.shape != (height, width):
        raise UsageError(f"the mask given in frame {index} is {labels.shape}, the frame {(height, width)}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > 255:
        raise UsageError(f"the mask given in frame {index} is {labels.dtype}; label maps hold ids 0..255")
    return {int(i): labels == i for i in np.unique(labels) if i != 0} or None


def _boxes(prompt: Mapping[int, Sequence[float]], height: int, width: int, index: int) -> dict[int, Any] | None:
    for i, box in prompt.items():
        if not 0 < int(i) <= 255:
            raise UsageError(f"object id {i} in frame {index}: ids lie in 1..255")
        if len(box) != 4 or not np.isfinite(box).all() or box[2] <= 0 or box[3] <= 0:
            raise UsageError(f"box {tuple(box)} of object {i}: give x,y,w,h with positive w and h")
        if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
            raise UsageError(f"box {tuple(box)} of object {i} lies outside the {width}x{height} frame")
    return {int(i): tuple(float(v) for v in box) for i, box in prompt.items()} or None
