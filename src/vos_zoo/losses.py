"""Losses: the Lovasz-softmax of one class that the LWL family trains with, and segmentation-models-pytorch's others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.types import UsageError

LOSSES = ("lovasz", "dice", "jaccard", "focal", "tversky", "bce")


def lovasz_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Lovasz extension of the foreground's Jaccard loss on probabilities, all pixels together (Berman et al. 2018).

    Not the hinge form on logits, and not per image: errors of the whole batch are sorted together, and if several
    processes train together, those of all their batches (each process then has the gradient of the whole for its own
    logits, times the number of processes, since gradients are averaged over them). Counts are exact integers; the
    Jaccard curve and the sum over all pixels are float64, since small differences and millions of small terms lose
    digits in float32.

    Args:
        logits: any shape.
        target: the same shape, 0 or 1.

    Returns:
        Scalar; with no foreground at all it is the largest error.

    Examples:
        >>> import torch
        >>> target = torch.tensor([1.0, 1.0, 0.0, 0.0])
        >>> round(lovasz_loss(20 * target - 10, target).item(), 3)
        0.0
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    labels = target.flatten()
    errors = (labels.to(precise) - logits.flatten().to(precise).sigmoid()).abs()
    if logits.requires_grad and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        loss = _lovasz(_of_all(errors), _of_all(labels))
        return loss + (dist.get_world_size() - 1) * (loss - loss.detach())
    return _lovasz(errors, labels)


def _of_all(own: Tensor) -> Tensor:
    """The values of all processes, in order of rank; the process's own ones with their gradient."""
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.detach().contiguous())
    parts[dist.get_rank()] = own
    return torch.cat(parts)


def _lovasz(errors: Tensor, labels: Tensor) -> Tensor:
    """The Lovasz extension of errors and their labels, each ``(P,)``."""
    order = _descending(errors.detach())
    ordered = errors.gather(0, order)
    positives = labels[order].long()
    total = positives.sum()
    intersection = total - positives.cumsum(0)
    union = total + (1 - positives).cumsum(0)
    jaccard = 1 - intersection.double() / union.double()
    jaccard[1:] = jaccard[1:] - jaccard[:-1].clone()
    return torch.dot(ordered.double(), jaccard).to(errors.dtype)


def _descending(values: Tensor) -> Tensor:
    """Indices that sort ``(P,)`` in descending order; on a CPU by numpy, which is several times faster."""
    if values.device.type != "cpu":
        return values.argsort(descending=True)
    return torch.from_numpy(np.argsort(-values.numpy()))


def check_losses(weights: Mapping[str, float], own: Sequence[str] = ()) -> dict[str, float]:
    """Check the names of weighted losses and return the weights.

    Args:
        weights: name -> weight.
        own: further names, of the method's own losses.

    Raises:
        UsageError: unknown loss.
    """
    known = list(dict.fromkeys((*own, *LOSSES)))
    for name in weights:
        if name not in known:
            raise UsageError(f"unknown loss {name!r} in model.losses; choose {', '.join(known)}")
    return dict(weights)


def mask_losses(
    logits: Tensor, target: Tensor, weights: Mapping[str, float], valid: Tensor | None = None
) -> dict[str, Tensor]:
    """Weighted loss terms of binary masks.

    Args:
        logits: ``(B, T, K, h, w)``.
        target: the same shape, 0 or 1.
        weights: name -> weight; names in `LOSSES`.
        valid: bool ``(B, K)``, slots that hold an object; None: all.

    Raises:
        UsageError: unknown loss.
    """
    check_losses(weights)
    if valid is not None and weights:
        if not valid.any():
            return {name: 0.0 * logits.sum() for name in weights}
        logits, target = (maps.transpose(1, 2)[valid][:, :, None] for maps in (logits, target))
    terms = {}
    for name, weight in weights.items():
        if name == "lovasz":
            value = lovasz_loss(logits, target)
        elif name == "bce":
            value = F.binary_cross_entropy_with_logits(logits.float(), target.float())
        else:
            value = _smp_loss(name)(logits.float().flatten(0, 2)[:, None], target.float().flatten(0, 2)[:, None])
        terms[name] = weight * value
    return terms


def _smp_loss(name: str) -> Any:
    from segmentation_models_pytorch import losses

    known = {
        "dice": losses.DiceLoss,
        "jaccard": losses.JaccardLoss,
        "focal": losses.FocalLoss,
        "tversky": losses.TverskyLoss,
    }
    return known[name]("binary")


def class_map(masks: Tensor) -> Tensor:
    """Masks ``(..., K, h, w)``, 0..1, as the class of every pixel, int64 ``(..., h, w)``.

    The class is 1 + the index of the largest mask where that is above a half, else 0, the background.
    """
    largest, index = masks.max(dim=-3)
    return torch.where(largest > 0.5, index + 1, 0)
