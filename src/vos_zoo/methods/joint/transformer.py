"""JOINT's transformer: one encoder layer over the memory, one decoder layer on the current frame (JOINT, sec. 3.3).

The details are in docs/methods/joint.md, "Transformer".

Tokens are pixels of the stride-16 features in row-major order, ``(..., P, C)`` with P = h w. There is no value
projection, no feed-forward layer and no position code; queries and keys of a unit share one projection.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.attention import self_attention_sums
from vos_zoo.nn.norms import token_instance_norm
from vos_zoo.nn.precision import full_precision, in_full_precision


class AttentionUnit(nn.Module):
    """Projection of queries and keys for an attention by cosine similarity over a temperature.

    Args:
        channels: of the tokens.
        width: of queries and keys.
        temperature: softmax temperature; its inverse is the scale of the similarities.
    """

    def __init__(self, channels: int = 512, width: int = 128, temperature: float = 1 / 30) -> None:
        super().__init__()
        self.WK = nn.Linear(channels, width)
        self.scale = 1 / temperature
        nn.init.normal_(self.WK.weight, 0, math.sqrt(2 / width))
        nn.init.zeros_(self.WK.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit queries or keys, ``(..., C)`` -> ``(..., width)``."""
        return F.normalize(self.WK(tokens), dim=-1, eps=1e-12)


class Moments(NamedTuple):
    """Mean and inverse deviation of every channel over the pixels, ``(..., C)``."""

    mean: Tensor
    inverse: Tensor


class JointTransformer(nn.Module):
    """The transduction branch's parameters, and its stages.

    Encoder and decoder share one self-attention unit; the cross-attention has its own.

    Args:
        inputs: channels of the backbone features at stride 16.
        channels: of the tokens.
        width: of queries and keys.
        temperature: see `AttentionUnit`.
    """

    def __init__(self, inputs: int = 1024, channels: int = 512, width: int = 128, temperature: float = 1 / 30) -> None:
        super().__init__()
        self.adjust = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.self_attention = AttentionUnit(channels, width, temperature)
        self.cross_attention = AttentionUnit(channels, width, temperature)

    def tokens(self, f16: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, inputs, h, w)`` -> tokens ``(B, P, C)`` and their self-attention keys ``(B, P, width)``."""
        adjusted = full_precision(self.adjust(f16))
        with in_full_precision(f16):
            tokens = adjusted.flatten(2).transpose(1, 2).contiguous()
            return tokens, self.self_attention(tokens)

    def own_sums(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Self-attention of each frame over itself: the decoder's, and the encoder's term of the frame itself.

        Args:
            tokens: ``(B, P, C)``.
            keys: ``(B, P, width)``.

        Returns:
            Weighted sums of the tokens ``(B, P, C)`` and sums of the weights ``(B, P)``.
        """
        with in_full_precision(tokens):
            return self_attention_sums(keys, tokens, self.self_attention.scale)

    def normed(self, tokens: Tensor, numerators: Tensor, denominators: Tensor) -> Tensor:
        """Tokens plus the attention's output, instance-normalised.

        Args:
            tokens: ``(..., P, C)``.
            numerators: weighted sums of the attended tokens, of the same shape.
            denominators: sums of the weights, ``(..., P)``.
        """
        return token_instance_norm(tokens + numerators / denominators[..., None])

    def template_keys(self, numerators: Tensor, denominators: Tensor, tokens: Tensor) -> Tensor:
        """From the encoder's sums for one template to its cross-attention keys; no gradients.

        Instance norm and projection are one affine map of the tokens, so the normalised tokens are never computed.

        Args:
            numerators: weighted sums of the tokens, ``(P, C)``, or of several templates, ``(S, P, C)``.
            denominators: sums of the weights, ``(P,)`` or ``(S, P)``.
            tokens: the templates' own tokens, as the numerators.

        Returns:
            Unit keys ``(P, width)`` or ``(S, P, width)``.
        """
        unit = self.cross_attention.WK
        residual = torch.addcdiv(tokens, numerators, denominators[..., None])
        mean, inverse = token_moments(residual)
        if residual.dim() == 2:
            weight = unit.weight * inverse
            return F.normalize(F.linear(residual, weight, unit.bias - weight @ mean), dim=-1, eps=1e-12)
        weights = unit.weight * inverse[:, None]
        shifts = torch.baddbmm(unit.bias[:, None], weights, mean[..., None], alpha=-1)
        return F.normalize(torch.baddbmm(shifts.mT, residual, weights.mT), dim=-1, eps=1e-12)


def token_moments(x: Tensor, eps: float = 1e-5) -> Moments:
    """Mean and inverse deviation (biased, `eps` added to the variance) of each channel of ``(..., P, C)``."""
    mean = x.mean(dim=-2)
    return Moments(mean, ((x - mean[..., None, :]).square().mean(dim=-2) + eps).rsqrt())
