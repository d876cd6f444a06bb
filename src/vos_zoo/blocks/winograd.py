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
STRIP_BYTES = 16 << 20
"""Transformed inputs held at a time, so that they stay in the cache."""


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with a border of zeros, by the faster of two ways."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, TAPS, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h, w)``."""
        return convolve(x, self.weight, self.bias)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution with a border of zeros.

    Args:
        x: ``(B, C, h, w)``.
        weight: ``(C', C, 3, 3)``.
        bias: ``(C',)`` or None.

    Returns:
        ``(B, C', h, w)``.
    """
    large = min(weight.shape[:2]) >= LEAST_CHANNELS and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
    plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32
    if plain or not large or x.device.type != "cpu":
        return F.conv2d(x, weight, bias, padding=1)
    return winograd(x, weight, bias)


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `convolve`, always by Winograd's algorithm; tensors on the CPU, without gradients."""
    batch, channels, height, width = x.shape
    rows, columns, outputs = -(-height // TILE), -(-width // TILE), weight.shape[0]
    to_points, to_filters, to_tiles = (matrix.to(x.dtype) for matrix in _matrices())
    filters = (to_filters @ weight.reshape(-1, TAPS * TAPS).T).view(SIDE * SIDE, outputs, channels)
    padded = F.pad(x.contiguous(), (1, 1 + TILE * columns - width, 1, 1 + TILE * rows - height))
    _, row, line, _ = padded.stride()
    result = x.new_empty(batch, outputs, TILE * rows, TILE * columns)
    strip = max(1, STRIP_BYTES // (SIDE * SIDE * channels * columns * x.element_size()))
    for picture, found in zip(padded, result, strict=True):
        for first in range(0, rows, strip):
            count = min(strip, rows - first)
            tiles = picture[:, TILE * first :].as_strided(
                (SIDE, SIDE, channels, count, columns), (line, 1, row, TILE * line, TILE)
            )
            points = to_points @ tiles.reshape(SIDE * SIDE, -1)
            products = filters @ points.view(SIDE * SIDE, channels, -1)
            shares = (to_tiles @ products.view(SIDE * SIDE, -1)).view(TILE, TILE, outputs, count, columns)
            area = found[:, TILE * first : TILE * (first + count)]
            area.unflatten(2, (columns, TILE)).unflatten(1, (count, TILE)).copy_(shares.permute(2, 3, 0, 4, 1))
    result = result[..., :height, :width]
    return result.contiguous() if bias is None else (result + bias[:, None, None])


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
