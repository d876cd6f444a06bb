"""PCVOS's encoders: keys from frames alone, values from frames and masks.

The layers are those of docs/methods/pcvos.md, "Encoders".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.pcvos.layers import CBAM
from vos_zoo.nn.backbones import IMAGENET, build_backbone
from vos_zoo.nn.blocks import ConvBranches, PartsConv2d, ResBlock
from vos_zoo.nn.norms import FrozenBatchNorm2d


def projections(inputs: int, key: int, thin: int, local: int) -> ConvBranches:
    """Three 3x3 convolutions of the stride-16 features.

    The keys are computed for all frames, the thinned features only for decoded ones.

    Args:
        inputs: channels of the features.
        key: channels of the matching key.
        thin: channels of the thinned features for the decoder.
        local: channels of the local key of the refinement; 0: none.
    """
    branches = {"key": orthogonal(nn.Conv2d(inputs, key, 3, padding=1)), "thin": nn.Conv2d(inputs, thin, 3, padding=1)}
    if local:
        branches["local"] = orthogonal(nn.Conv2d(inputs, local, 3, padding=1))
    return ConvBranches(branches)


def orthogonal(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution with orthogonal weights and zero bias."""
    nn.init.orthogonal_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class Fuser(nn.Module):
    """Fuses features of objects with features of their frames.

    Args:
        objects: channels per object.
        pictures: channels per frame.
        outputs: channels of the value.
    """

    def __init__(self, objects: int, pictures: int, outputs: int) -> None:
        super().__init__()
        self.block1 = ResBlock(objects + pictures, outputs)
        self.attention = CBAM(outputs)
        self.block2 = ResBlock(outputs, outputs)

    def forward(self, objects: Tensor, pictures: Tensor) -> Tensor:
        """Values.

        Args:
            objects: ``(B K, C, h, w)``.
            pictures: ``(B, C', h, w)``; convolved once for all objects.
        """
        x = self.block1(objects, pictures)
        return self.block2(x + self.attention(x))


class ValueEncoder(nn.Module):
    """A ResNet-18 with biases, of a frame, the mask of one object and the sum of the other objects' masks.

    Args:
        pictures: channels of the key encoder's stride-16 features.
        outputs: channels of the values.
        width: channels of the stem; later stages have twice and four times as many.
        others: whether there is an input channel of the other objects' masks; False: one object (static stage).
        weights: None (random), "imagenet" (torchvision's ResNet-18, for width 64) or the path of a state dict.
    """

    def __init__(
        self, pictures: int, outputs: int, width: int = 64, others: bool = True, weights: str | None = None
    ) -> None:
        super().__init__()
        self.others = others
        self.conv1 = PartsConv2d(3, width, 7, stride=2, padding=3)
        self.bn1 = FrozenBatchNorm2d(width)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.bias = nn.Parameter(torch.zeros(module.out_channels))
        if weights is not None:
            published = build_backbone("resnet18", weights, stages=3).state_dict()
            self.load_state_dict({**self.state_dict(), **published})
        channels = 2 if others else 1
        self.conv1.weight = nn.Parameter(torch.cat([self.conv1.weight.detach(), mask_filters(width, channels)], dim=1))
        self.conv1.in_channels += channels
        self.fuser = Fuser(4 * width, pictures, outputs)

    def forward(self, frames: Tensor, masks: Tensor, f16: Tensor) -> Tensor:
        """Values of all objects.

        Args:
            frames: float RGB ``(B, 3, h, w)``, 0..255.
            masks: ``(B, K, h, w)``, 0..1.
            f16: the key encoder's features of the same frames, ``(B, C, h/16, w/16)``.

        Returns:
            ``(B, K, outputs, h/16, w/16)``.
        """
        batch, objects = masks.shape[:2]
        return self.fuser(self.trunk(self.stem(frames, masks)), f16).unflatten(0, (batch, objects))

    def stem(self, frames: Tensor, masks: Tensor) -> Tensor:
        """First convolution to pooling, ``(B K, width, h/4, w/4)``; the frame's part is computed once."""
        own = masks.flatten(0, 1)[:, None]
        if self.others:
            own = torch.cat([own, (masks.sum(dim=1, keepdim=True) - masks).flatten(0, 1)[:, None]], dim=1)
        parts = (x.contiguous(memory_format=torch.channels_last) for x in (IMAGENET(frames), own))
        x = self.bn1(self.conv1(*parts))
        return F.relu(F.max_pool2d(x, 3, stride=2, padding=1))

    def trunk(self, x: Tensor) -> Tensor:
        """The three stages, ``(B K, width, h/4, w/4)`` -> ``(B K, 4 width, h/16, w/16)``."""
        return self.layer3(self.layer2(self.layer1(x)))


def mask_filters(width: int, channels: int) -> Tensor:
    """Initial filters for mask channels: one orthogonal matrix, reshaped to ``(width, channels, 7, 7)``."""
    return nn.init.orthogonal_(torch.empty(width, channels * 49)).view(width, channels, 7, 7)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two basic blocks."""
    from torchvision.models.resnet import BasicBlock

    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), FrozenBatchNorm2d(outputs))
    first = BasicBlock(inputs, outputs, stride, shortcut, norm_layer=FrozenBatchNorm2d)
    return nn.Sequential(first, BasicBlock(outputs, outputs, norm_layer=FrozenBatchNorm2d))
