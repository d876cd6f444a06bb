"""Gradients in the memory layout of the images they belong to.

Where gradients of different memory layouts are added, every later operation is several times slower.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vos_zoo.nn.backbones import SmpEncoder, TimmEncoder


def branch(x: Tensor) -> Tensor:
    """The same images ``(B, C, h, w)`` for a consumer whose gradient is made channels last."""
    if not x.requires_grad:
        return x
    view = x.view_as(x)
    view.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return view


class ChannelsLastTimm(TimmEncoder):
    """Features whose gradients come back channels last, as the encoder computes."""

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """As the plain encoder's."""
        return tuple(branch(level) for level in super().forward(frames, length, skipped))


class ChannelsLastSmp(SmpEncoder):
    """Features whose gradients come back channels last, as the encoder computes."""

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """As the plain encoder's."""
        return tuple(branch(level) for level in super().forward(frames, length, skipped))
