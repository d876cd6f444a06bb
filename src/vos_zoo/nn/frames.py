"""Frames of clips as images and back."""

from __future__ import annotations

import torch
from torch import Tensor


def as_images(frames: Tensor) -> Tensor:
    """Frames ``(B, T, C, h, w)`` as images ``(B T, C, h, w)`` in the same memory layout, without a copy if possible.

    A plain flatten loses the layout: for a single frame its strides are ambiguous, and for a slice of several clips it
    returns channels first.
    """
    if frames.shape[1] == 1:
        return frames.squeeze(1)
    if frames.shape[0] == 1:
        return frames.squeeze(0)
    return frames.flatten(0, 1) if frames.is_contiguous() else torch.cat(frames.unbind())
