"""Losses of PCVOS: bootstrapped cross entropy per frame, dice per clip (sec. 3.5; docs/methods/pcvos.md, "Losses")."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bootstrap:
    """Schedule of the bootstrapped cross entropy: the share of the hardest pixels that is averaged (as STCN).

    Attributes:
        start: until this step all pixels are averaged.
        stop: from this step on the smallest share is.
        share: that share, 0..1.
    """

    start: int = 20_000
    stop: int = 70_000
    share: float = 0.15

    def at(self, step: int) -> float:
        """The share of pixels at a step; it falls linearly from one."""
        if step <= self.start:
            return 1.0
        if step >= self.stop:
            return self.share
        return self.share + (1 - self.share) * (self.stop - step) / (self.stop - self.start)


def bootstrapped_cross_entropy(log_odds: Tensor, target: Tensor, share: float) -> Tensor:
    """Cross entropy of merged maps, averaged over the hardest pixels of each frame.

    Args:
        log_odds: aggregated log-odds ``(B, T, K+1, h, w)``, background first; minus infinity where a slot is empty.
        target: class of every pixel, int64 ``(B, T, h, w)``.
        share: share of each frame's pixels.

    Returns:
        Mean over the sequences of the sum over their frames.
    """
    losses = F.cross_entropy(log_odds.flatten(0, 1), target.flatten(0, 1), reduction="none").flatten(1)
    if share < 1:
        losses = losses.topk(int(share * losses.shape[1]), dim=1, sorted=False).values
    return losses.mean(dim=1).sum() / log_odds.shape[0]


def clip_dice(probabilities: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Dice loss of the objects in one clip, squared denominators (V-Net), all frames and pixels together (eq. 5).

    Args:
        probabilities: merged ``(B, T, K, h, w)``.
        target: ``(B, T, K, h, w)``, 0 or 1.
        valid: bool ``(B, K)``, slots that hold an object; others are ignored.

    Returns:
        Mean over the sequences of the sum over their objects.
    """
    space = (1, 3, 4)
    overlap = 2 * (probabilities * target).sum(dim=space) + 1
    extent = probabilities.square().sum(dim=space) + target.square().sum(dim=space) + 1
    return ((1 - overlap / extent) * valid).sum() / len(valid)
