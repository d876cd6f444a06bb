"""Soft aggregation: independent object logits become one probability map per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

GIVEN_LOGIT = 100.0
"""Logit of a pixel whose label somebody gave: a given mask enters the merge as +-100."""


def soft_aggregation(logits: Tensor) -> Tensor:
    """Merge raw object logits (soft aggregation in logit form, LWL sec. 3.5; Oh et al. 2018, eq. 1).

    The background gets probability prod(1 - p_i), clamped to [1e-7, 1 - 1e-7]; then a softmax over the log-odds of
    background and objects. A single object thus becomes sigmoid(2 z), not sigmoid(z).

    Args:
        logits: float ``(..., N, H, W)``, one raw logit map per object.

    Returns:
        Probabilities, float32 ``(..., N+1, H, W)``, background first, summing to one.
    """
    logits = logits.float()
    background = (1 - logits.sigmoid()).prod(dim=-3, keepdim=True).clamp(1e-7, 1 - 1e-7)
    return torch.cat([(background / (1 - background)).log(), logits], dim=-3).softmax(dim=-3)


def given_logits(masks: Tensor) -> Tensor:
    """Logits of given masks: +100 where a mask is 1, -100 where it is 0.

    Args:
        masks: ``(N, H, W)``, 0 or 1.
    """
    return (masks.float() - 0.5) * (2 * GIVEN_LOGIT)
