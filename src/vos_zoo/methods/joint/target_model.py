"""JOINT as six verbs: the few-shot branch and the transformer branch in parallel, their encodings added (sec. 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import add
from typing import Any, ClassVar, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TrackSettings, Unrolled
from vos_zoo.losses import check_losses, mask_losses
from vos_zoo.methods._few_shot.decoder import SegmentationDecoder
from vos_zoo.methods._few_shot.learner import FewShotLearner
from vos_zoo.methods._few_shot.parallel_targets import ParallelMemory, ParallelTargets
from vos_zoo.methods._few_shot.regional import RegionalModel
from vos_zoo.methods._few_shot.target import FewShotMemory, FewShotTarget, LearnerSchedule, Target
from vos_zoo.methods.joint.label_encoder import TwoHeadLabelEncoder
from vos_zoo.methods.joint.settings import PRESETS, JointTrackSettings
from vos_zoo.methods.joint.transformer import JointTransformer
from vos_zoo.methods.joint.transformer_target import JointFeatures, TransformerMemory, TransformerTarget
from vos_zoo.methods.lwl.label_encoder import LabelEncoder, init_convolutions
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.types import Batch, UsageError

JointMemory: TypeAlias = ParallelMemory[FewShotMemory, TransformerMemory] | FewShotMemory | TransformerMemory
"""The memory of both branches, or of the only one."""


class JointSchedule(WriteSchedule):
    """With frames of an object counted from 1, every n-th stores the frame before it, never the given one."""

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        """Every `write_every`-th frame."""
        assert isinstance(settings, JointTrackSettings)
        return age >= 1 and (age + 2) % settings.write_every == 0


class Joint(RegionalModel[JointMemory, JointFeatures]):
    """Joint inductive and transductive learning: a filter fitted to the memory, and attention over it.

    Args:
        backbone: see `vos_zoo.nn.backbones.build_backbone`.
        backbone_weights: None, "imagenet", "mask_rcnn" or a path.
        backbone_norms: what batch norms of a timm backbone do in training: "frozen" keeps their statistics, "batch"
            follows the batch; None: "frozen" where weights are given.
        feature_channels: channels of the features of both branches.
        key_channels: channels of the transformer's queries and keys.
        temperature: softmax temperature of the transformer's cosine similarities.
        label_channels: channels D of the mask encodings.
        label_widths: channels inside the label encoder.
        decoder_width: channels of the decoder at stride 4.
        induction: the few-shot branch (paper's Table 1).
        transduction: the transformer branch (Table 1).
        two_heads: each branch has its own encoding of the masks; False: one encoding serves both (Table 2).
        train_iterations: learner iterations on the reference frames in training.
        train_update_iterations: iterations per refinement in training.
        regulariser: start value of the learned regulariser.
        losses: weight per loss term: "cosine" pushes the two encodings apart (0 or absent: Table 2, row 2), others see
            `vos_zoo.losses`. Default: 100 Lovasz, and 1 cosine if there are two encodings.
    """

    settings_type: ClassVar[type[TrackSettings]] = JointTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    features_type = JointFeatures
    schedule = JointSchedule()

    def __init__(
        self,
        backbone: str = "resnet50_caffe",
        backbone_weights: str | None = None,
        backbone_norms: str | None = None,
        feature_channels: int = 512,
        key_channels: int = 128,
        temperature: float = 1 / 30,
        label_channels: int = 16,
        label_widths: Sequence[int] = (16, 32, 64),
        decoder_width: int = 64,
        induction: bool = True,
        transduction: bool = True,
        two_heads: bool = True,
        train_iterations: int = 5,
        train_update_iterations: int = 2,
        regulariser: float = 0.01,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, backbone_weights, backbone_norms)
        if not induction and not transduction:
            raise UsageError("model.induction and model.transduction are both false; keep at least one branch")
        self.two_heads = two_heads and induction and transduction
        default = {"lovasz": 100.0} | ({"cosine": 1.0} if self.two_heads else {})
        self.loss_weights = check_losses(losses or default, ("cosine",))
        if self.loss_weights.get("cosine") and not self.two_heads:
            raise UsageError("model.losses has a cosine term, but there is one mask encoding; remove it")
        inputs = self.backbone.channels[2]
        inductive: FewShotTarget | None = None
        transductive: TransformerTarget | None = None
        if induction:
            self.feature_conv = nn.Conv2d(inputs, feature_channels, 3, padding=1, bias=False)
            init_convolutions(self.feature_conv)
            self.learner = FewShotLearner(regulariser)
            schedule = LearnerSchedule(train_iterations, train_update_iterations)
            inductive = FewShotTarget(self.feature_conv, self.learner, label_channels, schedule)
        if transduction:
            self.transformer = JointTransformer(inputs, feature_channels, key_channels, temperature)
            transductive = TransformerTarget(self.transformer)
        target: object = inductive or transductive
        if inductive and transductive:
            target = ParallelTargets(inductive, transductive, self.make_fuse(label_channels))
        self.target = cast("Target[JointMemory, JointFeatures]", target)
        self.label_encoder = self.make_label_encoder(label_widths, label_channels, weights=induction)
        self.decoder = SegmentationDecoder(self.backbone.channels, label_channels, decoder_width)

    def make_fuse(self, label_channels: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The fusion of both readouts: their sum (sec. 3.4)."""
        return add

    def make_label_encoder(self, widths: Sequence[int], outputs: int, weights: bool) -> nn.Module:
        """Two heads for two branches; else LWL's encoder, without weights if there is no learner."""
        if self.two_heads:
            return TwoHeadLabelEncoder(widths, outputs)
        return LabelEncoder(widths, outputs, predict_weights=weights)

    def encode_labels(self, features: JointFeatures, masks: Tensor) -> dict[str, Tensor]:
        """Labels and weights for the learner, values for the transformer, each ``(B, D, h/16, w/16)`` (sec. 3.4)."""
        if isinstance(self.label_encoder, TwoHeadLabelEncoder):
            label, weight, value = self.label_encoder.encode(masks[:, 0])
        else:
            label, weight = self.label_encoder(masks[:, 0])
            value = label
        return {"labels": label, "weights": weight, "values": value}

    def unroll_extras(
        self, memory: JointMemory, features: JointFeatures, logits: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Both encodings of all frames, "labels" and "values" ``(B, T, D, h/16, w/16)``; the last one is made here."""
        if not self.two_heads:
            return {}
        assert isinstance(memory, ParallelMemory)
        stored = {
            "labels": memory.inductive.samples.samples("labels"),
            "values": memory.transductive.samples.samples("values")[:, :, :-1].unflatten(-1, features.f16.shape[-2:]),
        }
        masks = self.merging.merge_training(logits[:, -1:])
        with in_full_precision(masks):
            last = self.encode_labels(features.frames(-1, None), masks)
        return {name: torch.cat([kept, last[name][None]]).transpose(0, 1) for name, kept in stored.items()}

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Weighted mask losses, and the cosine of both encodings, mean over frames and sequences (JOINT, sec. 3.4)."""
        weights = {name: weight for name, weight in self.loss_weights.items() if name != "cosine"}
        terms = mask_losses(unrolled.logits, unrolled.truth, weights)
        if self.loss_weights.get("cosine"):
            labels, values = (unrolled.extras[name].flatten(2) for name in ("labels", "values"))
            terms["cosine"] = self.loss_weights["cosine"] * cosine(labels, values).mean()
        return terms


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of vectors over the last axis, norms clamped at 1e-12."""
    return (F.normalize(a, dim=-1, eps=1e-12) * F.normalize(b, dim=-1, eps=1e-12)).sum(dim=-1)
