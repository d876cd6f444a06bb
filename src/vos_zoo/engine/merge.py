"""How objects meet: independent logits become one probability map per pixel, and given masks win over predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vos_zoo.nn.precision import full_precision

GIVEN_LOGIT = 100.0
"""Absolute logit of the pixels of a given mask: it enters the merge as +-100."""


def soft_aggregation(logits: Tensor) -> Tensor:
    """Merge raw object logits (soft aggregation in logit form, LWL sec. 3.5; Oh et al. 2018, eq. 1).

    The background gets probability prod(1 - p_i), clamped to [1e-7, 1 - 1e-7]; then a softmax over the log-odds of
    background and objects. A single object thus becomes sigmoid(2 z), not sigmoid(z).

    Args:
        logits: float ``(..., N, H, W)``, one raw logit map per object.

    Returns:
        Probabilities, float32 (float64 for float64) ``(..., N+1, H, W)``, background first, summing to one.

    Examples:
        >>> import torch
        >>> logits = torch.zeros(2, 1, 1)  # two objects, each as likely as not
        >>> [round(value, 2) for value in soft_aggregation(logits).flatten().tolist()]
        [0.14, 0.43, 0.43]
    """
    logits = full_precision(logits)
    background = (1 - logits.sigmoid()).prod(dim=-3, keepdim=True).clamp(1e-7, 1 - 1e-7)
    return torch.cat([(background / (1 - background)).log(), logits], dim=-3).softmax(dim=-3)


@dataclass(frozen=True)
class MergeRule:
    """How the objects of a frame meet, and how given masks meet predictions; methods derive from it.

    Attributes:
        given_masks: "merged": the masks given in a frame take part in the merge as certain logits, and what is written
            is the result. "overlaid": the prediction is merged, and written where that is due; then `overlay` puts the
            given masks over it, and `initialise` sees all objects of the frame.
    """

    given_masks: Literal["merged", "overlaid"] = "merged"

    def merge(self, logits: Tensor) -> Tensor:
        """Logits of all objects on the plane where they meet, ``(T, N, H, W)`` -> probabilities ``(T, N+1, H, W)``."""
        return soft_aggregation(logits)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """Training counterpart of `merge`: logits ``(B, T, K, h, w)`` -> mask probabilities of the same shape.

        Args:
            logits: of one query clip.
            valid: bool ``(B, K)``, slots that hold an object; None: all.
        """
        return logits.detach().sigmoid()

    def overlay(self, probabilities: Tensor, masks: Tensor, slots: Sequence[int]) -> Tensor:
        """Given masks over a merged prediction.

        By default each object in `slots` is exactly its mask, and no other object is left under a given mask.

        Args:
            probabilities: ``(N+1, H', W')``; the channels of objects that start here are there, zero.
            masks: ``(n, H', W')``, 0..1.
            slots: the object of each mask.
        """
        covered = (masks > 0.5).any(dim=0)
        result = torch.where(covered, probabilities.new_zeros(()), probabilities)
        result[[slot + 1 for slot in slots]] = masks.to(result.dtype)
        result[0] = (1 - result[1:].sum(dim=0)).clamp(0, 1)
        return result / result.sum(dim=0)


def aggregate(probabilities: Tensor, valid: Tensor | None = None) -> Tensor:
    """Soft aggregation of independent probabilities, as log-odds (Oh et al. 2019, STM; the form of PCVOS and GIEL).

    The background is prod(1 - p_k); all are clamped to [1e-7, 1 - 1e-7] and l = log p - log(1 - p). The softmax of l
    over the objects and the background is the merged map; cross entropy acts on l itself.

    Args:
        probabilities: float ``(..., K, H, W)``, one map per object, 0..1.
        valid: bool ``(..., K)``, slots that hold an object; the log-odds of the others are minus infinity.

    Returns:
        Log-odds, float32 (float64 for float64) ``(..., K+1, H, W)``, background first.
    """
    probabilities = full_precision(probabilities)
    if valid is not None:
        absent = ~valid[..., None, None]
        probabilities = probabilities.masked_fill(absent, 0.0)
    background = (1 - probabilities).prod(dim=-3, keepdim=True)
    # The largest float32 below one is about 1 - 6e-8, so the clamp does not round to one.
    odds = torch.logit(torch.cat([background, probabilities], dim=-3).clamp(1e-7, 1 - 1e-7))
    if valid is None:
        return odds
    return torch.cat([odds[..., :1, :, :], odds[..., 1:, :, :].masked_fill(absent, -torch.inf)], dim=-3)


def given_logits(masks: Tensor) -> Tensor:
    """Logits of given masks: +100 where a mask is 1, -100 where it is 0.

    Args:
        masks: ``(N, H, W)``, 0 or 1.
    """
    return (full_precision(masks) - 0.5) * (2 * GIVEN_LOGIT)
