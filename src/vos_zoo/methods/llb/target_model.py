"""LLB as six verbs: JOINT's two branches with labels made from pixels (DLGM) and gates between them (AFM)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from vos_zoo.methods.joint.label_encoder import TwoHeadLabelEncoder
from vos_zoo.methods.joint.target_model import Joint
from vos_zoo.methods.joint.transformer_target import JointFeatures
from vos_zoo.methods.llb.checkpoint import load_imagenet
from vos_zoo.methods.llb.fusion import AFM
from vos_zoo.methods.llb.label_encoder import DLGM, background_filtered
from vos_zoo.methods.llb.vitae import ViTAE
from vos_zoo.types import UsageError

CHOICES = {"label_input": ("bff", "mask"), "label_encoder": ("vitae", "cnn"), "fusion": ("gate", "sum")}


class LLB(Joint):
    """Learning to learn better: JOINT with labels from the object's own pixels and gates between its branches.

    The label network runs once per stored frame; its encodings are stored, not the frame.

    Args:
        backbone: see `vos_zoo.nn.backbones.build_backbone`.
        backbone_weights: None, "imagenet", "mask_rcnn" or a path.
        backbone_norms: what batch norms of a timm backbone do in training: "frozen" keeps their statistics, "batch"
            follows the batch; None: "frozen" where weights are given.
        feature_channels: channels of the features of both branches.
        key_channels: channels of the transformer's queries and keys.
        temperature: softmax temperature of the transformer's cosine similarities.
        label_channels: channels D of the mask encodings.
        label_input: input of the label encoder: "bff", the background-filtered frame, or "mask" (paper's Table 4).
        label_encoder: "vitae", ViTAE-6M, or "cnn", JOINT's five layers (Table 4).
        fusion: "gate", the adaptive fusion module, or "sum" (Table 3).
        vitae_width: channels of the label backbone, a multiple of 64; 256 is the published network.
        vitae_depth: its normal cells; 10 in the published network.
        vitae_weights: path of ViTAE's ImageNet file, or None.
        label_widths: channels inside the "cnn" label encoder.
        decoder_width: channels of the decoder at stride 4.
        train_iterations: learner iterations on the reference frames in training.
        train_update_iterations: iterations per refinement in training.
        regulariser: start value of the learned regulariser.
        losses: weight per loss term; default: 100 Lovasz and 1 cosine, see `Joint`.
    """

    label_encoder: DLGM | TwoHeadLabelEncoder
    initial_weights: ClassVar[tuple[str, ...]] = ("backbone_weights", "vitae_weights")

    def __init__(
        self,
        backbone: str = "resnet50_caffe",
        backbone_weights: str | None = None,
        backbone_norms: str | None = None,
        feature_channels: int = 512,
        key_channels: int = 128,
        temperature: float = 1 / 30,
        label_channels: int = 32,
        label_input: str = "bff",
        label_encoder: str = "vitae",
        fusion: str = "gate",
        vitae_width: int = 256,
        vitae_depth: int = 10,
        vitae_weights: str | None = None,
        label_widths: Sequence[int] = (16, 32, 64),
        decoder_width: int = 64,
        train_iterations: int = 5,
        train_update_iterations: int = 2,
        regulariser: float = 0.01,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        for key, value in (("label_input", label_input), ("label_encoder", label_encoder), ("fusion", fusion)):
            if value not in CHOICES[key]:
                raise UsageError(f"model.{key} is {value!r}; choose {' or '.join(CHOICES[key])}")
        if vitae_weights is not None and label_encoder != "vitae":
            raise UsageError("model.vitae_weights is set but model.label_encoder is not 'vitae'; remove one of them")
        # The hooks below, which the base class calls, need these.
        self.label_input, self.label_network, self.fusion = label_input, label_encoder, fusion
        self.vitae_size = (vitae_width, vitae_depth)
        super().__init__(
            backbone,
            backbone_weights,
            backbone_norms,
            feature_channels,
            key_channels,
            temperature,
            label_channels,
            label_widths,
            decoder_width,
            train_iterations=train_iterations,
            train_update_iterations=train_update_iterations,
            regulariser=regulariser,
            losses=losses,
        )
        if vitae_weights is not None and isinstance(self.label_encoder, DLGM):
            load_imagenet(self.label_encoder.label_backbone, vitae_weights)

    def make_fuse(self, label_channels: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The adaptive fusion module, or the sum."""
        if self.fusion == "sum":
            return super().make_fuse(label_channels)
        self.fuse = AFM(label_channels)
        return self.fuse

    def make_label_encoder(self, widths: Sequence[int], outputs: int, weights: bool) -> DLGM | TwoHeadLabelEncoder:
        """The discriminative label generator, or JOINT's label encoder."""
        if self.label_network == "vitae":
            return DLGM(outputs, ViTAE(*self.vitae_size))
        return TwoHeadLabelEncoder(widths, outputs, inputs=3 if self.label_input == "bff" else 1)

    def encode_labels(self, features: JointFeatures, masks: Tensor) -> dict[str, Tensor]:
        """Labels and weights for the learner, values for the transformer, each ``(B, D, h/16, w/16)``.

        Args:
            features: their pixels times the masks are the background-filtered frames (BFF).
            masks: ``(B, 1, 1, h, w)``, 0..1; soft masks stay soft.
        """
        pictures = masks[:, 0]
        if self.label_input == "bff":
            pixels = self.backbone.normalise(features.pixels[:, 0])
            pictures = background_filtered(features.gather(pixels), pictures)
        label, weight, value = self.label_encoder.encode(pictures)
        return {"labels": label, "weights": weight, "values": value}
