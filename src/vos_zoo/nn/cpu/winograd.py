"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3), forward and backward, on a CPU.

A tile of 4x4 outputs depends on 6x6 inputs. Both, and the filter, are polynomials, evaluated at six points;
there a convolution is a product, 36 per tile instead of 144 (Lavin and Gray 2016). The algebra is exact; rounding is
about five times that of a plain convolution, far less than with the usual points 0, +-1, +-2, whose powers differ more.
GPU libraries choose such algorithms by themselves; the CPU library that torch calls does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from vos_zoo.tensors import cached_tensors

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(4, 3), Fraction(-4, 3))
"""The points at which polynomials are evaluated; the sixth is infinity."""
TILE, TAPS = 4, 3
SIDE = TILE + TAPS - 1
MIN_CHANNELS, MIN_TRAINED, MIN_PIXELS, MAX_COMPUTED = 128, 64, 1024, 1.4
"""For fewer channels (in training, and otherwise), fewer pixels, or too much padding, the plain
convolution is faster."""
STRIP_BYTES = 4 << 20
"""Bytes of transformed inputs at a time, so that they fit the cache."""
FILTER_SHARE, FLOAT_BYTES = 2, 4
"""If the filters do not fit the cache, inputs of at least half their size share one pass over them."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool = False, plus: Tensor | None = None
) -> Tensor:
    """A zero-padded 3x3 convolution.

    Args:
        x: ``(B, C, h, w)``.
        weight: ``(C', C, 3, 3)``.
        bias: ``(C',)`` or None.
        rectify: whether to convolve the positive part of `x`.
        plus: added to the result, ``(B, C', h, w)``.

    Returns:
        ``(B, C', h, w)``; its memory layout is unspecified.
    """
    trained = torch.is_grad_enabled()
    faster = _is_faster(x, weight, trained) and not plain_only(x)
    if faster and not trained:
        return winograd(x, weight, bias, rectify, plus)
    if faster:
        recorded: Tensor = _Recorded.apply(x, weight, bias, plus, rectify)
        return recorded
    result = F.conv2d(F.relu(x) if rectify else x, weight, bias, padding=1)
    return result if plus is None else result + plus


def plain_only(x: Tensor) -> bool:
    """Whether operations written for float32 on a CPU cannot be used."""
    elsewhere = x.dtype != torch.float32 or x.device.type != "cpu"
    return elsewhere or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()


def _is_faster(x: Tensor, weight: Tensor, trained: bool) -> bool:
    """Whether Winograd's algorithm is faster: not for few channels, nor where transforming filters dominates.

    At inference the choice does not depend on the batch size, so results do not depend on it either.
    """
    height, width = x.shape[-2:]
    pixels, computed = height * width, -(-height // TILE) * -(-width // TILE) * TILE**2
    enough = (len(x) if trained else 1) * pixels >= MIN_PIXELS and computed <= MAX_COMPUTED * pixels
    return enough and min(weight.shape[:2]) >= (MIN_TRAINED if trained else MIN_CHANNELS)


def convolve_positive(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As `convolve` with `rectify`, by the algorithm that is faster for a whole training batch; without gradients."""
    if _is_faster(x, weight, True):
        return winograd(x, weight, bias, rectify=True)
    return F.conv2d(F.relu(x), weight, bias, padding=1)


def gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, needed: Sequence[bool], rectify: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of `convolve` for `x`, `weight` and the bias, by the faster algorithm; None where not `needed`."""
    of_x, of_weight, of_bias = needed
    faster = _is_faster(x, weight, True)
    back: Tensor | None = None
    given: Tensor | None = None
    if of_weight and faster:
        given = _weight_gradient(x, gradient, rectify)
    elif of_weight:
        given = conv2d_weight(F.relu(x) if rectify else x, weight.shape, gradient, padding=1)
    if of_x and faster:
        back = winograd(gradient, weight, None, adjoint=True)
    elif of_x:
        back = F.conv_transpose2d(gradient, weight, padding=1)
    if back is not None and rectify:
        back = rectify_back(back, x)
    return back, given, gradient.sum(dim=(0, 2, 3)) if of_bias else None


def rectify_back(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient of `x` from that of its positive part, in place and in the layout of `x`."""
    if x.is_contiguous(memory_format=torch.channels_last):
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    rectified: Tensor = torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)
    return rectified


class _Recorded(torch.autograd.Function):
    """Winograd's convolution and its gradients, which are convolutions of the same kind."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plus: Tensor | None, rectify: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rectify = rectify
        return winograd(x, weight, bias, rectify, plus)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        found = gradients(x, weight, gradient, ctx.needs_input_grad[:3], ctx.rectify)
        return (*found, gradient if ctx.needs_input_grad[3] else None, None)


def _weight_gradient(x: Tensor, gradient: Tensor, rectify: bool = False) -> Tensor:
    """Gradient of the weights, ``(C', C, 3, 3)``: at every point the product of inputs and gradients of all tiles."""
    batch, channels, height, width = x.shape
    rows, columns, outputs = -(-height // TILE), -(-width // TILE), gradient.shape[1]
    to_points, to_filters, to_tiles = _matrices(x.dtype)
    padded = _padded(x, TILE * rows + 2, TILE * columns + 2, rectify)
    given = _padded_to(gradient.permute(0, 2, 3, 1), TILE * rows, TILE * columns)
    strip, together = _strip(rows, columns, channels, outputs)
    total: Tensor | None = None
    for start in range(0, batch, together):
        pictures = padded[start : start + together]
        for first in range(0, rows, strip):
            here = min(strip, rows - first)
            points = _points(pictures, first, here, columns, to_points)
            area = _tiled(given[start : start + together], first, here, columns).permute(2, 4, 0, 1, 3, 5)
            back = (to_tiles.T @ area.reshape(TILE * TILE, -1)).view(SIDE * SIDE, -1, outputs)
            share = back.transpose(1, 2)
            total = torch.bmm(share, points) if total is None else total.baddbmm_(share, points)
    assert total is not None
    return (total.view(SIDE * SIDE, -1).T @ to_filters).view(outputs, channels, TAPS, TAPS)


def winograd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rectify: bool = False,
    plus: Tensor | None = None,
    adjoint: bool = False,
) -> Tensor:
    """As `convolve`, always by Winograd's algorithm; tensors on the CPU, without gradients; channels come last.

    With `adjoint` it is the adjoint map, from gradients of the output ``(B, C', h, w)`` to those of the input.
    """
    batch, channels, height, width = x.shape
    rows, columns, outputs = -(-height // TILE), -(-width // TILE), weight.shape[1 if adjoint else 0]
    to_points, to_filters, to_tiles = _matrices(x.dtype)
    # Filters are read in memory order, (inputs, outputs, kernel): moving whole kernels is cheap, single values is not.
    kernels = weight.flatten(2) if adjoint else weight.flatten(2).transpose(0, 1)
    filters = (to_filters.flip(1) if adjoint else to_filters) @ kernels.reshape(-1, TAPS * TAPS).T
    filters = filters.view(SIDE * SIDE, channels, outputs)
    padded = _padded(x, TILE * rows + 2, TILE * columns + 2, rectify)
    size = (batch, outputs, TILE * rows, TILE * columns)
    result = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    offset = x.new_zeros(outputs) if bias is None else bias
    if plus is not None:
        plus = _padded_to(plus.permute(0, 2, 3, 1), TILE * rows, TILE * columns)
    strip, together = _strip(rows, columns, channels, outputs)
    for start in range(0, batch, together):
        pictures, found = (part[start : start + together] for part in (padded, result.permute(0, 2, 3, 1)))
        for first in range(0, rows, strip):
            here = min(strip, rows - first)
            points = _points(pictures, first, here, columns, to_points)
            shares = to_tiles @ torch.bmm(points, filters).view(SIDE * SIDE, -1)
            shares = shares.view(TILE, TILE, len(pictures), here, columns, outputs)
            area, below = _tiled(found, first, here, columns), offset
            if plus is not None:
                shares += offset
                below = _tiled(plus[start : start + together], first, here, columns)
            torch.add(shares.permute(2, 3, 0, 4, 1, 5), below, out=area)
    if size[2:] == (height, width):
        return result
    return result[..., :height, :width].clone(memory_format=torch.channels_last)


def _strip(rows: int, columns: int, channels: int, outputs: int) -> tuple[int, int]:
    """Rows of tiles and images per pass: few, to fit the cache, but many where the filters do not fit it."""
    wanted = max(STRIP_BYTES, SIDE * SIDE * FLOAT_BYTES * channels * outputs // FILTER_SHARE)
    strip = max(1, wanted // (SIDE * SIDE * FLOAT_BYTES * columns * max(channels, outputs)))
    return strip, max(1, strip // rows)


def _points(padded: Tensor, first: int, count: int, columns: int, to_points: Tensor) -> Tensor:
    """Rows of tiles of padded images ``(B, H, W, C)``, evaluated at the points: ``(36, B count columns, C)``."""
    picture, line, pixel, _ = padded.stride()
    tiles = padded[:, TILE * first :].as_strided(
        (SIDE, SIDE, len(padded), count, columns, padded.shape[-1]),
        (line, pixel, picture, TILE * line, TILE * pixel, 1),
    )
    return (to_points @ tiles.reshape(SIDE * SIDE, -1)).view(SIDE * SIDE, -1, padded.shape[-1])


def _tiled(pictures: Tensor, first: int, count: int, columns: int) -> Tensor:
    """Rows of tiles of ``(B, H, W, C)`` as ``(B, count, 4, columns, 4, C)``."""
    return pictures[:, TILE * first : TILE * (first + count)].unflatten(2, (columns, TILE)).unflatten(1, (count, TILE))


def _padded_to(pictures: Tensor, height: int, width: int) -> Tensor:
    """Images ``(B, h, w, C)`` padded with zeros below and on the right."""
    below, right = height - pictures.shape[1], width - pictures.shape[2]
    return F.pad(pictures, (0, 0, 0, right, 0, below)) if below or right else pictures


def _padded(x: Tensor, height: int, width: int, rectify: bool) -> Tensor:
    """Images ``(B, C, h, w)``, or their positive parts, padded with zeros: ``(B, height, width, C)``."""
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


@cached_tensors(maxsize=2)
def _matrices(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs to points ``(36, 36)``, filters to points ``(36, 9)``, points to results ``(16, 36)``."""

    def powers(count: int) -> Tensor:
        at = [[float(point**k) for k in range(count)] for point in POINTS]
        return torch.tensor([*at, [0.0] * (count - 1) + [1.0]], dtype=torch.float64)

    weights = [float(prod(p - q for q in POINTS if q != p)) for p in POINTS]
    scale = torch.tensor([*weights, 1.0], dtype=torch.float64)[:, None]
    inputs = scale * torch.linalg.inv(powers(SIDE)).T
    filters = powers(TAPS) / scale
    results = powers(TILE).T
    one, two, three = (torch.kron(matrix, matrix).to(dtype) for matrix in (inputs, filters, results))
    return one, two, three
