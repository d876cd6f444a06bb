"""Reading the memory: L2 similarity of keys, softmax over the most similar positions (sec. 3.2).

Keys belong to frames, so all objects share the similarities; they differ only in the frame with which their memory
starts. The most similar positions are found block by block and their values gathered: no matrix of all queries times
all memory positions is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.nn.precision import full_precision

GROUP = 16
"""Memory positions per group; only the largest similarity of a group is compared at first."""


def similarities(queries: Tensor, keys: Tensor) -> Tensor:
    """Negative squared distance over the root of the channels, without the query's norm, which cancels in the softmax.

    Args:
        queries: ``(..., Q, C)``.
        keys: ``(..., N, C)``.

    Returns:
        float32 ``(..., Q, N)``.
    """
    scale = keys.shape[-1] ** -0.5
    keys, queries = full_precision(keys), full_precision(queries)
    norms = keys.square().sum(dim=-1) * -scale
    if queries.dim() == 2:
        return torch.addmm(norms[None], queries, keys.T, alpha=2 * scale)
    return torch.baddbmm(norms[:, None], queries, keys.transpose(1, 2), alpha=2 * scale)


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest scores of each row and their columns, in unspecified order.

    Rows are searched in groups: a group whose maximum is not among the `count` largest maxima cannot hold one of them.

    Args:
        scores: ``(Q, N)``.
        count: at most N are returned.

    Returns:
        Values and columns (int64), ``(Q, min(count, N))`` each.
    """
    rows, length = scores.shape
    groups = length // GROUP
    if groups <= count:
        values, index = scores.topk(min(count, length), dim=1, sorted=False)
        return values, index
    body = scores[:, : groups * GROUP].view(rows, GROUP, groups)
    best = body.amax(dim=1).topk(count, dim=1, sorted=False).indices
    candidates = torch.arange(GROUP, device=scores.device)[:, None] * groups + best[:, None]
    columns = candidates.flatten(1)
    if groups * GROUP < length:
        rest = torch.arange(groups * GROUP, length, device=scores.device).expand(rows, -1)
        columns = torch.cat([columns, rest], dim=1)
    values, index = scores.gather(1, columns).topk(count, dim=1, sorted=False)
    return values, columns.gather(1, index)


@dataclass(frozen=True)
class Matches:
    """The most similar memory positions of some queries.

    Attributes:
        scores: similarities ``(Q, k)``.
        positions: rows of the memory, int64 ``(Q, k)``.
    """

    scores: Tensor
    positions: Tensor

    @classmethod
    def stack(cls, parts: Sequence[Matches]) -> Matches:
        """Concatenate the matches of several sets of queries."""
        return cls(torch.cat([m.scores for m in parts]), torch.cat([m.positions for m in parts]))

    def split(self, rows: int) -> list[Matches]:
        """Split the matches into sets of `rows` queries."""
        return [Matches(s, p) for s, p in zip(self.scores.split(rows), self.positions.split(rows), strict=True)]

    def join(self, other: Matches, count: int) -> Matches:
        """The best `count` of two sets of matches."""
        scores, positions = torch.cat([self.scores, other.scores], 1), torch.cat([self.positions, other.positions], 1)
        if scores.shape[1] <= count:
            return Matches(scores, positions)
        scores, index = scores.topk(count, dim=1, sorted=False)
        return Matches(scores, positions.gather(1, index))


def match(queries: Tensor, keys: Tensor, positions: Tensor, count: int) -> Matches:
    """The best positions of one block of the memory.

    Args:
        queries: ``(Q, C)``.
        keys: ``(N, C)``.
        positions: memory rows of the block, int64 ``(N,)``.
        count: number of matches.
    """
    scores, columns = largest(similarities(queries, keys), count)
    return Matches(scores, positions[columns])


def gather_values(values: Tensor, extra: Tensor | None, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows.

    Args:
        values: ``(R, C)``.
        extra: further rows after these, ``(R', C)``, or None.
        rows: int64 ``(Q, k)``.
        weights: ``(Q, k)``.

    Returns:
        ``(Q, C)``.
    """
    if extra is None:
        return F.embedding_bag(rows, values, mode="sum", per_sample_weights=weights)
    further = rows >= len(values)
    none = weights.new_zeros(())
    parts = ((values, rows.where(~further, 0), ~further), (extra, (rows - len(values)).clamp(min=0), further))
    first, second = (
        F.embedding_bag(index, table, mode="sum", per_sample_weights=weights.where(own, none))
        for table, index, own in parts
    )
    return first + second
