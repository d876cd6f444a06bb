"""Layers and blocks in the forms that are faster on a CPU: positive parts, sums and norms inside convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.blocks import RRB, ConvBranches, PartsConv2d, PartsSequential, ResBlock, Spread, convolve_parts
from vos_zoo.nn.cpu.winograd import convolve, plain_only
from vos_zoo.nn.norms import FrozenBatchNorm2d, folded
from vos_zoo.nn.resize import add_shifted, kernel_maps

of_positive = partial(convolve, rectify=True)


def is_same_3x3(conv: nn.Module) -> bool:
    """Whether this is a zero-padded 3x3 convolution whose output has the size of its input."""
    if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (3, 3) or conv.padding_mode != "zeros":
        return False
    return conv.stride == conv.padding == conv.dilation == (1, 1) and conv.groups == 1


class FastConv3x3(nn.Conv2d):
    """A zero-padded 3x3 convolution by the fastest of three algorithms."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h, w)``.

        With one output channel a convolution is memory-bound; nine maps, one per weight of the kernel, shifted and
        added are a matrix product with nine rows, which reads its input once.
        """
        if self.out_channels == 1 and not plain_only(x):
            result = add_shifted(kernel_maps(x, self.weight))
            return result if self.bias is None else result + self.bias[:, None, None]
        return convolve(x, self.weight, self.bias)


class FastPartsConv3x3(PartsConv2d):
    """The same for an input in parts."""

    def forward(self, *parts: Tensor, spread: Spread | None = None) -> Tensor:  # type: ignore[override]
        """As the plain convolution."""
        return convolve_parts(convolve, self, parts, spread)


def are_fast(*convolutions: nn.Module | None) -> bool:
    """Whether these are convolutions of this module, whose filters may be used directly."""
    return all(type(conv) in (FastConv3x3, FastPartsConv3x3) for conv in convolutions)


def run_layers(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Layers in order: convolutions take the positive part of their input, and the frozen norm after them, along."""
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        rectify = type(layer) is nn.ReLU and bool(remaining) and type(remaining[0]) is FastConv3x3
        if rectify:
            layer = remaining.pop(0)
        if remaining and type(remaining[0]) is FrozenBatchNorm2d and _takes_norm(layer):
            x = conv_norm(layer, remaining.pop(0), x, rectify)
        elif rectify:
            x = convolve(x, layer.weight, layer.bias, rectify=True)  # type: ignore[arg-type]
        else:
            x = layer(x)
    return x


def _takes_norm(layer: nn.Module) -> bool:
    return type(layer) in (nn.Conv2d, FastConv3x3) and layer.padding_mode == "zeros"


def conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor, rectify: bool = False) -> Tensor:
    """A convolution and the frozen norm after it as one convolution, ``(B, C, h, w)``; equal up to rounding.

    The scale is multiplied into the filter and the shift added to the bias, which saves a pass over the image,
    forward and backward: gradients reach norm and filter through the small product.

    Args:
        conv: the convolution, padded with zeros.
        norm: a `FrozenBatchNorm2d`.
        x: the image.
        rectify: whether to convolve the positive part of `x`.
    """
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d)
    weight, shift = folded(conv, norm)
    if is_same_3x3(conv):
        return convolve(x, weight, shift, rectify)
    x = F.relu(x) if rectify else x
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


class FusedSequential(nn.Sequential):
    """See `run_layers`."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layers one by one."""
        return run_layers(list(self), input)


class FusedPartsSequential(PartsSequential):
    """See `run_layers`."""

    def forward(self, *parts: Tensor, spread: Spread | None = None) -> Tensor:  # type: ignore[override]
        """As the layers one by one."""
        first, *others = self
        return run_layers(others, first(*parts, spread=spread))


class StackedBranches(ConvBranches):
    """One convolution with the filters of all: the input is read once, and there are enough outputs for Winograd."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """As the convolutions one by one."""
        convs = [self[name] for name in names]
        if plain_only(x) or not are_fast(*convs):
            return super().forward(x, names)
        weight, bias = (torch.cat([getattr(conv, part) for conv in convs]) for part in ("weight", "bias"))
        return convolve(x, weight, bias).split([len(conv.bias) for conv in convs], dim=1)  # type: ignore[arg-type]


class FusedResBlock(ResBlock):
    """Positive parts and the shortcut are taken along by the convolutions."""

    def forward(self, *parts: Tensor) -> Tensor:
        """As the plain block."""
        if not are_fast(self.conv1, self.conv2):
            return super().forward(*parts)
        hidden, shortcut = convolve_parts(of_positive, self.conv1, parts), self.shortcut(*parts)
        return convolve(hidden, self.conv2.weight, self.conv2.bias, rectify=True, plus=shortcut)


class FusedRRB(RRB):
    """The norm is folded; the second convolution takes the positive part and the sum along."""

    def forward(self, x: Tensor) -> Tensor:
        """As the plain block."""
        conv, norm, _, last = self.bblock
        if not are_fast(conv, last) or type(norm) is not FrozenBatchNorm2d:
            return super().forward(x)
        x = self.conv1x1(x)
        hidden = conv_norm(conv, norm, x)
        return F.relu_(convolve(hidden, last.weight, last.bias, rectify=True, plus=x))  # type: ignore[arg-type]
