"""The losses of eq. 13: binary cross entropy of the global map, cross entropy of the aggregated objects."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vos_zoo.nn.precision import full_precision

IGNORED = 255
"""Class of pixels that are ignored in all losses."""


def global_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of the global map against "any object", mean over the pixels that are not ignored.

    Args:
        logits: ``(..., h, w)``.
        labels: int64 classes of the same shape, 0 = background, 255 = ignored.
    """
    logits, counted = full_precision(logits), (labels != IGNORED).to(logits.dtype)
    truth = (labels > 0).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, truth, counted, reduction="sum")
    return total / counted.sum().clamp(min=1)


def instance_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the aggregated log-odds, mean over the pixels that are not ignored.

    Args:
        log_odds: ``(..., 1 + K, h, w)``, background first; minus infinity for empty slots, which no pixel is labelled
            with.
        labels: int64 classes ``(..., h, w)``, 255 = ignored.
    """
    return F.cross_entropy(full_precision(log_odds).flatten(0, -4), labels.flatten(0, -3), ignore_index=IGNORED)
