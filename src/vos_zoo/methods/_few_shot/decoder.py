"""The segmentation decoder of LWL, JOINT and LLB: TSE, RRB and CAB per level, deep to shallow.

The layers are those of docs/methods/lwl.md, "Decoder".

Parts that depend on the canvas alone (reduced features, and their share of the first transform convolution) are
computed once per canvas and shared by its objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.blocks import RRB, PartsConv2d, PartsSequential, Spread
from vos_zoo.nn.resize import Bicubic, ResizedConv2d, resize_to


class TSE(nn.Module):
    """Target-score encoder: reduced image features and target scores, merged by three convolutions."""

    def __init__(self, features: int, scores: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(features, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        both = width + scores
        self.transform = PartsSequential(
            PartsConv2d(both, both, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(both, both, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(both, width, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, scores: Tensor, spread: Spread) -> tuple[Tensor, Tensor]:
        """Features of one level.

        Args:
            features: backbone features of the canvases, ``(U, C, h, w)``.
            scores: target scores at this size, ``(B, D, h, w)``.
            spread: from canvases to objects.

        Returns:
            Merged features ``(B, width, h, w)`` and the pooled reduced features ``(B, width, 1, 1)``.
        """
        reduced = self.reduce(features)
        pooled = spread(F.adaptive_avg_pool2d(reduced, 1))
        return self.transform(reduced, scores, spread=spread), pooled


class CAB(nn.Module):
    """Channel attention block: gates the shallow features by shallow and deep context, then adds the deep ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convreluconv = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Shallow ``(B, width, h, w)`` and deeper ``(B, width, h', w')`` features (1x1 at the deepest level)."""
        context = torch.cat([F.adaptive_avg_pool2d(shallow, 1), F.adaptive_avg_pool2d(deep, 1)], dim=1)
        return shallow * self.convreluconv(context).sigmoid() + resize_to(deep, shallow.shape)


class UpsampleProject(nn.Module):
    """From the finest level to one logit map at the canvas size, by two bicubic steps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resize = Bicubic()
        self.conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.conv2 = ResizedConv2d(width // 2)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, width, h/4, w/4)`` -> logits ``(B, 1, h, w)``."""
        doubled = self.resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))
        return self.conv2(F.relu(self.conv1(doubled)), size)


class SegmentationDecoder(nn.Module):
    """Target scores and a feature pyramid -> mask logits.

    Args:
        channels: backbone channels at strides 4, 8, 16, 32.
        scores: channels D of the target scores.
        width: channels at stride 4; the deeper levels have 2, 2 and 4 times as many.
    """

    levels = ("layer4", "layer3", "layer2", "layer1")

    def __init__(self, channels: Sequence[int], scores: int = 16, width: int = 64) -> None:
        super().__init__()
        widths = dict(zip(self.levels, (4 * width, 2 * width, 2 * width, width), strict=True))
        inputs = dict(zip(self.levels, reversed(channels), strict=True))
        self.TSE = nn.ModuleDict({name: TSE(inputs[name], scores, widths[name]) for name in self.levels})
        self.RRB1 = nn.ModuleDict({name: RRB(widths[name]) for name in self.levels})
        self.CAB = nn.ModuleDict({name: CAB(widths[name]) for name in self.levels})
        self.RRB2 = nn.ModuleDict({name: RRB(widths[name]) for name in self.levels})
        pairs = zip(self.levels[:-1], self.levels[1:], strict=True)
        self.proj = nn.ModuleDict(
            {fine: nn.Sequential(nn.Conv2d(widths[deep], widths[fine], 1), nn.ReLU()) for deep, fine in pairs}
        )
        self.project = UpsampleProject(width)

    def forward(self, scores: Tensor, pyramid: Sequence[Tensor], size: tuple[int, int], spread: Spread) -> Tensor:
        """Decode.

        Args:
            scores: target scores of the objects at stride 16, ``(B, D, h/16, w/16)``.
            pyramid: canvas features at strides 4, 8, 16, 32, each ``(U, C, h/s, w/s)``.
            size: canvas (h, w).
            spread: from canvases to objects.

        Returns:
            Logits ``(B, 1, h, w)``.
        """
        x: Tensor | None = None
        for name, features in zip(self.levels, reversed(pyramid), strict=True):
            context = None if x is None else self.proj[name](x)
            mixed, pooled = self.TSE[name](features, resize_to(scores, features.shape), spread)
            refined = self.RRB1[name](mixed)
            x = self.RRB2[name](self.CAB[name](refined, pooled if context is None else context))
        assert x is not None
        logits: Tensor = self.project(x, size)
        return logits
