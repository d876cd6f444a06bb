"""Evidence that several methods share: how clearly a mask is the object that was given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.nn.precision import full_precision

_MARGIN = 1e4  # of objects that fill the whole frame, which have nothing to be told from


def cover(masks: Tensor, stride: int) -> Tensor:
    """Share of each cell that masks ``(..., h, w)`` cover: float32 ``(..., P)``, P = h w / stride^2."""
    pooled = F.avg_pool2d(full_precision(masks).flatten(0, -3), stride)
    return pooled.flatten(-2).unflatten(0, masks.shape[:-2])


def matching_margin(similarities: Tensor, given: Tensor, found: Tensor) -> Tensor:
    """Similarity of a mask's positions to the given object, minus that to what surrounded it; mean over the mask.

    Args:
        similarities: of every position of the new frame with every position of the given one, ``(Q, P)``; what is
            added to a whole row has no effect.
        given: share of each position that an object covers where it was given, ``(K, P)``.
        found: the same of the new masks, ``(K, Q)``.

    Returns:
        float32 ``(K,)``; negative where the mask looks more like the given frame's surroundings.
    """
    similarities, found = full_precision(similarities), full_precision(found)
    inside = given >= given.amax(dim=1, keepdim=True).clamp(min=1e-6, max=0.5)
    outside = torch.finfo(similarities.dtype).min
    best = [similarities[None].masked_fill(~part[:, None], outside).amax(dim=-1) for part in (inside, ~inside)]
    margin = (best[0] - best[1]).clamp(-_MARGIN, _MARGIN)
    core = found.where(found > 0.5, 0.0)
    weights = torch.where(core.sum(dim=1, keepdim=True) > 0, core, found)
    return (margin * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)
