"""Bicubic resizing with gradients on a CPU as two matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vos_zoo.nn.resize import Bicubic
from vos_zoo.tensors import cached_tensors

ROWS = 32
"""Outputs of one axis computed together: more would multiply more zeros, fewer would be many small products."""


class BandedBicubic(Bicubic):
    """With gradients on a CPU two products, one per axis: torch's backward takes many times as long."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, C, h, w)`` -> ``(B, C, *size)``."""
        reduced = torch.is_autocast_enabled(x.device.type)
        if not torch.is_grad_enabled() or x.device.type != "cpu" or reduced or torch.compiler.is_compiling():
            return super().forward(x, size)
        rows, columns = (_bicubic_bands(a, b, x.dtype) for a, b in zip(x.shape[-2:], size, strict=True))
        if x.shape[1] < 16:
            wide: Tensor = _Resized.apply(x.contiguous().flatten(0, 1), columns, True)
            return _Resized.apply(wide, rows, False).unflatten(0, x.shape[:2])
        pixels = x.permute(0, 2, 3, 1)  # the convolutions before return channels last
        high: Tensor = _Resized.apply(pixels.flatten(2), rows, False)
        lines = high.unflatten(2, pixels.shape[2:]).flatten(0, 1)
        return _Resized.apply(lines, columns, False).unflatten(0, high.shape[:2]).permute(0, 3, 1, 2)


class _Band(NamedTuple):
    """Weights of the outputs `first` to `last` of an axis, which depend on the inputs `start` to `stop` only."""

    first: int
    last: int
    start: int
    stop: int
    weights: Tensor


class _Resized(torch.autograd.Function):
    """One axis of ``(B, n, m)`` resized: the last one, or the one before."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bands: tuple[_Band, ...], last: bool) -> Tensor:  # type: ignore[override]
        ctx.bands, ctx.last, ctx.size = bands, last, x.shape
        if last:
            return torch.cat([x[..., band.start : band.stop] @ band.weights.T for band in bands], dim=2)
        return torch.cat([band.weights @ x[:, band.start : band.stop] for band in bands], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        total = gradient.new_zeros(ctx.size)
        for band in ctx.bands:
            if ctx.last:
                total[..., band.start : band.stop] += gradient[..., band.first : band.last] @ band.weights
            else:
                total[:, band.start : band.stop] += band.weights.T @ gradient[:, band.first : band.last]
        return total, None, None


@cached_tensors(maxsize=32)
def _bicubic_bands(length: int, size: int, dtype: torch.dtype) -> tuple[_Band, ...]:
    """The matrix ``(size, length)`` that resizes one axis, in blocks of rows without their surrounding zeros."""
    unit = torch.eye(length, dtype=torch.float64)[None, None]
    matrix = F.interpolate(unit, (size, length), mode="bicubic", align_corners=False)[0, 0].to(dtype)
    bands = []
    for first in range(0, size, ROWS):
        rows = matrix[first : first + ROWS]
        seen = rows.any(dim=0).nonzero()
        start, stop = int(seen[0]), int(seen[-1]) + 1
        bands.append(_Band(first, first + len(rows), start, stop, rows[:, start:stop].contiguous()))
    return tuple(bands)
