"""The decoder: refined values and a frame's features -> one logit map per object (docs/methods/pcvos.md, "Decoder").

Parts that depend on the frame alone (the thinned features' part of the first block, both skip convolutions) are
computed once per frame for all objects.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.pcvos.layers import ResBlock
from vos_zoo.nn.cpu.winograd import Conv3x3

CPU_MAPS, CUDA_MAPS = 8, 64
"""Object-frames decoded together; on the CPU one at a time at the finest level, more would not fit the cache."""
COARSE = 4
"""Factor for more object-frames together at stride 16, where maps are small and filters large."""


class Upsample(nn.Module):
    """Upsampling by two, a skip connection, and a residual block.

    Args:
        skip: channels of the frame's features.
        inputs: input channels.
        outputs: output channels.
    """

    def __init__(self, skip: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip_conv = Conv3x3(skip, inputs)
        self.out_conv = ResBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Coarser features and a skip connection of twice their size -> features of that size.

        Args:
            x: ``(F K, inputs, h, w)``.
            skip: result of the skip convolution for the K objects of each of F frames, ``(F, inputs, 2h, 2w)``.
        """
        doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        doubled.unflatten(0, (skip.shape[0], -1)).add_(skip[:, None])
        return self.out_conv(doubled)


class Decoder(nn.Module):
    """Decodes frames and objects, in batches that suit the device.

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
        self.value = value

    def forward(self, values: Tensor, thin: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """Decode.

        Args:
            values: refined values ``(B, T, K, C, h/16, w/16)``.
            thin: thinned features ``(B, T, C', h/16, w/16)``.
            f8, f4: the pyramid ``(B, T, C, h/s, w/s)``.

        Returns:
            Logits ``(B, T, K, h, w)``.
        """
        coarse = self.coarse(values.flatten(0, 1), thin.flatten(0, 1))
        frames, own = self.maps_per_pass(coarse.shape[0], coarse.shape[1])
        logits = []
        levels = zip(coarse.split(frames), *(f.flatten(0, 1).split(frames) for f in (f8, f4)), strict=True)
        for maps, *pyramid in levels:
            skips = self.up_16_8.skip_conv(pyramid[0]), self.up_8_4.skip_conv(pyramid[1])
            logits.append(torch.cat([self.fine(some, *skips) for some in maps.split(own, dim=1)], dim=1))
        return torch.cat(logits).unflatten(0, values.shape[:2])

    def maps_per_pass(self, frames: int, objects: int, times: int = 1) -> tuple[int, int]:
        """Frames per batch, and objects of each frame; all of them with gradients."""
        if torch.is_grad_enabled():
            return frames, objects
        most = times * (CPU_MAPS if self.pred.weight.device.type == "cpu" else CUDA_MAPS)
        return max(1, most // objects), min(objects, most)

    def coarse(self, values: Tensor, thin: Tensor) -> Tensor:
        """The block at stride 16: values ``(F, K, C, h, w)``, thinned features ``(F, C', h, w)`` -> values' shape."""
        frames, own = self.maps_per_pass(values.shape[0], values.shape[1], COARSE)
        parts = []
        for target, picture in zip(values.split(frames), thin.split(frames), strict=True):
            shared = self.compress.part(picture, self.value, bias=True)
            parts.append(torch.cat([self.mix(some, *shared) for some in target.split(own, dim=1)], dim=1))
        return torch.cat(parts)

    def mix(self, values: Tensor, *shared: Tensor) -> Tensor:
        """The coarse block for some objects' values ``(F, K, C, h, w)`` and the frames' part of it."""
        maps = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        both = self.compress.part(maps, 0)
        for own, pictures in zip(both, shared, strict=True):
            own.unflatten(0, values.shape[:2]).add_(pictures[:, None])
        return self.compress.finish(*both).unflatten(0, values.shape[:2])

    def fine(self, x: Tensor, skip8: Tensor, skip4: Tensor) -> Tensor:
        """Logits ``(F, K, 16h, 16w)`` of some objects from stride 16 ``(F, K, C, h, w)`` and the skip convolutions.

        Args:
            x: result of the coarse block.
            skip8, skip4: one per frame, for all its objects, ``(F, C, 2h, 2w)`` and ``(F, C', 4h, 4w)``.
        """
        frames, objects = x.shape[:2]
        x = self.up_16_8(x.flatten(0, 1), skip8)
        parts = [(x, skip4)]
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            parts = [(part, skip4[i // objects, None]) for i, part in enumerate(x.split(1))]
        maps = torch.cat([self.last(self.up_8_4(part, skip)) for part, skip in parts])
        logits = F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
        return logits[:, 0].unflatten(0, (frames, objects))

    def last(self, x: Tensor) -> Tensor:
        """The last convolution, of the features' positive part: ``(B, C, h, w)`` -> ``(B, 1, h, w)``.

        With one output channel a convolution is memory-bound; nine maps, one per weight of the kernel, shifted and
        added are a matrix product with nine rows, which reads its input once.
        """
        kernel = self.pred.weight.flip(-2, -1).flatten(2).permute(2, 1, 0)[..., None]
        size = (x.shape[-2], x.shape[-1])
        maps = F.conv2d(F.relu(x, inplace=not torch.is_grad_enabled()), kernel)
        return F.fold(maps.flatten(2), size, kernel_size=3, padding=1) + self.pred.bias[:, None, None]  # type: ignore[index]
