"""Methods with one search region per object: backbone, target, segmentation decoder (LWL, JOINT, LLB)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from torch import Tensor

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.evidence import Evidence
from vos_zoo.engine.memory import MemoryT
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.losses import mask_losses
from vos_zoo.methods._few_shot.decoder import SegmentationDecoder
from vos_zoo.methods._few_shot.search_region import SearchRegion
from vos_zoo.methods._few_shot.target import FewShotFeatures, LearnerTrackSettings, Target, minus_residual
from vos_zoo.nn.backbones import build_backbone
from vos_zoo.nn.frames import as_images
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.types import Batch

RegionalT = TypeVar("RegionalT", bound=FewShotFeatures)
"""The features of a method with search regions."""


class RegionalModel(TargetModel[MemoryT, RegionalT, Tensor]):
    """The six verbs around a `Target`; a method gives the target, the decoder and the label encoder.

    Args:
        backbone: see `vos_zoo.nn.backbones.build_backbone`.
        backbone_weights: None, "imagenet", "mask_rcnn" or a path.
        backbone_norms: "frozen" or "batch"; None: the backbone's default.

    Attributes:
        features_type: class of the features; its fields beyond the pyramid are the target's features.
        target: maps features to mask encodings.
        decoder: mask encodings -> logits.
        loss_weights: weight per mask loss.
    """

    settings_type: ClassVar[type[TrackSettings]] = LearnerTrackSettings
    features_type: type[RegionalT]
    target: Target[MemoryT, RegionalT]
    decoder: SegmentationDecoder
    loss_weights: dict[str, float]

    def __init__(self, backbone: str, backbone_weights: str | None, backbone_norms: str | None) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, backbone_weights, norms=backbone_norms)
        if backbone_weights is not None:
            self.decided = {"backbone_norms": self.backbone.norms}

    @abstractmethod
    def encode_labels(self, features: RegionalT, masks: Tensor) -> dict[str, Tensor]:
        """The learned encodings of masks that a sample stores beside the features.

        Args:
            features: of the canvases.
            masks: ``(B, 1, 1, h, w)``, 0..1.

        Returns:
            "labels" and "weights" of the few-shot branch, and the encodings of other branches, ``(B, D, h/16, w/16)``.
        """

    def encode(self, frames: Tensor) -> RegionalT:
        """Backbone pyramid of float RGB ``(B, T, 3, h, w)``, 0..255, and the target's projections of it."""
        return self.encode_sequences(frames, 0)

    def encode_sequences(self, frames: Tensor, references: int) -> RegionalT:
        """As `encode`; the reference frames, which are never decoded, get no features at stride 32."""
        batch, length = frames.shape[:2]
        pyramid = self.backbone(frames.flatten(0, 1), length, references)
        f4, f8, f16, f32 = (level.unflatten(0, (batch, -1)) for level in pyramid)
        seen = {
            name: value.unflatten(0, (batch, -1)) for name, value in self.target.project_features(pyramid[2]).items()
        }
        return self.features_type(frames, f4, f8, f16, f32, **seen)

    def new_memory(self, settings: TrackSettings | None = None) -> MemoryT:
        """Empty memory: with temporal weights and a ring buffer for `settings`, plain and growing for training."""
        assert settings is None or isinstance(settings, LearnerTrackSettings)
        return self.target.new_memory(settings)

    def initialise(self, memory: MemoryT, features: RegionalT, masks: Tensor, new: Sequence[int]) -> MemoryT:
        """Start objects from their first masks ``(B, 1, 1, h, w)``."""
        with in_full_precision(masks):
            return self.target.initialise(memory, self._encode_sample(features, masks), new)

    def read(self, memory: MemoryT, features: RegionalT) -> Tensor:
        """Mask encodings of the query frames, ``(B, T, 1, D, h/16, w/16)``."""
        return self.target.read(memory, features)

    def decode(self, readout: Tensor, features: RegionalT) -> Tensor:
        """Segmentation decoder: mask encodings and the pyramid to logits ``(B, T, 1, h, w)``."""
        objects, frames = readout.shape[:2]

        def spread(tensor: Tensor) -> Tensor:
            return features.gather(tensor.unflatten(0, (-1, frames))).flatten(0, 1)

        levels = (features.f4, features.f8, features.f16, features.f32)
        pyramid = [as_images(level) for level in levels]
        size = (features.pixels.shape[-2], features.pixels.shape[-1])
        logits = self.decoder(readout.flatten(0, 2), pyramid, size, spread)
        return logits.view(objects, frames, 1, *size)

    def update(self, memory: MemoryT, features: RegionalT, masks: Tensor, rows: Sequence[int] | None = None) -> MemoryT:
        """Store the merged prediction ``(B, 1, 1, h, w)`` as a sample and learn from it."""
        with in_full_precision(masks):
            return self.target.update(memory, self._encode_sample(features, masks), rows)

    def learn(self, memory: MemoryT, features: RegionalT, masks: Tensor, rows: Sequence[int] | None = None) -> MemoryT:
        """Store given masks ``(B, 1, 1, h, w)`` as samples that are never replaced, and learn from them."""
        with in_full_precision(masks):
            return self.target.update(memory, self._encode_sample(features, masks), rows, given=True)

    def evidence(self, memory: MemoryT, readout: Tensor, features: RegionalT, decoded: Decoded) -> Evidence | None:
        """Minus the learner's residual on each object's newest sample, ``(B, T, 1)``."""
        fitted = self.target.fitted(memory)
        if fitted is None:
            return None
        return Evidence(minus_residual, (fitted[:, None].expand(-1, decoded.logits.shape[1], *fitted.shape[1:]),))

    def _encode_sample(self, features: RegionalT, masks: Tensor) -> dict[str, Tensor]:
        """One sample per object: features and encoded masks."""
        return {**self.target.sample(features), **self.encode_labels(features, masks)}

    def make_view(self, settings: TrackSettings) -> SearchRegion:
        """One search region per object."""
        assert isinstance(settings, LearnerTrackSettings)
        return SearchRegion(
            settings.size,
            settings.area_scale,
            settings.scale_change,
            settings.minimum_area,
            settings.arithmetic == "half_pixel",
            settings.stable_windows,
            settings.group_size,
        )

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Weighted mask losses over all query frames and sequences together."""
        return mask_losses(unrolled.logits, unrolled.truth, self.loss_weights)
