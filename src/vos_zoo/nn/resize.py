"""Resizing as in the published networks, and a convolution of a resized image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def resize_to(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear resize ``(B, C, h, w)`` to the last two axes of `size`, without antialiasing."""
    if x.shape[-2:] == tuple(size[-2:]):
        return x
    return F.interpolate(x, tuple(size[-2:]), mode="bilinear", align_corners=False)


class Bicubic(nn.Module):
    """Bicubic resize without antialiasing."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, C, h, w)`` -> ``(B, C, *size)``."""
        return F.interpolate(x, size, mode="bicubic", align_corners=False)


class ResizedConv2d(nn.Conv2d):
    """A 3x3 convolution to one channel of a bicubically resized image.

    A sum over channels commutes with a resize: the nine weights of the kernel are applied before it, so nine maps are
    resized instead of all channels, then shifted and added (exact up to rounding).

    Args:
        inputs: channels of the image.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 1, 3, padding=1)
        self.resize = Bicubic()

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """The convolution of the image ``(B, C, h, w)`` resized to `size`, ``(B, 1, *size)``."""
        return add_shifted(self.resize(kernel_maps(x, self.weight), size)) + self.bias  # type: ignore[operator]


def kernel_maps(x: Tensor, weight: Tensor) -> Tensor:
    """One map per weight of a 3x3 kernel with one output: image ``(B, C, h, w)``, weights ``(1, C, 3, 3)``."""
    kernel = weight.flip(-2, -1).flatten(2).permute(2, 1, 0)[..., None]
    return F.conv2d(x, kernel)


def add_shifted(maps: Tensor) -> Tensor:
    """The convolution's result ``(B, 1, h, w)``, without bias, from the maps ``(B, 9, h, w)`` of `kernel_maps`."""
    size = (maps.shape[-2], maps.shape[-1])
    return F.fold(maps.flatten(2), size, kernel_size=3, padding=1)
