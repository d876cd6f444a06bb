"""Label generator, weight predictor and box encoder: the targets of the few-shot learner (LWL, sec. 3.3, 3.4, 3.7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainResBlock(nn.Module):
    """Residual block without norms; the shortcut is a 3x3 convolution with bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.downsample = nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h/stride, w/stride)``."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.downsample(x))


class LabelEncoder(nn.Module):
    """Mask -> label E(y) >= 0 and element weights W(y), both at stride 16 from one trunk (sec. 3.3, 3.4).

    Args:
        widths: channels after the stem and the two residual blocks.
        outputs: channels D of label and weights; must be 1 without `predict_labels`.
        predict_labels: False: the label is the mask itself, averaged over 16 x 16 pixels (paper's Table 1).
        predict_weights: False: all element weights are one (paper's Table 1).
        inputs: channels of the input; 1: masks.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64),
        outputs: int = 16,
        predict_labels: bool = True,
        predict_weights: bool = True,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if not predict_labels and outputs != 1:
            raise ValueError(f"a label without generator has one channel, not {outputs}")
        stem, middle, last = widths
        self.label_pred = self.samp_w_pred = None
        if predict_labels or predict_weights:
            self.conv_block = nn.Sequential(nn.Conv2d(inputs, stem, 3, 2, 1), nn.ReLU())
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.res1 = PlainResBlock(stem, middle, 2)
            self.res2 = PlainResBlock(middle, last, 2)
        if predict_labels:
            self.label_pred = nn.Sequential(nn.Conv2d(last, outputs, 3, 1, 1), nn.ReLU())
        if predict_weights:
            self.samp_w_pred = nn.Conv2d(last, outputs, 3, 1, 1)
        init_convolutions(self)
        if self.samp_w_pred is not None:
            nn.init.zeros_(self.samp_w_pred.weight)
            nn.init.ones_(self.samp_w_pred.bias)  # type: ignore[arg-type]

    def forward(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Masks ``(B, 1, h, w)``, 0..1 -> label and weights, each ``(B, D, h/16, w/16)``; only W squared matters."""
        trunk = None
        if self.label_pred is not None or self.samp_w_pred is not None:
            trunk = self.res2(self.res1(self.pool(self.conv_block(masks))))
        if self.label_pred is not None:
            label = self.label_pred(trunk)
        else:
            height, width = (math.ceil(side / 16) for side in masks.shape[-2:])
            label = F.adaptive_avg_pool2d(masks, (height, width))
        return label, torch.ones_like(label) if self.samp_w_pred is None else self.samp_w_pred(trunk)


class BoxEncoder(nn.Module):
    """Box and image features -> a mask encoding for the decoder (sec. 3.7).

    Args:
        features: channels of the target-model features.
        width: channels inside.
        outputs: channels D of the encoding.
    """

    def __init__(self, features: int = 512, width: int = 64, outputs: int = 16) -> None:
        super().__init__()
        self.res = nn.Sequential(PlainResBlock(features + 1, width), PlainResBlock(width, width))
        self.label_pred = nn.Sequential(nn.Conv2d(width, outputs, 3, 1, 1), nn.ReLU())
        init_convolutions(self)

    def forward(self, boxes: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Encode boxes.

        Args:
            boxes: ``(N, 4)``, x y w h in pixels.
            features: target-model features ``(N, C, h, w)``.
            size: image (H, W) that the boxes refer to.

        Returns:
            ``(N, D, h, w)``.
        """
        masks = rasterise_boxes(boxes, size).to(features)[:, None]
        masks = F.interpolate(masks, features.shape[-2:], mode="bilinear", align_corners=False)
        encoding: Tensor = self.label_pred(self.res(torch.cat([features, masks], dim=1)))
        return encoding


def rasterise_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Ones inside the boxes, whole pixels, truncated toward zero, float ``(N, H, W)``.

    Corners are not clamped and follow slice semantics: a box with a negative corner usually gives an empty mask, as in
    the authors' code (docs/methods/lwl.md, "Box encoder").
    """
    masks = torch.zeros(len(boxes), *size)
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        x, y, w, h = (int(value) for value in box)
        mask[y : y + h, x : x + w] = 1
    return masks


def init_convolutions(module: nn.Module) -> None:
    """Normal weights of deviation sqrt(2 / (k k out)) for every convolution; biases keep torch's default."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(
                part.weight, 0, math.sqrt(2 / (part.kernel_size[0] * part.kernel_size[1] * part.out_channels))
            )
