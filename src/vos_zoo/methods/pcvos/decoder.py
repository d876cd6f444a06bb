"""The decoder: refined values and a picture's features -> one logit map per object (sheet 2.4).

What depends on the picture alone (the thinned features' share of the first block, both skip convolutions) is computed
once per frame for all objects (sheet, sec. 7, items 5 and 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.blocks.winograd import Conv3x3
from vos_zoo.methods.pcvos.layers import ResBlock, spread

CPU_BYTES = 4 << 20
"""Bytes of one layer at stride 4 that go through the CPU together: more would leave the cache."""
CUDA_BYTES = 512 << 20
"""The same on a GPU: enough to fill it."""


@dataclass(frozen=True)
class Scenery:
    """What all objects of a frame share, each ``(F, C, h/s, w/s)``.

    Attributes:
        hidden, shortcut: share of the thinned features in the first block.
        skip8, skip4: results of the skip convolutions.
    """

    hidden: Tensor
    shortcut: Tensor
    skip8: Tensor
    skip4: Tensor


class Upsample(nn.Module):
    """Adds a skip connection to doubled features, then a residual block.

    Args:
        skip: channels of the picture's features.
        inputs: channels from below.
        outputs: channels that go out.
    """

    def __init__(self, skip: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip_conv = Conv3x3(skip, inputs)
        self.out_conv = ResBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Features from below ``(B, inputs, h, w)``, the skip convolution's result at twice the size -> that size."""
        return self.out_conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False).add_(skip))


class Decoder(nn.Module):
    """Decodes frames and objects, as many together as suit the device.

    Args:
        value: channels of the refined values.
        thin: channels of the thinned features.
        f8, f4: channels of the pyramid.
        width: channels at strides 8 and 4; twice as many at stride 16.
    """

    def __init__(self, value: int, thin: int, f8: int, f4: int, width: int = 256) -> None:
        super().__init__()
        self.compress = ResBlock(value + thin, 2 * width)
        self.up_16_8 = Upsample(f8, 2 * width, width)
        self.up_8_4 = Upsample(f4, width, width)
        self.pred = nn.Conv2d(width, 1, 3, padding=1)
        self.value, self.width = value, width

    def forward(self, values: Tensor, thin: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """Decode.

        Args:
            values: refined values ``(B, T, K, C, h/16, w/16)``.
            thin: thinned features ``(B, T, C', h/16, w/16)``.
            f8, f4: the pyramid ``(B, T, C, h/s, w/s)``.

        Returns:
            Logits ``(B, T, K, h, w)``.
        """
        objects, per_pass = values.shape[2], self.maps_per_pass(f4)
        frames, own = max(1, per_pass // objects), max(1, min(objects, per_pass))
        pictures = zip(*(level.flatten(0, 1).split(frames) for level in (thin, f8, f4)), strict=True)
        maps = []
        for picture, target in zip(pictures, values.flatten(0, 1).split(frames), strict=True):
            scenery = self.scenery(*picture)
            maps.append(torch.cat([self.decode(some, scenery) for some in target.split(own, dim=1)], dim=1))
        logits = torch.cat(maps).unflatten(0, values.shape[:2])
        return logits

    def maps_per_pass(self, f4: Tensor) -> int:
        """Object-frames decoded together; all of them where gradients are recorded."""
        if torch.is_grad_enabled():
            return 1 << 30
        size = self.width * f4.shape[-2] * f4.shape[-1] * f4.element_size()
        return max(1, (CPU_BYTES if f4.device.type == "cpu" else CUDA_BYTES) // size)

    def scenery(self, thin: Tensor, f8: Tensor, f4: Tensor) -> Scenery:
        """What all objects of the frames share; all arguments ``(F, C, h/s, w/s)``."""
        hidden, shortcut = self.compress.part(thin, self.value, bias=True)
        return Scenery(hidden, shortcut, self.up_16_8.skip_conv(f8), self.up_8_4.skip_conv(f4))

    def decode(self, values: Tensor, scenery: Scenery) -> Tensor:
        """Logits ``(F, K, h, w)`` of some objects, values ``(F, K, C, h/16, w/16)``."""
        frames, objects = values.shape[:2]
        hidden, shortcut = self.compress.part(values.flatten(0, 1), 0)
        x = self.compress.finish(
            hidden.add_(spread(scenery.hidden, objects)), shortcut.add_(spread(scenery.shortcut, objects))
        )
        x = self.up_16_8(x, spread(scenery.skip8, objects))
        x = self.up_8_4(x, spread(scenery.skip4, objects))
        maps = self.last(F.relu(x, inplace=not torch.is_grad_enabled()))
        logits = F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
        return logits[:, 0].unflatten(0, (frames, objects))

    def last(self, x: Tensor) -> Tensor:
        """The last convolution, ``(B, C, h, w)`` -> ``(B, 1, h, w)``: nine maps, one per tap, shifted and added.

        With one output channel a convolution is bound by memory; as a product with nine rows it reads its input once.
        """
        taps = self.pred.weight.flip(-2, -1).flatten(2).permute(2, 1, 0)[..., None]
        size = (x.shape[-2], x.shape[-1])
        return F.fold(F.conv2d(x, taps).flatten(2), size, kernel_size=3, padding=1) + self.pred.bias[:, None, None]  # type: ignore[index]
