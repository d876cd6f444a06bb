"""LWL as six verbs: label generator, weight predictor and few-shot learner around a shared decoder (LWL, sec. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import Unrolled
from vos_zoo.losses import check_losses
from vos_zoo.methods._few_shot.decoder import SegmentationDecoder
from vos_zoo.methods._few_shot.learner import FewShotLearner
from vos_zoo.methods._few_shot.regional import RegionalModel
from vos_zoo.methods._few_shot.target import FewShotFeatures, FewShotMemory, FewShotTarget, LearnerSchedule
from vos_zoo.methods.lwl.label_encoder import BoxEncoder, LabelEncoder, init_convolutions
from vos_zoo.methods.lwl.settings import BOX_PRESET
from vos_zoo.types import Batch, UsageError

LWLMemory = FewShotMemory
"""LWL's memory is that of the few-shot branch."""


class LWL(RegionalModel[FewShotMemory, FewShotFeatures]):
    """Learning what to learn: the mask encoding is learned, so the learner's target carries what the decoder needs.

    Args:
        backbone: see `vos_zoo.nn.backbones.build_backbone`.
        backbone_weights: None, "imagenet", "mask_rcnn" or a path.
        backbone_norms: what batch norms of a timm backbone do in training: "frozen" keeps their statistics, "batch"
            follows the batch; None: "frozen" where weights are given.
        feature_channels: channels C of the target-model features.
        label_channels: channels D of the mask encoding.
        label_widths: channels inside the label encoder.
        decoder_width: channels of the decoder at stride 4.
        label_generator: False: the label is the downsampled mask, one channel (paper's Table 1, rows without E).
        weight_predictor: False: all element weights are one (rows without W).
        end_to_end: False: no gradient passes through the learner (the baseline row): the decoder alone learns from it.
        box_encoder: also build the box encoder, so that objects can start from boxes.
        trains: "masks" (the mini-sequence unroll) or "boxes" (only the box encoder's single-frame task).
        refine_in_training: the filter is refined between query frames, as the paper describes; False scores every query
            with the first frame's filter, as the authors' released code does.
        train_iterations: learner iterations on the reference frames in training.
        train_update_iterations: iterations per refinement in training.
        regulariser: start value of the learned regulariser.
        losses: weight per loss term, see `vos_zoo.losses`.
    """

    features_type = FewShotFeatures
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}, "box": BOX_PRESET}

    def __init__(
        self,
        backbone: str = "resnet50_caffe",
        backbone_weights: str | None = None,
        backbone_norms: str | None = None,
        feature_channels: int = 512,
        label_channels: int = 16,
        label_widths: Sequence[int] = (16, 32, 64),
        decoder_width: int = 64,
        label_generator: bool = True,
        weight_predictor: bool = True,
        end_to_end: bool = True,
        box_encoder: bool = False,
        trains: str = "masks",
        refine_in_training: bool = False,
        train_iterations: int = 5,
        train_update_iterations: int = 2,
        regulariser: float = 0.01,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, backbone_weights, backbone_norms)
        if trains not in ("masks", "boxes"):
            raise UsageError(f"model.trains is {trains!r}; choose masks or boxes")
        if trains == "boxes" and not box_encoder:
            raise UsageError("model.trains is 'boxes' but there is no box encoder; set model.box_encoder=true")
        self.trains = trains
        self.end_to_end = end_to_end
        self.schedule = WriteSchedule(refines_in_training=refine_in_training)
        self.loss_weights = check_losses(losses or {"lovasz": 100.0 if trains == "masks" else 10.0})
        self.label_channels = label_channels if label_generator else 1

        self.feature_conv = nn.Conv2d(self.backbone.channels[2], feature_channels, 3, padding=1, bias=False)
        init_convolutions(self.feature_conv)
        self.learner = FewShotLearner(regulariser)
        schedule = LearnerSchedule(train_iterations, train_update_iterations)
        self.target: FewShotTarget = FewShotTarget(self.feature_conv, self.learner, self.label_channels, schedule)
        self.label_encoder = LabelEncoder(label_widths, self.label_channels, label_generator, weight_predictor)
        self.box_encoder = BoxEncoder(feature_channels, outputs=self.label_channels) if box_encoder else None
        self.decoder = SegmentationDecoder(self.backbone.channels, self.label_channels, decoder_width)

    def encode_labels(self, features: FewShotFeatures, masks: Tensor) -> dict[str, Tensor]:
        """Label E(y) and element weights W(y), each ``(B, D, h/16, w/16)`` (sec. 3.3, 3.4)."""
        label, weight = self.label_encoder(masks[:, 0])
        return {"labels": label, "weights": weight}

    def read(self, memory: FewShotMemory, features: FewShotFeatures) -> Tensor:
        """Target-model output: each object's filter on its canvas, ``(B, T, 1, D, h/16, w/16)`` (sec. 3.1, eq. 1)."""
        scores = super().read(memory, features)
        return scores if self.end_to_end or not self.training else scores.detach()

    @property
    def takes_boxes(self) -> bool:
        """Whether there is a box encoder."""
        return self.box_encoder is not None

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Logits ``(N, H, W)`` of boxed objects in the full frame ``(3, H, W)`` (sec. 3.7)."""
        if self.box_encoder is None:
            return super().box_logits(frame, boxes)
        features = self.encode(frame[None, None])
        features = features.spread(torch.zeros(len(boxes), dtype=torch.long, device=frame.device))
        return self._decode_boxes(features, boxes)[:, 0, 0]

    def _decode_boxes(self, features: FewShotFeatures, boxes: Tensor) -> Tensor:
        """Box encodings in place of target-model scores, ``(N, 1, 1, h, w)``."""
        assert self.box_encoder is not None
        size = (features.pixels.shape[-2], features.pixels.shape[-1])
        encoding = self.box_encoder(boxes, features.gather(features.target)[:, 0], size)
        return self.decode(encoding[:, None, None], features)

    def training_forward(self, batch: Batch) -> Unrolled:
        """The mini-sequence unroll, or the box encoder's task on the first frame."""
        if self.trains == "masks":
            return super().training_forward(batch)
        features = self.encode(batch.frames[:, :1])
        logits = self._decode_boxes(features, batch.boxes[:, 0, 0])
        return Unrolled(logits, batch.masks[:, :1], {})
