"""The few-shot learner: a 3x3 filter fitted by steepest descent on a weighted least-squares problem, in closed form.

LWL, sec. 3.1-3.2, eqs. 1-4. Notation: features ``X``, filter tau, labels ``E``, element weights ``W``, temporal
weights ``m``, learned regulariser ``reg``. Convolution and its adjoint are one matrix product each, with the filter as
``9 D`` rows over C channels and the nine shifts computed by fold / unfold, which are exact adjoints. The learner itself
uses no autograd; autograd through it gives the gradients of all iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def filter_to_kernel(filters: Tensor) -> Tensor:
    """Filters ``(B, D, C, 3, 3)`` -> rows ``(B, 9 D, C)`` in the order that `fold` needs (kernel flipped)."""
    batch, outputs, channels = filters.shape[:3]
    return filters.flip(-2, -1).flatten(3).transpose(2, 3).reshape(batch, outputs * 9, channels)


def kernel_to_filter(kernel: Tensor) -> Tensor:
    """Inverse of `filter_to_kernel`."""
    batch, rows, channels = kernel.shape
    return kernel.view(batch, rows // 9, 3, 3, channels).permute(0, 1, 4, 2, 3).flip(-2, -1)


def apply_kernel(features: Tensor, kernel: Tensor) -> Tensor:
    """Cross-correlate with padding 1: ``X tau``.

    Args:
        features: ``(S, B, C, h, w)``.
        kernel: ``(B, 9 D, C)``.

    Returns:
        Scores ``(S, B, D, h, w)``.
    """
    _, objects, _, height, width = features.shape
    scores = []
    for part in _chunks(features, objects):
        columns = kernel @ part.flatten(3)
        folded = F.fold(columns.flatten(0, 1), (height, width), kernel_size=3, padding=1)
        scores.append(folded.view(len(part), objects, -1, height, width))
    return scores[0] if len(scores) == 1 else torch.cat(scores)


def correlate(features: Tensor, residuals: Tensor) -> Tensor:
    """Adjoint of `apply_kernel`, summed over samples: ``X^T r``.

    Args:
        features: ``(S, B, C, h, w)``.
        residuals: ``(S, B, D, h, w)``.

    Returns:
        ``(B, 9 D, C)``.
    """
    total: Tensor | None = None
    objects = residuals.shape[1]
    for part, residual in zip(_chunks(features, objects), _chunks(residuals, objects), strict=True):
        columns = F.unfold(residual.flatten(0, 1), kernel_size=3, padding=1)
        columns = columns.view(*residual.shape[:2], *columns.shape[1:])
        kernel = _Correlated.apply(columns, part.flatten(3)).sum(dim=0)
        total = kernel if total is None else total + kernel
    assert total is not None
    return total


class _Correlated(torch.autograd.Function):
    """``columns @ pixels.mT``; the gradient of the pixels has their memory layout, so that sums of many are fast."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, pixels: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(columns, pixels)
        return columns @ pixels.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        columns, pixels = ctx.saved_tensors
        return gradient @ pixels, gradient.mT @ columns


def _chunks(samples: Tensor, objects: int) -> Sequence[Tensor]:
    """Samples in chunks of about 16 images on a CPU, to keep intermediates in its caches; elsewhere all at once."""
    chunk = max(16 // objects, 1)
    if samples.device.type != "cpu" or len(samples) <= chunk:
        return [samples]  # splitting into one chunk would copy the gradients
    return samples.split(chunk)


@dataclass(frozen=True)
class FilterState:
    """The filter being fitted, and its scores on the samples.

    Attributes:
        kernel: the filter as rows, ``(B, 9 D, C)``.
        scores: ``X tau`` on all samples, ``(S, B, D, h, w)``: updated with each step instead of recomputed.
    """

    kernel: Tensor
    scores: Tensor


class FewShotLearner(nn.Module):
    """Steepest descent with exact line search for ``sum |m W (X tau - E)|^2 + |reg tau|^2``.

    Args:
        regulariser: start value of the learned `reg` (the loss has its square).
    """

    def __init__(self, regulariser: float = 0.01) -> None:
        super().__init__()
        self.filter_reg = nn.Parameter(torch.full((1,), regulariser))

    def start(self, features: Tensor, outputs: int) -> FilterState:
        """The zero filter of `outputs` channels for samples ``(S, B, C, h, w)``."""
        samples, objects, channels, height, width = features.shape
        kernel = features.new_zeros(objects, 9 * outputs, channels)
        return FilterState(kernel, features.new_zeros(samples, objects, outputs, height, width))

    def forward(
        self, fit: FilterState, features: Tensor, labels: Tensor, weights: Tensor, iterations: int
    ) -> FilterState:
        """Refine a filter.

        Args:
            fit: the initial filter and its scores.
            features: samples ``(S, B, C, h, w)``.
            labels: E, ``(S, B, D, h, w)``.
            weights: m W, same shape (or one that broadcasts); samples of weight zero have no effect.
            iterations: number of steps.

        Returns:
            The refined filter; each object has its own step lengths (eq. 4).
        """
        kernel, scores, reg = fit.kernel, fit.scores, self.filter_reg
        squared, penalty = weights.square(), reg.square()
        for _ in range(iterations):
            gradient = correlate(features, squared * (scores - labels)) + penalty * kernel
            response = apply_kernel(features, gradient)
            numerator = gradient.square().sum(dim=(1, 2))
            curvature = (weights * response).square().sum(dim=(0, 2, 3, 4)) + (reg * gradient).square().sum(dim=(1, 2))
            step = numerator / curvature.clamp(min=1e-8)
            kernel = kernel - step[:, None, None] * gradient
            scores = scores - step[:, None, None, None] * response
        return FilterState(kernel, scores)

    def objective(self, fit: FilterState, labels: Tensor, weights: Tensor) -> Tensor:
        """Mean squared residual per object ``(B,)``, including the regulariser's elements (for monitoring)."""
        residuals = (weights * (fit.scores - labels)).square().sum(dim=(0, 2, 3, 4))
        penalty = (self.filter_reg * fit.kernel).square().sum(dim=(1, 2))
        return (residuals + penalty) / (fit.scores[:, 0].numel() + fit.kernel[0].numel())
