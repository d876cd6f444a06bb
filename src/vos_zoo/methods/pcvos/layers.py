"""The gates of PCVOS's encoders (docs/methods/pcvos.md, "Encoders")."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
