"""Attention on normalised queries and keys, whose logits are bounded: fused with gradients, block by block without.

With unit vectors the logits lie in [-scale, scale], so the softmax needs no running maximum: weights
``exp(scale (q.k - 1))`` lie in [exp(-2 scale), 1]. Numerators and denominators can then be summed over blocks of keys
in any order, stored, increased by new keys and decreased by removed ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_BLOCK = 512
"""Keys per block on the CPU, so that a block of weights fits the cache."""


def fused_attention(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, hidden: Tensor | None = None
) -> Tensor:
    """Softmax attention of unit vectors, with gradients: by torch's fused kernel, or on a CPU by two products.

    Fused kernels want values as wide as keys: wider values are split into heads that share queries and keys. They save
    memory, but compute the weights once per head and again in the backward pass, so on a CPU they are slower.

    Args:
        queries: ``(B, n, d)``.
        keys: ``(B, m, d)``.
        values: ``(B, m, c)``.
        scale: factor of the logits.
        hidden: bool ``(B, 1, m)``, keys that are not seen; None: all are.

    Returns:
        ``(B, n, c)``.
    """
    if queries.device.type == "cpu" and hidden is None:
        numerators, denominators = attention_sums(queries, keys, values, scale)
        return numerators / denominators[..., None]
    width, channels = queries.shape[-1], values.shape[-1]
    heads = channels // width if channels % width == 0 else 1
    q, k = (x[:, None].expand(-1, heads, -1, -1) for x in (queries, keys))
    v = values.unflatten(-1, (heads, -1)).transpose(1, 2)
    shown = None if hidden is None else ~hidden[:, None]
    return F.scaled_dot_product_attention(q, k, v, shown, scale=scale).transpose(1, 2).flatten(2)


def attention_sums(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Numerators and denominators of softmax attention of unit vectors, with gradients; more keys' sums can be added.

    Args:
        queries: ``(B, n, d)``.
        keys: ``(B, m, d)``.
        values: ``(B, m, c)``.
        scale: factor of the logits.

    Returns:
        Weighted sums of the values ``(B, n, c)`` and sums of the weights ``(B, n)``.
    """
    numerators, denominators = _Sums.apply(queries, keys, values, scale)
    return numerators, denominators


def self_attention_sums(keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """As `attention_sums` of keys that are also the queries; without gradients one frame at a time in one buffer.

    Args:
        keys: ``(B, n, d)``.
        values: ``(B, n, c)``.
        scale: factor of the logits.
    """
    if torch.is_grad_enabled():
        return attention_sums(keys, keys, values, scale)
    numerators, denominators = torch.empty_like(values), torch.empty_like(values[..., 0])
    weights = keys.new_empty(keys.shape[1], keys.shape[1])
    for own, value, numerator, denominator in zip(keys, values, numerators, denominators, strict=True):
        bounded_weights(own, own, scale, weights)
        torch.mm(weights, value, out=numerator)
        torch.sum(weights, dim=1, out=denominator)
    return numerators, denominators


def mutual_sums(
    one: Tensor, other: Tensor, values: tuple[Tensor, Tensor], scale: float
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """As `attention_sums`, between two sets of keys that are also the queries; weights serve both directions.

    Args:
        one: ``(B, n, d)``.
        other: ``(B, m, d)``.
        values: of both, ``(B, n, c)`` and ``(B, m, c)``.
        scale: factor of the logits.

    Returns:
        What `one` sees in `other`, and what `other` sees in `one`.
    """
    sums = _MutualSums.apply(one, other, *values, scale)
    return (sums[0], sums[1]), (sums[2], sums[3])


class _Sums(torch.autograd.Function):
    """Gradients of exponentials are computed in place: matrices of weights are by far the largest tensors here."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        weights = bounded_weights(queries, keys, scale)
        ctx.save_for_backward(queries, keys, values, weights)
        ctx.scale = scale
        return weights @ values, weights.sum(dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, numerators: Tensor, denominators: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        queries, keys, values, weights = ctx.saved_tensors
        slopes = torch.baddbmm(denominators[..., None], numerators, values.mT).mul_(weights)
        return (*_logits_back(slopes, queries, keys, ctx.scale), weights.mT @ numerators, None)


class _MutualSums(torch.autograd.Function):
    """As `_Sums`, in both directions."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, one: Tensor, other: Tensor, first: Tensor, second: Tensor, scale: float
    ) -> tuple[Tensor, ...]:
        weights = bounded_weights(one, other, scale)
        ctx.save_for_backward(one, other, first, second, weights)
        ctx.scale = scale
        return weights @ second, weights.sum(dim=-1), weights.mT @ first, weights.sum(dim=-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        one, other, first, second, weights = ctx.saved_tensors
        forth, forth_sums, back, back_sums = gradients
        slopes = torch.baddbmm(forth_sums[..., None], forth, second.mT).baddbmm_(first, back.mT)
        slopes.add_(back_sums[:, None]).mul_(weights)
        return (*_logits_back(slopes, one, other, ctx.scale), weights @ back, weights.mT @ forth, None)


def _logits_back(slopes: Tensor, queries: Tensor, keys: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Gradients of queries and keys from those of the logits ``(B, n, m)``."""
    return (slopes @ keys).mul_(scale), (slopes.mT @ queries).mul_(scale)


def bounded_weights(queries: Tensor, keys: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """Unnormalised softmax weights ``exp(scale (q.k - 1))`` of unit vectors.

    Args:
        queries: ``(n, d)`` or ``(B, n, d)``.
        keys: ``(m, d)`` or ``(B, m, d)``.
        scale: factor of the logits.
        out: tensor to write them to.

    Returns:
        ``(n, m)`` or ``(B, n, m)``, in (0, 1].
    """
    shift = queries.new_full((1,), -scale)
    product = torch.addmm if queries.dim() == 2 else torch.baddbmm
    return product(shift, queries, keys.mT, alpha=scale, out=out).exp_()


def bounded_attention(queries: Tensor, memory: Iterable[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Softmax attention of unit vectors over blocks of keys, without gradients and without a large matrix.

    Args:
        queries: ``(n, d)``.
        memory: blocks of keys ``(m, d)`` and values ``(c + 1, m)``, channel-major; the last channel is one.
        scale: factor of the logits.

    Returns:
        ``(c, n)``, channel-major.
    """
    total: Tensor | None = None
    for keys, values in memory:
        step = CPU_BLOCK if keys.device.type == "cpu" else len(keys)
        for start in range(0, len(keys), step):
            weights = bounded_weights(keys[start : start + step], queries, scale)
            part = values[:, start : start + step]
            total = part @ weights if total is None else total.addmm_(part, weights)
    assert total is not None
    return total[:-1] / total[-1:]
