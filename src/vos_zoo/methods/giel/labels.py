"""Labels of a support frame: three channels per object, encoded to the shape of the values (eq. 7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.giel.encoders import STRIDE, margins
from vos_zoo.types import UsageError

OUTPUT_ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def label_channels(distribution: Tensor) -> Tensor:
    """Three channels for every object: this object, all others, background.

    Args:
        distribution: ``(B, 1 + K, h, w)``, background first, sums to 1 (or 0 at ignored pixels).

    Returns:
        ``(B, K, 3, h, w)``; the channels have the distribution's sum.
    """
    own = distribution[:, 1:]
    others = (own.sum(dim=1, keepdim=True) - own).clamp(0, 1)
    background = distribution[:, :1].expand_as(own)
    return torch.stack([own, others, background], dim=2)


def pad_labels(labels: Tensor) -> Tensor:
    """Pad label channels ``(..., 3, h, w)`` to multiples of 16 with background."""
    pad = margins(labels.shape[-2], labels.shape[-1])
    if not any(pad):
        return labels
    return torch.stack([F.pad(labels[..., c, :, :], pad, value=float(c == 2)) for c in range(3)], dim=-3)


class LabelEncoder(nn.Module):
    """Two strided convolutions with batch norm that bring labels to stride 16 (eq. 7).

    Pass only objects that exist: in training the norms use the batch's statistics.

    Args:
        outputs: channels, those of the values.
        kernels: sides of the two kernels; larger than the strides, so that no label pixel is skipped.
        strides: strides, 16 together.
        mid: channels in between.
        out_act: "none", "relu" or "sigmoid" after the last norm.
    """

    def __init__(
        self,
        outputs: int,
        kernels: Sequence[int] = (7, 5),
        strides: Sequence[int] = (4, 4),
        mid: int = 64,
        out_act: str = "none",
    ) -> None:
        super().__init__()
        if len(kernels) != 2 or any(side < 1 or side % 2 == 0 for side in kernels):
            raise UsageError(f"model.label_kernels is {list(kernels)}; give two odd numbers")
        if len(strides) != 2 or strides[0] * strides[1] != STRIDE:
            raise UsageError(f"model.label_strides is {list(strides)}; give two whose product is {STRIDE}")
        if out_act not in OUTPUT_ACTIVATIONS:
            raise UsageError(f"model.label_out_act is {out_act!r}; choose {', '.join(OUTPUT_ACTIVATIONS)}")
        self.conv1 = nn.Conv2d(3, mid, kernels[0], strides[0], kernels[0] // 2, bias=False)
        self.norm1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, outputs, kernels[1], strides[1], kernels[1] // 2, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.out_act: nn.Module = OUTPUT_ACTIVATIONS[out_act]()

    def forward(self, labels: Tensor) -> Tensor:
        """Label channels ``(N, 3, h, w)`` -> codes ``(N, outputs, h/16, w/16)``, sizes rounded up."""
        hidden = F.relu(self.norm1(self.conv1(pad_labels(labels))))
        return self.out_act(self.norm2(self.conv2(hidden)))
