"""ViTAE-6M, the vision transformer with convolution branches that encodes background-filtered frames.

The layers are those of docs/methods/llb.md, "ViTAE-6M".

Three stages of reduction cells (RC), then normal cells (NC); global attention, no positions, no class token. Names of
the parts are the paper's: PRM, the pyramid of dilated convolutions; PCM, the convolution branch parallel to the
attention. Attention and MLP of the normal cells are timm's.
"""

from __future__ import annotations

import math

import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.types import UsageError

PERFORMER_EPS = 1e-8
"""Added to the performer's denominator; it matters for long queries and keys, so no maximum may be subtracted."""


def to_tokens(x: Tensor) -> Tensor:
    """Map ``(B, C, h, w)`` -> tokens ``(B, h w, C)``, row by row."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """Tokens ``(B, h w, C)`` -> map ``(B, C, h, w)``; `size` ends in (h, w)."""
    return tokens.transpose(1, 2).unflatten(2, tuple(size[-2:]))


class PRM(nn.Module):
    """Pyramid reduction: parallel strided convolutions of growing dilation.

    Args:
        inputs: channels of the input.
        outputs: channels per dilation.
        kernel, stride: of every convolution.
        dilations: one convolution each; padding keeps the output at ``size / stride``.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel, stride, math.ceil(((kernel - 1) * d + 1 - stride) / 2), d),
                nn.GELU(),
            )
            for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs * dilations, h/stride, w/stride)``."""
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class Performer(nn.Module):
    """Linear attention by random features, one head; the values are the skip (there is no residual from the input).

    Args:
        inputs: channels of the tokens.
        width: channels e of keys, queries, values and output; half as many random features m.
    """

    w: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        features = width // 2
        self.norm1 = nn.LayerNorm(inputs)
        self.kqv = nn.Linear(inputs, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.register_buffer("w", nn.init.orthogonal_(torch.empty(features, width)) * math.sqrt(features))

    def attend(self, tokens: Tensor) -> Tensor:
        """Attention over tokens ``(B, n, inputs)`` -> ``(B, n, width)``.

        Keys and queries are inputs of exponentials, so they are computed in float32 also under autocast.
        """
        keys, queries, values = self.kqv(self.norm1(tokens)).chunk(3, dim=-1)
        with in_full_precision(tokens):
            phi_k, phi_q = self._random_features(keys.to(self.w)), self._random_features(queries.to(self.w))
            context = phi_k.transpose(1, 2) @ values.to(self.w)
            total = phi_k.sum(dim=1)[..., None]
            read = (phi_q @ context) / (phi_q @ total + PERFORMER_EPS)
        return values + self.proj(read)

    def _random_features(self, x: Tensor) -> Tensor:
        """phi(x) = exp(x w^T - |x|^2 / 2) / sqrt(m), ``(B, n, m)``."""
        return (x @ self.w.T - x.square().sum(dim=-1, keepdim=True) / 2).exp() / math.sqrt(len(self.w))

    def forward(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """Attention of ``(B, n, inputs)``, plus the convolution branch `beside` ``(B, n, width)``, then the MLP."""
        x = self.attend(tokens) + beside
        return x + self.mlp(self.norm2(x))


class ReductionCell(nn.Module):
    """PRM, followed by performer and convolution branch except in the last stage.

    Args:
        inputs: channels of the input.
        pyramid: channels per dilation.
        kernel, stride, dilations: of the PRM; stride 2 or 4.
        width: output channels of performer and convolution branch; None: the PRM alone.
    """

    def __init__(
        self,
        inputs: int,
        pyramid: int,
        kernel: int,
        stride: int,
        dilations: tuple[int, ...],
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.PRM = PRM(inputs, pyramid, kernel, stride, dilations)
        self.attn = self.PCM = None
        if width is not None:
            self.attn = Performer(pyramid * len(dilations), width)
            self.PCM = nn.Sequential(
                nn.Conv2d(inputs, width, 3, 2, 1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, stride // 2, 1),
                FrozenBatchNorm2d(width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, 1, 1),
                nn.SiLU(),
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, width, h/stride, w/stride)``."""
        pyramid = self.PRM(x)
        if self.attn is None or self.PCM is None:
            return pyramid
        return to_map(self.attn(to_tokens(pyramid), to_tokens(self.PCM(x))), pyramid.shape)


class NormalCell(nn.Module):
    """A transformer block with a convolution branch, which reads the input before its norm.

    Args:
        width: channels.
        heads: attention heads.
        groups: groups of the convolutions.
    """

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 2 * width)
        self.PCM = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 1, 1, groups=groups),
            FrozenBatchNorm2d(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, width, 3, 1, 1, groups=groups),
            FrozenBatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1, groups=groups),
            nn.SiLU(),
        )

    def forward(self, tokens: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
        """Tokens ``(B, h w, width)`` of a map whose size ends in (h, w) -> the same shape."""
        beside = to_tokens(self.PCM(to_map(tokens, size)))
        tokens = tokens + self.attn(self.norm1(tokens)) + beside
        return tokens + self.mlp(self.norm2(tokens))


class Stage(nn.Module):
    """A reduction cell and the normal cells after it."""

    def __init__(self, reduction: ReductionCell, cells: list[NormalCell]) -> None:
        super().__init__()
        self.RC = reduction
        self.NC = nn.ModuleList(cells)

    def forward(self, x: Tensor) -> Tensor:
        """Map in, smaller map out."""
        x = self.RC(x)
        if not self.NC:
            return x
        tokens = to_tokens(x)
        for cell in self.NC:
            tokens = cell(tokens, x.shape)
        return to_map(tokens, x.shape)


class ViTAE(nn.Module):
    """ViTAE-6M without its classifier: images to features at stride 16.

    Args:
        width: channels of the normal cells, a multiple of 64 (256: the published network); the reduction cells have a
            quarter, and there is one attention head per 64.
        depth: normal cells.
    """

    def __init__(self, width: int = 256, depth: int = 10) -> None:
        super().__init__()
        if width % 64:
            raise UsageError(f"model.vitae_width is {width}; it must be a multiple of 64 (one attention head each)")
        quarter = width // 4
        cells = [NormalCell(width, width // 64, quarter) for _ in range(depth)]
        self.channels = width
        self.layers = nn.ModuleList(
            [
                Stage(ReductionCell(3, quarter, 7, 4, (1, 2, 3, 4), quarter), []),
                Stage(ReductionCell(quarter, quarter, 3, 2, (1, 2, 3), quarter), []),
                Stage(ReductionCell(quarter, width // 2, 3, 2, (1, 2)), cells),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """Images ``(B, 3, h, w)`` -> features ``(B, width, h/16, w/16)``.

        Raises:
            UsageError: a side is no multiple of 16.
        """
        if any(side % 16 for side in pictures.shape[-2:]):
            sides = " x ".join(map(str, pictures.shape[-2:]))
            raise UsageError(f"the canvas is {sides}; this label generator needs multiples of 16 (data.crop.size)")
        for layer in self.layers:
            pictures = layer(pictures)
        return pictures
