"""Attention on normalised queries and keys, whose logits are bounded: fused with gradients, block by block without.

With unit vectors the logits lie in [-scale, scale], so the softmax needs no running maximum: weights
``exp(scale (q.k - 1))`` lie in [exp(-2 scale), 1]. Numerators and denominators can then be summed over blocks of keys
in any order, kept, extended by new keys, and diminished by old ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

CPU_BLOCK = 512
"""Keys per block on the CPU, so that a block of weights stays in the cache."""


def fused_attention(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Softmax attention of unit vectors, with gradients: by the library's fused kernel, or on a CPU by two products.

    Fused kernels want values as wide as keys: wider values are split into heads that share queries and keys. They save
    memory, at the price of forming the weights once per head and once more in the backward pass; on a CPU time counts.

    Args:
        queries: ``(B, n, d)``.
        keys: ``(B, m, d)``.
        values: ``(B, m, c)``.
        scale: factor of the logits.

    Returns:
        ``(B, n, c)``.
    """
    if queries.device.type == "cpu":
        weights = torch.baddbmm(queries.new_full((1,), -scale), queries, keys.mT, alpha=scale).exp_()
        return (weights @ values) / weights.sum(dim=-1, keepdim=True)
    width, channels = queries.shape[-1], values.shape[-1]
    heads = channels // width if channels % width == 0 else 1
    q, k = (x[:, None].expand(-1, heads, -1, -1) for x in (queries, keys))
    v = values.unflatten(-1, (heads, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def bounded_weights(queries: Tensor, keys: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """Unnormalised softmax weights ``exp(scale (q.k - 1))`` of unit vectors.

    Args:
        queries: ``(n, d)``.
        keys: ``(m, d)``.
        scale: factor of the logits.
        out: where to put them.

    Returns:
        ``(n, m)``, in (0, 1].
    """
    shift = queries.new_full((1,), -scale)
    return torch.addmm(shift, queries, keys.T, alpha=scale, out=out).exp_()


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
