"""Layers that several parts of PCVOS share: residual blocks and gates (docs/methods/pcvos.md, "Encoders")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos_zoo.nn.cpu.winograd import Conv3x3, convolve


class ResBlock(nn.Module):
    """Pre-activation residual block without norms; where the width changes, the shortcut is a 3x3 convolution.

    What is concatenated before the block can be given part by part: a convolution of a concatenation is the sum of the
    parts' convolutions, so a part that several objects share is convolved once.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downsample = Conv3x3(inputs, outputs) if inputs != outputs else None
        self.conv1 = Conv3x3(inputs, outputs)
        self.conv2 = Conv3x3(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h, w)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.finish(self.conv1(x, rectify=True), shortcut)

    def part(self, x: Tensor, start: int, bias: bool = False) -> tuple[Tensor, Tensor]:
        """What the input channels from `start` on contribute.

        Args:
            x: some channels of the input, ``(B, C, h, w)``.
            start: number of the first of them.
            bias: whether this part carries the biases; exactly one part must.

        Returns:
            Shares of the hidden layer (before its activation) and of the shortcut, ``(B, outputs, h, w)`` each.
        """
        assert self.downsample is not None
        hidden = conv_part(self.conv1, x, start, bias, rectify=True)
        return hidden, conv_part(self.downsample, x, start, bias)

    def finish(self, hidden: Tensor, shortcut: Tensor) -> Tensor:
        """The block's result from the sums of all parts."""
        return self.conv2(hidden, rectify=True, plus=shortcut)


def conv_part(conv: Conv3x3, x: Tensor, start: int, bias: bool = False, rectify: bool = False) -> Tensor:
    """The share of the input channels from `start` on in a convolution.

    Args:
        conv: the convolution.
        x: some channels of the input, ``(B, C, h, w)``.
        start: number of the first of them.
        bias: whether to add the convolution's bias.
        rectify: whether to convolve the positive part.
    """
    weight, offset = conv.weight[:, start : start + x.shape[1]], conv.bias if bias else None
    return convolve(x, weight, offset, rectify)


def spread(shared: Tensor, copies: int) -> Tensor:
    """A tensor per picture, ``(B, ...)``, as seen by each of its objects, ``(B copies, ...)``."""
    if copies == 1:
        return shared
    return shared[:, None].expand(-1, copies, *shared.shape[1:]).flatten(0, 1)


class ChannelGate(nn.Module):
    """Scales channels by what their averages and maxima say (CBAM).

    Args:
        channels: channels of the features.
        reduction: the hidden layer is so many times narrower.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` -> the same shape."""
        gate = self.mlp(x.mean(dim=(-2, -1))) + self.mlp(x.amax(dim=(-2, -1)))
        return x * gate.sigmoid()[..., None, None]


class SpatialGate(nn.Module):
    """Scales pixels by what the maximum and the mean over their channels say (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` -> the same shape."""
        both = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)
        return x * self.conv(both).sigmoid()


class CBAM(nn.Module):
    """Channel gate, then spatial gate (Woo et al. 2018).

    Args:
        channels: channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelGate(channels)
        self.spatial = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` -> the same shape."""
        return self.spatial(self.channel(x))
