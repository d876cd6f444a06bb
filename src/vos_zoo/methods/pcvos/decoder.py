"""The decoder: refined values and a frame's features -> one logit map per object (docs/methods/pcvos.md, "Decoder").

Parts that depend on the frame alone (the thinned features' part of the first block, both skip convolutions) are
computed once per frame for all objects.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.blocks import ResBlock, add_shared
from vos_zoo.nn.passes import in_passes, per_pass

CPU_MAPS, CUDA_MAPS, FINE_CPU_MAPS = 8, 64, 1
"""Object-frames decoded together; a frame's objects are divided at the finest level alone. There the CPU decodes one
at a time, more would not fit the cache."""
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

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Coarser features and a frame's features of twice their size -> features of that size.

        Args:
            x: ``(F K, inputs, h, w)``, K objects of each of F frames.
            features: ``(F, skip, 2h, 2w)``; convolved once for all objects.
        """
        return self.merge(x, self.skip_conv(features))

    def merge(self, x: Tensor, skip: Tensor) -> Tensor:
        """As `forward`, from the result ``(F, inputs, 2h, 2w)`` of the skip convolution."""
        doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out_conv(add_shared(doubled, skip))


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
        flat = [x.flatten(0, 1) for x in (values, thin, f8, f4)]
        coarse = self.by_frames(self.mix, COARSE, *flat[:2])
        logits = self.by_frames(self.fine, 1, coarse, *flat[2:])
        return logits.unflatten(0, values.shape[:2])

    def by_frames(self, stage: Callable[..., Tensor], times: int, maps: Tensor, *features: Tensor) -> Tensor:
        """A stage of the decoder, some frames at a time.

        Args:
            stage: `mix` or `fine`.
            times: factor of the number of maps per pass.
            maps: of frames and objects, ``(F, K, ...)``.
            features: of the frames, ``(F, ...)``.
        """
        frames = max(1, per_pass(maps, times * CPU_MAPS, times * CUDA_MAPS) // maps.shape[1])
        passes = zip(*(in_passes(x, frames) for x in (maps, *features)), strict=True)
        return torch.cat([stage(*some) for some in passes])

    def mix(self, values: Tensor, thin: Tensor) -> Tensor:
        """The block at stride 16: values ``(F, K, C, h, w)``, thinned features ``(F, C', h, w)`` -> values' shape."""
        maps = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.compress(maps, thin).unflatten(0, values.shape[:2])

    def fine(self, x: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """From stride 16, ``(F, K, C, h, w)``, to logits ``(F, K, 16h, 16w)``.

        Args:
            x: result of the block at stride 16.
            f8, f4: the pyramid, ``(F, C, h', w')``.
        """
        frames, objects = x.shape[:2]
        x = self.up_16_8(x.flatten(0, 1), f8)
        skip = self.up_8_4.skip_conv(f4)
        pieces = in_passes(x, per_pass(x, FINE_CPU_MAPS, CUDA_MAPS))
        own = [skip] if len(pieces) == 1 else [skip[i // objects, None] for i in range(len(pieces))]
        maps = [self.pred(F.relu_(self.up_8_4.merge(piece, part))) for piece, part in zip(pieces, own, strict=True)]
        logits = F.interpolate(torch.cat(maps), scale_factor=4, mode="bilinear", align_corners=False)
        return logits[:, 0].unflatten(0, (frames, objects))
