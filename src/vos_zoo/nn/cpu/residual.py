"""Residual blocks of ResNets with their norms folded into the convolutions, as single autograd operations.

On a CPU a training step spends most of its time in bottlenecks, and a third of that in passes that only
add, rectify or permute. So a whole bottleneck is one autograd operation: 1x1 convolutions are matrix products that
accumulate into their output, and gradients are rectified and summed in place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.models.resnet import BasicBlock, Bottleneck

from vos_zoo.nn.backbones import ResNet, drop_references
from vos_zoo.nn.cpu.layers import conv_norm, is_same_3x3
from vos_zoo.nn.cpu.layout import branch
from vos_zoo.nn.cpu.winograd import convolve_positive, gradients, plain_only, rectify_back
from vos_zoo.nn.norms import FrozenBatchNorm2d, folded


class FastBasicBlock(BasicBlock):
    """A basic block with its norms folded into the convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        """As the plain block."""
        return residual_block(self, x) if _has_frozen_norms(self) else super().forward(x)


class FastBottleneck(Bottleneck):
    """A bottleneck that is a single operation in training; without gradients it is the plain block."""

    def forward(self, x: Tensor) -> Tensor:
        """As the plain block."""
        return residual_block(self, x) if torch.is_grad_enabled() and _has_frozen_norms(self) else super().forward(x)


class FastResNet(ResNet):
    """In training, norms are folded and images are channels last, on any device; on a CPU bottlenecks are recorded.

    Without gradients it is the plain network.
    """

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """As the plain network's."""
        if not torch.is_grad_enabled():
            return super().forward(frames, length, skipped)
        x = self.normalise(frames).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(_is_trained(x, self.conv1, self.bn1)):
            x = self.maxpool(F.relu_(conv_norm(self.conv1, self.bn1, x)))
        levels = []
        stages: tuple[Any, ...] = (self.layer1, self.layer2, self.layer3, self.layer4)
        for stage in stages[: len(self.channels)]:
            x = branch(drop_references(x, length, skipped)) if stage is self.layer4 else x
            with torch.set_grad_enabled(_is_trained(x, stage)):
                for block in stage:
                    x = residual_block(block, x)
            levels.append(branch(x))
        return tuple(levels)


def _is_trained(x: Tensor, *parts: nn.Module) -> bool:
    """Whether anything requires a gradient; frozen stages then take the faster way of inference."""
    return x.requires_grad or any(parameter.requires_grad for part in parts for parameter in part.parameters())


def _has_frozen_norms(block: nn.Module) -> bool:
    return all(type(module) is FrozenBatchNorm2d for module in block.modules() if isinstance(module, nn.BatchNorm2d))


def residual_block(block: Any, x: Tensor) -> Tensor:
    """A basic block or bottleneck of torchvision's, with its norms folded into the convolutions."""
    if hasattr(block, "conv3") and is_same_3x3(block.conv2) and not plain_only(x):
        parts = [(block.conv1, block.bn1), (block.conv2, block.bn2), (block.conv3, block.bn3)]
        stride = 1
        if block.downsample is not None:
            parts.append((block.downsample[0], block.downsample[1]))
            stride = block.downsample[0].stride[0]
        weights = [tensor for conv, norm in parts for tensor in folded(conv, norm)]
        result: Tensor = _RecordedBottleneck.apply(x, stride, *weights)
        return result
    shortcut = x if block.downsample is None else conv_norm(block.downsample[0], block.downsample[1], x)
    y = F.relu_(conv_norm(block.conv1, block.bn1, x))
    y = conv_norm(block.conv2, block.bn2, y)
    if hasattr(block, "conv3"):
        y = conv_norm(block.conv3, block.bn3, F.relu_(y))
    return F.relu_(y.add_(shortcut))


class _RecordedBottleneck(torch.autograd.Function):
    """1x1, 3x3, 1x1, each with a bias, and a shortcut; the stride, if any, is on the first and on the shortcut.

    Images are channels last, so that pixels are the rows of matrices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, *weights: Tensor) -> Tensor:  # type: ignore[override]
        first, first_bias, middle, middle_bias, last, last_bias, *shortcut = weights
        x = x.contiguous(memory_format=torch.channels_last)
        seen = x[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last) if stride > 1 else x
        pixels = _rows(seen)
        inner = _pictures((pixels @ _matrix(first).T.contiguous()).add_(first_bias), seen)
        mixed = convolve_positive(inner, middle, middle_bias).contiguous(memory_format=torch.channels_last).relu_()
        if shortcut:
            result = torch.addmm(last_bias + shortcut[1], pixels, _matrix(shortcut[0]).T)
        else:
            result = pixels + last_bias
        result = _pictures(result.addmm_(_rows(mixed), _matrix(last).T).relu_(), seen)
        ctx.save_for_backward(seen, inner, mixed, result, first, middle, last, *shortcut[:1])
        ctx.stride, ctx.size = stride, x.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        seen, inner, mixed, result, first, middle, last, *shortcut = ctx.saved_tensors
        pixels, layout = _rows(seen), torch.channels_last
        outer = _rows(torch.ops.aten.threshold_backward(gradient.contiguous(memory_format=layout), result, 0))
        back = _pictures(outer @ _matrix(last), mixed)
        back = rectify_back(back, mixed)
        of_last, of_last_bias = _filters(outer, _rows(mixed)), outer.sum(dim=0)
        of_inner, of_middle, of_middle_bias = gradients(inner, middle, back, (True, True, True), rectify=True)
        assert of_inner is not None
        rows = _rows(of_inner)
        found = [_filters(rows, pixels), rows.sum(dim=0), of_middle, of_middle_bias, of_last, of_last_bias]
        if shortcut:
            found += [_filters(outer, pixels), of_last_bias]
        if not ctx.needs_input_grad[0]:
            return None, None, *found
        own = outer @ _matrix(shortcut[0]) if shortcut else outer
        own = _pictures(own.addmm_(rows, _matrix(first)), seen)
        if ctx.stride > 1:
            spread = torch.empty(ctx.size, dtype=own.dtype, memory_format=layout).zero_()
            spread[:, :, :: ctx.stride, :: ctx.stride] = own
            own = spread
        return own, None, *found


def _matrix(filters: Tensor) -> Tensor:
    """1x1 filters ``(C', C, 1, 1)`` as a matrix ``(C', C)``."""
    return filters.flatten(1)


def _filters(gradient: Tensor, inputs: Tensor) -> Tensor:
    """Gradient of 1x1 filters ``(C', C, 1, 1)`` from pixels ``(P, C')`` and ``(P, C)``; thin times wide is faster."""
    wide = gradient.shape[1] > inputs.shape[1]
    matrix = (inputs.T @ gradient).T if wide else gradient.T @ inputs
    return matrix[:, :, None, None]


def _rows(pictures: Tensor) -> Tensor:
    """Images ``(B, C, h, w)``, channels last, as a matrix ``(B h w, C)``, without a copy."""
    return pictures.permute(0, 2, 3, 1).reshape(-1, pictures.shape[1])


def _pictures(rows: Tensor, like: Tensor) -> Tensor:
    """Inverse of `_rows`; batch, height and width as those of `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)
