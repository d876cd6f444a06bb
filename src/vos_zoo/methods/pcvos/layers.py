"""Layers that several parts of PCVOS share: residual blocks and gates (docs/methods/pcvos.md, "Encoders")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos_zoo.nn.cpu.winograd import Conv3x3, convolve


class ResBlock(nn.Module):
    """Pre-activation residual block without norms; where the width changes, the shortcut is a 3x3 convolution.

    The parts of a concatenated input can be given one by one: a convolution of a concatenation is the sum of the
    parts' convolutions, so a part that several objects share is convolved once.

    Args:
        inputs: input channels.
        outputs: output channels.
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
        """The contribution of the input channels from `start` on.

        Args:
            x: some channels of the input, ``(B, C, h, w)``.
            start: index of the first of them.
            bias: whether this part carries the biases; exactly one part must.

        Returns:
            Contributions to the hidden layer (before its activation) and to the shortcut, ``(B, outputs, h, w)`` each.
        """
        assert self.downsample is not None
        hidden = conv_part(self.conv1, x, start, bias, rectify=True)
        return hidden, conv_part(self.downsample, x, start, bias)

    def finish(self, hidden: Tensor, shortcut: Tensor) -> Tensor:
        """The block's output from the sums of all parts."""
        return self.conv2(hidden, rectify=True, plus=shortcut)


def conv_part(conv: Conv3x3, x: Tensor, start: int, bias: bool = False, rectify: bool = False) -> Tensor:
    """The contribution of the input channels from `start` on to a convolution.

    Args:
        conv: the convolution.
        x: some channels of the input, ``(B, C, h, w)``.
        start: index of the first of them.
        bias: whether to add the convolution's bias.
        rectify: whether to convolve the positive part.
    """
    weight, offset = conv.weight[:, start : start + x.shape[1]], conv.bias if bias else None
    return convolve(x, weight, offset, rectify)


def spread(shared: Tensor, copies: int) -> Tensor:
    """Repeat a tensor per frame, ``(B, ...)``, for each of its objects, ``(B copies, ...)``."""
    if copies == 1:
        return shared
    return shared[:, None].expand(-1, copies, *shared.shape[1:]).flatten(0, 1)


class ChannelGate(nn.Module):
    """Scales channels by a function of their averages and maxima (CBAM).

    Args:
        channels: channels of the features.
        reduction: ratio of input to hidden channels.
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
    """Scales positions by a function of the maximum and mean over channels (CBAM)."""

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
