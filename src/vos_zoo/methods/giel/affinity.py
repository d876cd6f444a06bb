"""The affinity that all readouts share: temporal attention (fig. 3) and similarity of keys (eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.precision import full_precision, in_full_precision
from vos_zoo.types import UsageError

APPLY = ("log_prior", "logits", "readout")
NORMS = ("softmax", "sigmoid", "sigmoid_l1")
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class TemporalAttention(nn.Module):
    """One weight per support frame, from the first key, the frame's key and the query's key (fig. 3).

    The activation is smooth: the normalisation over frames cancels terms that all frames share, so with a piecewise
    linear network the branches of the first key and the query would hardly get a gradient. For the same reason the last
    layer has no bias.

    Args:
        key: channels of the keys.
        dim: channels of each of the three summaries.
        hidden: channels of the two layers in between.
        act: "gelu" or "relu".
        norm: "softmax" over the frames, "sigmoid", or "sigmoid_l1" (divided by its sum).
    """

    def __init__(
        self, key: int, dim: int = 128, hidden: Sequence[int] = (128, 64), act: str = "gelu", norm: str = "softmax"
    ) -> None:
        super().__init__()
        if act not in ACTIVATIONS:
            raise UsageError(f"model.attention_act is {act!r}; choose {', '.join(ACTIVATIONS)}")
        if norm not in NORMS:
            raise UsageError(f"model.attention_norm is {norm!r}; choose {', '.join(NORMS)}")
        if len(hidden) != 2:
            raise UsageError(f"model.attention_hidden is {list(hidden)}; give the widths of two layers")
        self.norm = norm
        self.first = nn.Conv2d(key, dim, 1)
        self.selected = nn.Conv2d(key, dim, 1)
        self.query = nn.Conv2d(key, dim, 1)
        self.fc1 = nn.Conv2d(3 * dim, hidden[0], 1)
        self.fc2 = nn.Conv2d(hidden[0], hidden[1], 1)
        self.fc3 = nn.Conv2d(hidden[1], 1, 1, bias=False)
        self.act: nn.Module = ACTIVATIONS[act]()

    def scores(self, support: Tensor, query: Tensor, first: int = 0) -> Tensor:
        """Scores e of the support frames, ``(B, T)``.

        Args:
            support: keys ``(B, T, k, h, w)``.
            query: keys ``(B, k, h, w)``.
            first: which of the T is the first key.
        """
        frames = support.shape[1]
        summaries = [
            _summary(self.first, support[:, first])[:, None].expand(-1, frames, -1, -1, -1),
            _summary(self.selected, support.flatten(0, 1)).unflatten(0, support.shape[:2]),
            _summary(self.query, query)[:, None].expand(-1, frames, -1, -1, -1),
        ]
        joined = torch.cat(summaries, dim=2).flatten(0, 1)
        return self.fc3(self.act(self.fc2(self.act(self.fc1(joined))))).view(support.shape[:2])

    def forward(self, support: Tensor, query: Tensor, first: int = 0) -> Tensor:
        """Logarithms of the frames' weights, ``(B, T)``, at least float32; arguments as in `scores`."""
        scores = full_precision(self.scores(support, query, first))
        if self.norm == "softmax":
            return scores.log_softmax(dim=1)
        weights = F.logsigmoid(scores)
        return weights if self.norm == "sigmoid" else weights - weights.logsumexp(dim=1, keepdim=True)


def _summary(conv: nn.Conv2d, keys: Tensor) -> Tensor:
    """Mean over the positions of the rectified convolution, ``(N, dim, 1, 1)``."""
    return F.relu(conv(keys)).mean(dim=(-2, -1), keepdim=True)


def affinity(
    support: Tensor, query: Tensor, log_weights: Tensor | None = None, scaled: bool = True, apply: str = "log_prior"
) -> Tensor:
    """Weight of every position of every support frame for every query position (eq. 4).

    The frames' weights act as a prior: their logarithm is added to all similarities of a frame, before the softmax over
    frames and positions together. A larger weight always means a larger share, columns stay distributions, and equal
    weights change nothing.

    Args:
        support: keys ``(B, T, k, h, w)``.
        query: keys ``(B, k, h, w)``.
        log_weights: logarithms of the frames' weights, ``(B, T)``; None: equal weights.
        scaled: similarities are divided by the square root of k.
        apply: where the weights act: "log_prior", "logits" (similarities are multiplied) or "readout" (the result is
            multiplied; columns then do not sum to 1).

    Returns:
        A transposed, ``(B, hw, T * hw)``: a row per query position, at least float32.
    """
    if apply not in APPLY:
        raise UsageError(f"model.attention_apply is {apply!r}; choose {', '.join(APPLY)}")
    with in_full_precision(support):
        keys = full_precision(support).transpose(1, 2).flatten(2)
        queries = full_precision(query).flatten(2)
        similarity = queries.transpose(1, 2) @ keys
        if scaled:
            similarity = similarity / support.shape[2] ** 0.5
        if log_weights is None:
            return similarity.softmax(dim=-1)
        positions = support.shape[-2] * support.shape[-1]
        spread: Any = log_weights.repeat_interleave(positions, dim=1)[:, None]
        if apply == "log_prior":
            return (similarity + spread).softmax(dim=-1)
        if apply == "logits":
            return (similarity * spread.exp()).softmax(dim=-1)
        return similarity.softmax(dim=-1) * spread.exp()


def read_memory(values: Tensor, attention: Tensor) -> Tensor:
    """Read values of the support frames for every query position (eq. 5 and 9), as one matrix product per canvas.

    Args:
        values: ``(B, ..., T, C, h, w)`` flattened to ``(B, R, T * hw)``, R rows of all objects and channels together.
        attention: A transposed, ``(B, hw, T * hw)``; it is the same for all rows and never copied.

    Returns:
        ``(B, R, hw)``.
    """
    return values @ attention.to(values.dtype).transpose(1, 2)
