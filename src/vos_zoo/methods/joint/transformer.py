"""JOINT's transformer: one encoder layer over the memory, one decoder layer on the current frame (sheet 2.4-2.7).

Tokens are pixels of the stride-16 features, row by row: ``(..., P, C)`` with P = h w. There is no value projection, no
feed-forward layer and no position code; queries and keys of a unit go through one projection.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.blocks.attention import bounded_weights, fused_attention
from vos_zoo.blocks.norms import full_precision, token_instance_norm
from vos_zoo.blocks.winograd import Conv3x3


class AttentionUnit(nn.Module):
    """Projection of an attention: cosine similarity over a temperature (sheet 2.5).

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
    """Mean and inverse deviation of every channel over the pixels, ``(C,)``."""

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
        self.adjust = Conv3x3(inputs, channels, bias=False)
        self.self_attention = AttentionUnit(channels, width, temperature)
        self.cross_attention = AttentionUnit(channels, width, temperature)

    def tokens(self, f16: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, inputs, h, w)`` -> tokens ``(B, P, C)`` and their self-attention keys ``(B, P, width)``."""
        adjusted = full_precision(self.adjust(f16))
        with torch.autocast(f16.device.type, enabled=False):
            tokens = adjusted.flatten(2).transpose(1, 2).contiguous()
            return tokens, self.self_attention(tokens)

    def encode(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Encoder over whole memories at once: every token attends to all tokens of its sequence (sheet 2.6).

        Args:
            tokens: templates ``(S, B, P, C)``.
            keys: their self-attention keys, ``(S, B, P, width)``.

        Returns:
            Encoded templates, ``(S, B, P, C)``.
        """
        samples, objects, pixels, channels = tokens.shape
        flat = keys.transpose(0, 1).reshape(objects, samples * pixels, -1)
        values = tokens.transpose(0, 1).reshape(objects, samples * pixels, channels)
        attended = fused_attention(flat, flat, values, self.self_attention.scale)
        attended = attended.view(objects, samples, pixels, channels).transpose(0, 1)
        return token_instance_norm(attended + tokens)

    def normed_query(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Decoder self-attention on one frame, and its instance norm (sheet 2.7).

        Args:
            tokens: ``(B, P, C)``.
            keys: ``(B, P, width)``.

        Returns:
            ``(B, P, C)``.
        """
        if torch.is_grad_enabled():
            attended = fused_attention(keys, keys, tokens, self.self_attention.scale)
        else:
            attended = torch.stack([self._attend(own, value) for own, value in zip(keys, tokens, strict=True)])
        return token_instance_norm(attended + tokens)

    def _attend(self, keys: Tensor, tokens: Tensor) -> Tensor:
        """Self-attention of one frame in one block, ``(P, width)`` and ``(P, C)`` -> ``(P, C)``."""
        weights = bounded_weights(keys, keys, self.self_attention.scale)
        return (weights @ tokens).div_(weights.sum(dim=1, keepdim=True))

    def template_keys(self, numerators: Tensor, denominators: Tensor, tokens: Tensor) -> Tensor:
        """From the encoder's sums for one template to its cross-attention keys; no gradients.

        Instance norm and projection are one affine map of the tokens, so the normalised tokens are never formed.

        Args:
            numerators: weighted sums of the tokens, ``(P, C)``.
            denominators: sums of the weights, ``(P,)``.
            tokens: the template's own tokens, ``(P, C)``.

        Returns:
            Unit keys ``(P, width)``.
        """
        unit = self.cross_attention.WK
        residual = torch.addcdiv(tokens, numerators, denominators[:, None])
        mean, inverse = token_moments(residual)
        weight = unit.weight * inverse
        return F.normalize(F.linear(residual, weight, unit.bias - weight @ mean), dim=-1, eps=1e-12)


def token_moments(x: Tensor, eps: float = 1e-5) -> Moments:
    """Mean and inverse deviation (biased, `eps` added to the variance) of each channel of ``(P, C)``."""
    mean = x.mean(dim=0)
    return Moments(mean, ((x - mean).square().mean(dim=0) + eps).rsqrt())
