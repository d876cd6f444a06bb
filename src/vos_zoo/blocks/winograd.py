"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3), for inference on a CPU.

A tile of 4x4 results depends on 6x6 inputs. Both, and the filter, are read as polynomials and evaluated at six points;
there a convolution is a product, 36 per tile instead of 144 (Lavin and Gray 2016). The algebra is exact; rounding is
some five times that of a plain convolution, far less than with the usual points 0, +-1, +-2, whose powers differ more.
Libraries for GPUs choose such algorithms by themselves; the CPU library that torch calls does not.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(4, 3), Fraction(-4, 3))
"""Where polynomials are evaluated; the sixth point is infinity."""
TILE, TAPS = 4, 3
SIDE = TILE + TAPS - 1
LEAST_CHANNELS, LEAST_PIXELS = 128, 1024
"""Smaller layers are bound by memory: there the plain convolution is faster."""
STRIP_BYTES = 4 << 20
"""Transformed inputs held at a time, so that they stay in the cache."""


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with a border of zeros, by the faster of two ways."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, TAPS, padding=1)

    def forward(self, x: Tensor, rectify: bool = False, plus: Tensor | None = None) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h, w)``; for `rectify` and `plus` see `convolve`."""
        return convolve(x, self.weight, self.bias, rectify, plus)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool = False, plus: Tensor | None = None
) -> Tensor:
    """A 3x3 convolution with a border of zeros.

    Args:
        x: ``(B, C, h, w)``.
        weight: ``(C', C, 3, 3)``.
        bias: ``(C',)`` or None.
        rectify: whether to convolve the positive part of `x`.
        plus: added to the result, ``(B, C', h, w)``.

    Returns:
        ``(B, C', h, w)``; no promise about its layout in memory.
    """
    large = min(weight.shape[:2]) >= LEAST_CHANNELS and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
    plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32
    if plain or not large or x.device.type != "cpu":
        result = F.conv2d(F.relu(x) if rectify else x, weight, bias, padding=1)
        return result if plus is None else result.add_(plus)
    return winograd(x, weight, bias, rectify, plus)


def winograd(
    x: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool = False, plus: Tensor | None = None
) -> Tensor:
    """As `convolve`, always by Winograd's algorithm; tensors on the CPU, without gradients; channels come last."""
    batch, channels, height, width = x.shape
    rows, columns, outputs = -(-height // TILE), -(-width // TILE), weight.shape[0]
    to_points, to_filters, to_tiles = (matrix.to(x.dtype) for matrix in _matrices())
    filters = (to_filters @ weight.permute(2, 3, 1, 0).reshape(TAPS * TAPS, -1)).view(SIDE * SIDE, channels, outputs)
    padded = _padded(x, TILE * rows + 2, TILE * columns + 2, rectify)
    _, line, pixel, _ = padded.stride()
    result = x.new_empty(batch, TILE * rows, TILE * columns, outputs)
    offset = x.new_zeros(outputs) if bias is None else bias
    if plus is not None:
        plus = _padded_to(plus.permute(0, 2, 3, 1), TILE * rows, TILE * columns)
    strip = max(1, STRIP_BYTES // (SIDE * SIDE * columns * channels * x.element_size()))
    together = max(1, strip // rows)
    for start in range(0, batch, together):
        pictures, found = padded[start : start + together], result[start : start + together]
        for first in range(0, rows, strip):
            here = min(strip, rows - first)
            tiles = pictures[:, TILE * first :].as_strided(
                (SIDE, SIDE, len(pictures), here, columns, channels),
                (line, pixel, padded.stride(0), TILE * line, TILE * pixel, 1),
            )
            points = (to_points @ tiles.reshape(SIDE * SIDE, -1)).view(SIDE * SIDE, -1, channels)
            shares = to_tiles @ torch.bmm(points, filters).view(SIDE * SIDE, -1)
            shares = shares.view(TILE, TILE, len(pictures), here, columns, outputs)
            area, below = _tiled(found, first, here, columns), offset
            if plus is not None:
                shares += offset
                below = _tiled(plus[start : start + together], first, here, columns)
            torch.add(shares.permute(2, 3, 0, 4, 1, 5), below, out=area)
    return result[:, :height, :width].contiguous().permute(0, 3, 1, 2)


def _tiled(pictures: Tensor, first: int, count: int, columns: int) -> Tensor:
    """Rows of tiles of ``(B, H, W, C)`` as ``(B, count, 4, columns, 4, C)``."""
    return pictures[:, TILE * first : TILE * (first + count)].unflatten(2, (columns, TILE)).unflatten(1, (count, TILE))


def _padded_to(pictures: Tensor, height: int, width: int) -> Tensor:
    """Pictures ``(B, h, w, C)`` with zeros below and on the right, where they are smaller."""
    below, right = height - pictures.shape[1], width - pictures.shape[2]
    return F.pad(pictures, (0, 0, 0, right, 0, below)) if below or right else pictures


def _padded(x: Tensor, height: int, width: int, rectify: bool) -> Tensor:
    """Pictures ``(B, C, h, w)``, or their positive parts, within zeros: ``(B, height, width, C)``."""
    padded = x.new_empty(x.shape[0], height, width, x.shape[1])
    bottom, right = 1 + x.shape[2], 1 + x.shape[3]
    for border in (padded[:, :1], padded[:, bottom:], padded[:, :, :1], padded[:, :, right:]):
        border.zero_()
    inside = padded[:, 1:bottom, 1:right]
    pictures = x.permute(0, 2, 3, 1)
    if rectify:
        torch.clamp_min(pictures, 0, out=inside)
    else:
        inside.copy_(pictures)
    return padded


@lru_cache(maxsize=1)
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs to points ``(36, 36)``, filters to points ``(36, 9)``, points to results ``(16, 36)``, all float64."""

    def powers(count: int) -> Tensor:
        at = [[float(point**k) for k in range(count)] for point in POINTS]
        return torch.tensor([*at, [0.0] * (count - 1) + [1.0]], dtype=torch.float64)

    weights = [float(prod(p - q for q in POINTS if q != p)) for p in POINTS]
    scale = torch.tensor([*weights, 1.0], dtype=torch.float64)[:, None]
    inputs = scale * torch.linalg.inv(powers(SIDE)).T
    filters = powers(TAPS) / scale
    results = powers(TILE).T
    return torch.kron(inputs, inputs), torch.kron(filters, filters), torch.kron(results, results)
