"""Building blocks that several networks share: convolutions of several inputs or of parts of one, residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.norms import FrozenBatchNorm2d

Spread = Callable[[Tensor], Tensor]
"""Repeats a tensor that several objects share, ``(U, ...)``, for the objects, ``(B, ...)``."""


class PartsConv2d(nn.Conv2d):
    """A convolution of a concatenated input whose parts are given one by one.

    A convolution of a concatenation is the sum of its parts' convolutions, so a part that several objects share is
    convolved once.
    """

    def forward(self, *parts: Tensor, spread: Spread | None = None) -> Tensor:  # type: ignore[override]
        """Convolve.

        Args:
            parts: consecutive channels of the input, each ``(B, C_i, h, w)`` or, where objects share it,
                ``(U, C_i, h, w)`` with U < B; at most one is shared.
            spread: from the U rows of a shared part to the B objects; None: row u belongs to B / U consecutive ones.

        Returns:
            ``(B, outputs, h', w')``.
        """
        return convolve_parts(self._conv_forward, self, parts, spread)


def convolve_parts(
    convolve: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    conv: nn.Conv2d,
    parts: Sequence[Tensor],
    spread: Spread | None = None,
) -> Tensor:
    """What `PartsConv2d.forward` returns, for a function of image, filter and bias that convolves."""
    if len({part.shape[0] for part in parts}) == 1:
        whole = parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=1)
        return convolve(whole, conv.weight, conv.bias)
    filters = conv.weight.split([part.shape[1] for part in parts], dim=1)
    (shared, common), (own, single) = sorted(zip(parts, filters, strict=True), key=lambda pair: pair[0].shape[0])
    return add_shared(convolve(own, single, None), convolve(shared, common, conv.bias), spread)


def add_shared(own: Tensor, shared: Tensor, spread: Spread | None = None) -> Tensor:
    """Add maps ``(U, C, h, w)`` that objects share to the objects' own, ``(B, C, h, w)``, which are changed in place.

    Args:
        own: the result of an operation that does not need it for its gradient, such as a convolution.
        shared: maps of the U rows.
        spread: see `PartsConv2d`.
    """
    if spread is not None:
        return own.add_(spread(shared))
    own.unflatten(0, (shared.shape[0], -1)).add_(shared[:, None])
    return own


class PartsSequential(nn.Sequential):
    """Layers of which the first is a `PartsConv2d`."""

    def forward(self, *parts: Tensor, spread: Spread | None = None) -> Tensor:  # type: ignore[override]
        """Arguments as in `PartsConv2d`; the result of the last layer."""
        first, *others = self
        x: Tensor = first(*parts, spread=spread)
        for layer in others:
            x = layer(x)
        return x


class ConvBranches(nn.ModuleDict):
    """Convolutions of one input by name; all have the same form and a bias."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Some of the convolutions of ``(B, C, h, w)``, in this order."""
        return tuple(self[name](x) for name in names)


class ResBlock(nn.Module):
    """Pre-activation residual block without norms; where the width changes, the shortcut is a 3x3 convolution.

    Args:
        inputs: input channels.
        outputs: output channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downsample = PartsConv2d(inputs, outputs, 3, padding=1) if inputs != outputs else None
        self.conv1 = PartsConv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, *parts: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h, w)``; where the width changes, parts as in `PartsConv2d`."""
        hidden = self.conv1(*map(F.relu, parts))
        return self.conv2(F.relu(hidden)) + self.shortcut(*parts)

    def shortcut(self, *parts: Tensor) -> Tensor:
        """What is added to the convolutions' result."""
        if self.downsample is not None:
            return self.downsample(*parts)
        (x,) = parts
        return x


class RRB(nn.Module):
    """Residual refinement block.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.bblock = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            FrozenBatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, h, w)`` -> the same shape."""
        x = self.conv1x1(x)
        return F.relu(x + self.bblock(x))
