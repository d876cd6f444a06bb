"""How many maps go through a layer together: the one place where that depends on gradients and on the device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def per_pass(like: Tensor, cpu: int, other: int | None = None) -> int:
    """Maximum number of maps, objects or tokens that go through layers together.

    While gradients are recorded it is all of them: every intermediate result is kept for the backward pass anyway.

    Args:
        like: a tensor on the device in question.
        cpu: the number on a CPU, so that intermediate results fit its cache.
        other: the number on other devices, which bounds their memory; None: all.
    """
    if torch.is_grad_enabled():
        return sys.maxsize
    limit = cpu if like.device.type == "cpu" else other
    return sys.maxsize if limit is None else limit


def in_passes(x: Tensor, count: int, dim: int = 0) -> Sequence[Tensor]:
    """Pieces of at most `count` along `dim`; a single one is `x` itself (a split into one would copy gradients)."""
    return [x] if count >= x.shape[dim] else x.split(count, dim)


def run_in_passes(layer: Callable[[Tensor], Tensor], x: Tensor, count: int, dim: int = 0) -> Tensor:
    """What `layer` makes of all of `x`, in pieces of at most `count` along `dim`, each with its own result."""
    pieces = in_passes(x, count, dim)
    return layer(x) if len(pieces) == 1 else torch.cat([layer(piece) for piece in pieces], dim)
