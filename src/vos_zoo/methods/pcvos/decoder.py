"""The decoder: refined values and a frame's features -> one logit map per object (docs/methods/pcvos.md, "Decoder").

Parts that depend on the frame alone (the thinned features' part of the first block, both skip convolutions) are
computed once per frame for all objects.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.blocks import ResBlock, add_shared
from vos_zoo.nn.passes import in_passes, per_pass, run_in_passes

CPU_MAPS, CUDA_MAPS, FINE_CPU_MAPS = 8, 64, 1
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
        self.skip_conv = nn.Conv2d(skip, inputs, 3, padding=1)
        self.out_conv = ResBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Coarser features and a skip connection of twice their size -> features of that size.

        Args:
            x: ``(F K, inputs, h, w)``.
            skip: result of the skip convolution for the K objects of each of F frames, ``(F, inputs, 2h, 2w)``.
        """
        doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        features: Tensor = self.out_conv(add_shared(doubled, skip))
        return features


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
        frames, own = self.maps_per_pass(coarse)
        logits = []
        levels = zip(coarse.split(frames), *(f.flatten(0, 1).split(frames) for f in (f8, f4)), strict=True)
        for maps, *pyramid in levels:
            skips = self.up_16_8.skip_conv(pyramid[0]), self.up_8_4.skip_conv(pyramid[1])
            logits.append(run_in_passes(lambda some, skips=skips: self.fine(some, *skips), maps, own, dim=1))
        return torch.cat(logits).unflatten(0, values.shape[:2])

    def maps_per_pass(self, maps: Tensor, times: int = 1) -> tuple[int, int]:
        """Frames per pass, and objects of each frame, for maps of frames and objects ``(F, K, C, h, w)``."""
        frames, objects = maps.shape[:2]
        most = per_pass(maps, times * CPU_MAPS, times * CUDA_MAPS)
        return max(1, min(frames, most // objects)), min(objects, most)

    def coarse(self, values: Tensor, thin: Tensor) -> Tensor:
        """The block at stride 16: values ``(F, K, C, h, w)``, thinned features ``(F, C', h, w)`` -> values' shape."""
        frames, own = self.maps_per_pass(values, COARSE)
        parts = []
        for target, picture in zip(values.split(frames), thin.split(frames), strict=True):
            parts.append(run_in_passes(lambda some, picture=picture: self.mix(some, picture), target, own, dim=1))
        return torch.cat(parts)

    def mix(self, values: Tensor, thin: Tensor) -> Tensor:
        """The coarse block for some objects' values ``(F, K, C, h, w)``."""
        maps = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        mixed: Tensor = self.compress(maps, thin)
        return mixed.unflatten(0, values.shape[:2])

    def fine(self, x: Tensor, skip8: Tensor, skip4: Tensor) -> Tensor:
        """Logits ``(F, K, 16h, 16w)`` of some objects from stride 16 ``(F, K, C, h, w)`` and the skip convolutions.

        Args:
            x: result of the coarse block.
            skip8, skip4: one per frame, for all its objects, ``(F, C, 2h, 2w)`` and ``(F, C', 4h, 4w)``.
        """
        frames, objects = x.shape[:2]
        x = self.up_16_8(x.flatten(0, 1), skip8)
        pieces = in_passes(x, per_pass(x, FINE_CPU_MAPS))
        own = [skip4] if len(pieces) == 1 else [skip4[i // objects, None] for i in range(len(pieces))]
        maps = [self.pred(F.relu_(self.up_8_4(piece, skip))) for piece, skip in zip(pieces, own, strict=True)]
        logits = F.interpolate(torch.cat(maps), scale_factor=4, mode="bilinear", align_corners=False)
        return logits[:, 0].unflatten(0, (frames, objects))
