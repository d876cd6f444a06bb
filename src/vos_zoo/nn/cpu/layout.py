"""Images that stay channels last where a time axis is split off and merged again, forward and backward.

Where gradients of different memory layouts are added, every later operation is several times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def branch(x: Tensor) -> Tensor:
    """The same images ``(B, C, h, w)`` for a second consumer: their gradient is channels last."""
    if not x.requires_grad:
        return x
    view = x.view_as(x)
    view.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return view


def as_pictures(frames: Tensor) -> Tensor:
    """Frames ``(B, T, C, h, w)`` as images ``(B T, C, h, w)`` in the same memory layout, without a copy if possible.

    A plain flatten loses the layout: for a single frame its strides are ambiguous, and for a
    slice of several clips it returns channels first.
    """
    if frames.shape[1] == 1:
        return frames.squeeze(1)
    if frames.shape[0] == 1:
        return frames.squeeze(0)
    return frames.flatten(0, 1) if frames.is_contiguous() else torch.cat(frames.unbind())


def split_frames(frames: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """Consecutive slices ``(B, t, ...)`` of ``(B, T, ...)``, without a copy.

    Their gradients are concatenated in one pass, in the layout of `frames`; unused slices cost only
    zeros.
    """
    if not (frames.requires_grad and torch.is_grad_enabled()):
        return frames.split(list(lengths), dim=1)
    stretches: tuple[Tensor, ...] = _Split.apply(frames, tuple(lengths))
    return stretches


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.set_materialize_grads(False)
        ctx.lengths, ctx.size, ctx.strides = lengths, frames.shape, frames.stride()
        ctx.like = frames.new_empty(0)
        return frames.split(list(lengths), dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:  # type: ignore[override]
        total = ctx.like.new_empty_strided(ctx.size, ctx.strides)
        for part, gradient in zip(total.split(list(ctx.lengths), dim=1), gradients, strict=True):
            if gradient is None:
                part.zero_()
            else:
                part.copy_(gradient)
        return total, None
