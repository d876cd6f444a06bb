"""DLGM, the discriminative label generator: labels of both branches from the object's own pixels.

The layers are those of docs/methods/llb.md, "Label generator".
"""

from __future__ import annotations

from torch import Tensor, nn

from vos_zoo.methods.llb.vitae import ViTAE
from vos_zoo.methods.lwl.label_encoder import init_convolutions


def background_filtered(pixels: Tensor, masks: Tensor) -> Tensor:
    """Background-filtered frames (BFF): the background becomes the mean colour, which is zero.

    Args:
        pixels: normalised images ``(B, 3, h, w)``, in the channel order and unit of the backbone.
        masks: ``(B, 1, h, w)``, 0..1; soft masks stay soft.

    Returns:
        ``(B, 3, h, w)``.
    """
    return pixels * masks


class DLGM(nn.Module):
    """Images -> labels of the learner, their element weights, and values of the transformer.

    Args:
        outputs: channels D of all three.
        vitae: the label backbone.
        width: channels inside the heads.
    """

    def __init__(self, outputs: int, vitae: ViTAE, width: int = 64) -> None:
        super().__init__()
        self.label_backbone = vitae
        self.prejector_tm = _head(vitae.channels, width)
        self.label_pred_tm = _head(width, outputs)
        self.samp_w_pred = nn.Conv2d(width, outputs, 3, padding=1)
        self.prejector_tr = _head(vitae.channels, width)
        self.label_pred_tr = _head(width, outputs)
        init_convolutions(self)
        nn.init.zeros_(self.samp_w_pred.weight)
        nn.init.ones_(self.samp_w_pred.bias)  # type: ignore[arg-type]

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode background-filtered frames; every image is a sample of its own.

        Args:
            pictures: ``(B, 3, h, w)``; masks ``(B, 1, h, w)`` are repeated over the channels (Table 4, row LLB-4).

        Returns:
            Inductive label E2 >= 0, its weight (may be negative: only its square counts) and transductive label
            E1 >= 0, each ``(B, D, h/16, w/16)``.
        """
        features = self.label_backbone(pictures.expand(-1, 3, -1, -1))
        inductive = self.prejector_tm(features)
        label: Tensor = self.label_pred_tm(inductive)
        weight: Tensor = self.samp_w_pred(inductive)
        value: Tensor = self.label_pred_tr(self.prejector_tr(features))
        return label, weight, value


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
