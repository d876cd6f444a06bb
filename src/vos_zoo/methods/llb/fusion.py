"""AFM, the adaptive fusion module: each branch's encoding times its own gate, then the sum.

The layers are those of docs/methods/llb.md, "Fusion".
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Gate(nn.Module):
    """``x * sigmoid(B relu(A x))`` per position; A and B are C x C without bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.A = nn.Linear(channels, channels, bias=False)
        self.B = nn.Linear(channels, channels, bias=False)
        for linear in (self.A, self.B):
            nn.init.normal_(linear.weight, 0, math.sqrt(2 / channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C, h, w)`` -> the same shape."""
        cells = x.flatten(0, -4)
        hidden = F.relu(F.conv2d(cells, self.A.weight[..., None, None]))
        return x * F.conv2d(hidden, self.B.weight[..., None, None]).sigmoid().view_as(x)


class AFM(nn.Module):
    """Weights the inductive and the transductive encoding per channel and position, and adds them.

    Args:
        channels: channels D of the encodings.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inductive = Gate(channels)
        self.transductive = Gate(channels)

    def forward(self, inductive: Tensor, transductive: Tensor) -> Tensor:
        """Two encodings ``(B, T, K, D, h, w)`` (any leading axes) -> one of the same shape."""
        fused: Tensor = self.inductive(inductive) + self.transductive(transductive)
        return fused
