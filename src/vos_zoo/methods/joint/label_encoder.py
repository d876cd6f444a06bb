"""The two-head label encoder: one stem, a trunk and a head per branch (JOINT, sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.lwl.label_encoder import LabelEncoder, PlainResBlock, init_convolutions


class TwoHeadLabelEncoder(LabelEncoder):
    """Three encodings of a mask: the learner's label and weights, and the transformer's value.

    Args:
        widths: channels after the stem and the two residual blocks.
        outputs: channels D of every encoding.
        inputs: channels of the input; 1: masks.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64), outputs: int = 16, inputs: int = 1) -> None:
        super().__init__(widths, outputs, inputs=inputs)
        stem, middle, last = widths
        self.value_trunk = nn.Sequential(PlainResBlock(stem, middle, 2), PlainResBlock(middle, last, 2))
        self.value_pred = nn.Conv2d(last, outputs, 3, 1, 1)
        init_convolutions(self.value_trunk)
        init_convolutions(self.value_pred)

    def encode(self, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks ``(B, inputs, h, w)`` -> label, weights and value, each ``(B, D, h/16, w/16)``."""
        assert self.label_pred is not None and self.samp_w_pred is not None
        stem = self.pool(self.conv_block(masks))
        trunk = self.res2(self.res1(stem))
        value = F.relu(self.value_pred(self.value_trunk(stem)))
        return self.label_pred(trunk), self.samp_w_pred(trunk), value
