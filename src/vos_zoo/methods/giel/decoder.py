"""From embeddings to maps: STM's decoder (eq. 6 and 12), the coarse head of the fast version (eq. 10), and fusion.

Parts that depend on the query frame alone (the skip paths, and the query's half of the first convolution) are computed
once and shared by all objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.giel.encoders import STRIDE
from vos_zoo.nn.blocks import ResBlock


@dataclass(frozen=True)
class Shared:
    """A head's features of the query frames, shared by all objects.

    Attributes:
        query: the query values' part of the first layer, ``(B, width, h/16, w/16)``.
        skip8, skip4: the skip paths at strides 8 and 4 ``(B, width, ...)``; None if the head has none.
    """

    query: Tensor
    skip8: Tensor | None = None
    skip4: Tensor | None = None


def _rows(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """A tensor of canvases ``(B, ...)`` repeated for maps on the canvases `rows`; a single canvas is not copied."""
    return tensor if rows is None or tensor.shape[0] == 1 else tensor[rows]


def _halves(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The weights of a convolution over (query values ; read values), split."""
    query, read = conv.weight.chunk(2, dim=1)
    return query, read


class Decoder(nn.Module):
    """Refinement over two skip levels to stride 4, then x4 to the frame's size: one logit map.

    Args:
        value: channels of the query values, and of the readout.
        channels: channels of the query features at strides 4 and 8.
        width: channels inside.
    """

    def __init__(self, value: int, channels: tuple[int, int], width: int = 256) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(2 * value, width, 3, padding=1)
        self.res_in = ResBlock(width, width)
        self.skip8 = nn.Sequential(nn.Conv2d(channels[1], width, 3, padding=1), ResBlock(width, width))
        self.merge8 = ResBlock(width, width)
        self.skip4 = nn.Sequential(nn.Conv2d(channels[0], width, 3, padding=1), ResBlock(width, width))
        self.merge4 = ResBlock(width, width)
        self.pred = nn.Conv2d(width, 1, 3, padding=1)

    def share(self, values: Tensor, r3: Tensor, r2: Tensor) -> Shared:
        """The features that all objects share.

        Args:
            values: query values ``(B, value, h/16, w/16)``.
            r3, r2: query features at strides 8 and 4.
        """
        query = F.conv2d(values, _halves(self.conv_in)[0], self.conv_in.bias, padding=1)
        return Shared(query, self.skip8(r3), self.skip4(r2))

    def forward(self, read: Tensor, shared: Shared, rows: Tensor | None = None) -> Tensor:
        """Logits at the padded frame's size.

        Args:
            read: read values ``(N, value, h/16, w/16)``.
            shared: of ``B`` query frames.
            rows: frame of each of the N, int64; None: row n belongs to frame n.

        Returns:
            ``(N, 1, h, w)``.
        """
        assert shared.skip8 is not None and shared.skip4 is not None
        first = F.conv2d(read, _halves(self.conv_in)[1], padding=1) + _rows(shared.query, rows)
        x = _double(self.res_in(first))
        x = _double(self.merge8(_rows(shared.skip8, rows) + x))
        x = self.merge4(_rows(shared.skip4, rows) + x)
        return F.interpolate(self.pred(F.relu(x)), scale_factor=4, mode="bilinear", align_corners=False)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class CoarseHead(nn.Module):
    """The fast version's map: 1x1 convolutions at stride 16 (eq. 10), upsampled x16 (eq. 11).

    Args:
        value: channels of the query values, and of the readout.
        hidden: channels in between; 0: a single layer.
    """

    def __init__(self, value: int, hidden: int = 256) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(2 * value, hidden or 1, 1)
        self.pred = nn.Conv2d(hidden, 1, 1) if hidden else None

    def share(self, values: Tensor, r3: Tensor, r2: Tensor) -> Shared:
        """The features that all objects share, from the query values ``(B, value, h/16, w/16)`` alone."""
        return Shared(F.conv2d(values, _halves(self.conv_in)[0], self.conv_in.bias))

    def forward(self, read: Tensor, shared: Shared, rows: Tensor | None = None) -> Tensor:
        """Logits at stride 16, ``(N, 1, h/16, w/16)``; arguments as in `Decoder`."""
        x = F.conv2d(read, _halves(self.conv_in)[1]) + _rows(shared.query, rows)
        return x if self.pred is None else self.pred(F.relu(x))


def upsample(maps: Tensor) -> Tensor:
    """Maps at stride 16 ``(N, C, h/16, w/16)`` -> ``(N, C, h, w)``, bilinear."""
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False)


def product_logit(a: Tensor, b: Tensor) -> Tensor:
    """Logit of the product of two probabilities that are given as logits; exact where either is saturated.

    The odds against the product are ``(1 + e^-a)(1 + e^-b) - 1 = e^-a + e^-b + e^-(a + b)``.
    """
    return -torch.logaddexp(torch.logaddexp(-a, -b), -(a + b))


def probability_logit(p: Tensor) -> Tensor:
    """Logit of a probability, clamped to [1e-7, 1 - 1e-7] so that it stays finite."""
    return torch.logit(p, eps=1e-7)
