"""The segmentation decoder of LWL, JOINT and LLB: TSE, RRB and CAB per level, deep to shallow.

The layers are those of docs/methods/lwl.md, "Decoder".

Parts that depend on the canvas alone (reduced features, and their share of the first transform convolution) are
computed once per canvas and shared by its objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.cpu.resize import bicubic, resize_to
from vos_zoo.nn.cpu.winograd import Conv3x3, convolve
from vos_zoo.nn.norms import FrozenBatchNorm2d, conv_norm

Spread = Callable[[Tensor], Tensor]
"""Repeats a per-canvas tensor ``(U, ...)`` for the objects, ``(B, ...)``."""


class TSE(nn.Module):
    """Target-score encoder: reduced image features and target scores, merged by three convolutions."""

    def __init__(self, features: int, scores: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(features, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        both = width + scores
        self.transform = nn.Sequential(
            Conv3x3(both, both),
            nn.ReLU(),
            Conv3x3(both, both),
            nn.ReLU(),
            Conv3x3(both, width),
            nn.ReLU(),
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
        first: Conv3x3 = self.transform[0]  # type: ignore[assignment]
        if reduced.shape[0] == scores.shape[0]:
            mixed = first(torch.cat([reduced, scores], dim=1))
        else:
            image, target = first.weight.split([reduced.shape[1], scores.shape[1]], dim=1)
            mixed = spread(convolve(reduced, image, first.bias)) + convolve(scores, target, None)
        _, _, second, _, third, _ = self.transform
        return F.relu_(third(second(mixed, rectify=True), rectify=True)), pooled


class RRB(nn.Module):
    """Residual refinement block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.bblock = nn.Sequential(
            Conv3x3(width, width),
            FrozenBatchNorm2d(width),
            nn.ReLU(),
            Conv3x3(width, width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, h, w)`` -> the same shape."""
        x = self.conv1x1(x)
        conv, norm, _, last = self.bblock
        return F.relu_(last(conv_norm(conv, norm, x), rectify=True, plus=x))


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
    """From the finest level to one logit map at the canvas size, by two bicubic steps.

    The last convolution directly follows an upsampling, and a sum over channels commutes with a resize:
    the nine weights of its kernel are applied at the coarse size, so nine maps are resized instead of all channels,
    then shifted and added (exact up to rounding).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, width, h/4, w/4)`` -> logits ``(B, 1, h, w)``."""
        doubled = (2 * x.shape[-2], 2 * x.shape[-1])
        x = F.relu(self.conv1(bicubic(x, doubled)))
        kernel = self.conv2.weight.flip(-2, -1).flatten(2).permute(2, 1, 0)[..., None]
        maps = bicubic(F.conv2d(x, kernel), size)
        logits = F.fold(maps.flatten(2), size, kernel_size=3, padding=1)
        return logits + self.conv2.bias  # type: ignore[operator]


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
