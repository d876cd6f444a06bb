"""LWL as six verbs: label generator, weight predictor and few-shot learner around a shared decoder (LWL, sec. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vos_zoo.blocks.backbones import build_backbone
from vos_zoo.blocks.decoders import SegmentationDecoder
from vos_zoo.blocks.few_shot_learner import FewShotLearner, Fit, apply_taps
from vos_zoo.blocks.norms import instance_l2_norm
from vos_zoo.core.memory import SampleMemory, SamplePolicy
from vos_zoo.core.search_region import SearchRegion
from vos_zoo.core.target_model import Features, TargetModel, TrackSettings, Unrolled
from vos_zoo.losses import mask_losses
from vos_zoo.methods.lwl.label_encoder import BoxEncoder, LabelEncoder, init_convolutions
from vos_zoo.methods.lwl.settings import BOX_PRESET, LearnerTrackSettings
from vos_zoo.types import Batch, UsageError

RESCORE_EVERY = 64
"""Writes after which the carried scores are computed anew, so that rounding does not pile up."""


@dataclass(frozen=True)
class LWLFeatures(Features):
    """The pyramid, and the target model's view of it.

    Attributes:
        target: L2-normalised target-model features ``(U, T, C, h/16, w/16)``, float32.
    """

    target: Tensor = None  # type: ignore[assignment]


@dataclass(frozen=True)
class LearnerSchedule:
    """Iterations: in the first frame, per refresh, and how many writes lie between refreshes."""

    first: int
    update: int
    every: int = 1


@dataclass(frozen=True)
class LWLMemory:
    """Samples of `B` objects with their label encodings, and the filter fitted to them.

    Attributes:
        schedule: learner iterations.
        samples: buffers "features" ``(S, B, C, h, w)``, "labels", "weights", "scores" ``(S, B, D, h, w)``; labels and
            weights are encoded once, when a sample is written.
        taps: the filters as rows, ``(B, 9 D, C)``.
        writes: samples written after the first one, per object.
    """

    schedule: LearnerSchedule
    samples: SampleMemory
    taps: Tensor
    writes: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.samples.nbytes + self.taps.numel() * self.taps.element_size()

    def drop(self, slots: Sequence[int]) -> LWLMemory:
        """The memory without the objects in `slots`."""
        kept = [row for row in range(len(self.writes)) if row not in set(slots)]
        writes = tuple(self.writes[row] for row in kept)
        return replace(self, samples=self.samples.drop(slots), taps=self.taps[kept], writes=writes)

    def to(self, device: torch.device | str) -> LWLMemory:
        """The same memory on `device`."""
        return replace(self, samples=self.samples.to(device), taps=self.taps.to(device))


class LWL(TargetModel):
    """Learning what to learn: the mask encoding is learned, so the learner's target carries what the decoder needs.

    Args:
        backbone: see `vos_zoo.blocks.backbones.build_backbone`.
        backbone_weights: None, "imagenet", "mask_rcnn" or a path.
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

    settings_type: ClassVar[type[TrackSettings]] = LearnerTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}, "box": BOX_PRESET}

    def __init__(
        self,
        backbone: str = "resnet50_caffe",
        backbone_weights: str | None = None,
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
        super().__init__()
        if trains not in ("masks", "boxes"):
            raise UsageError(f"model.trains is {trains!r}; choose masks or boxes")
        if trains == "boxes" and not box_encoder:
            raise UsageError("model.trains is 'boxes' but there is no box encoder; set model.box_encoder=true")
        self.trains = trains
        self.end_to_end = end_to_end
        self.refines_in_training = refine_in_training
        self.train_schedule = LearnerSchedule(train_iterations, train_update_iterations)
        self.loss_weights = dict(losses or {"lovasz": 100.0 if trains == "masks" else 10.0})
        self.label_channels = label_channels if label_generator else 1
        self.feature_scale = sqrt(1 / (feature_channels * 9))

        self.backbone = build_backbone(backbone, backbone_weights)
        self.feature_conv = nn.Conv2d(self.backbone.channels[2], feature_channels, 3, padding=1, bias=False)
        init_convolutions(self.feature_conv)
        self.learner = FewShotLearner(regulariser)
        self.label_encoder = LabelEncoder(label_widths, self.label_channels, label_generator, weight_predictor)
        self.box_encoder = BoxEncoder(feature_channels, outputs=self.label_channels) if box_encoder else None
        self.decoder = SegmentationDecoder(self.backbone.channels, self.label_channels, decoder_width)

    # -- the six verbs -----------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> LWLFeatures:
        """Backbone pyramid and target-model features of float RGB ``(B, T, 3, h, w)``, 0..255 (sec. 3.1)."""
        clip = frames.shape[:2]
        pyramid = self.backbone(frames.flatten(0, 1))
        f4, f8, f16, f32 = (level.unflatten(0, clip) for level in pyramid)
        target = instance_l2_norm(self.feature_conv(pyramid[2]).float(), self.feature_scale).unflatten(0, clip)
        return LWLFeatures(frames, f4, f8, f16, f32, None, target)

    def new_memory(self, settings: TrackSettings | None = None) -> LWLMemory:
        """Empty memory: with temporal weights and a ring buffer for `settings`, plain and growing for training."""
        device = self.learner.filter_reg.device
        empty = torch.zeros(0, 9 * self.label_channels, self.feature_conv.out_channels, device=device)
        if settings is None:
            return LWLMemory(self.train_schedule, SampleMemory(SamplePolicy(temporal=False)), empty)
        assert isinstance(settings, LearnerTrackSettings)
        policy = SamplePolicy(
            settings.capacity, settings.learning_rate, settings.minimum_first_weight, settings.equal_second
        )
        schedule = LearnerSchedule(settings.first_iterations, settings.update_iterations, settings.refresh_every)
        return LWLMemory(schedule, SampleMemory(policy), empty)

    def initialise(self, memory: LWLMemory, features: LWLFeatures, masks: Tensor, new: Sequence[int]) -> LWLMemory:
        """Fit a filter to each object's first mask, from zero (sec. 3.2)."""
        sample = self._encode_sample(features, masks)
        first = {name: value[None] for name, value in sample.items()}
        fit = self.learner.start(first["features"], self.label_channels)
        fit = self._fit(fit, first, memory.schedule.first)
        samples = memory.samples.start({**sample, "scores": fit.scores[0]}, new)
        total = len(samples)
        taps = fit.taps
        if list(new) != list(range(total)):
            taps = torch.zeros(total, *fit.taps.shape[1:], device=fit.taps.device)
            taps[: len(memory.taps)] = memory.taps
            taps[list(new)] = fit.taps
        writes = [*memory.writes, *[0] * (total - len(memory.writes))]
        for row in new:
            writes[row] = 0
        return LWLMemory(memory.schedule, samples, taps, tuple(writes))

    def read(self, memory: LWLMemory, features: LWLFeatures) -> Tensor:
        """Target-model output: each object's filter on its canvas, ``(B, T, 1, D, h/16, w/16)`` (sec. 3.1, eq. 1)."""
        scores = apply_taps(features.gather(features.target).transpose(0, 1), memory.taps)
        scores = scores.transpose(0, 1)[:, :, None]
        return scores if self.end_to_end or not self.training else scores.detach()

    def decode(self, readout: Tensor, features: LWLFeatures) -> Tensor:
        """Segmentation decoder: mask encodings and the pyramid to logits ``(B, T, 1, h, w)`` (sec. 3.6)."""
        objects, frames = readout.shape[:2]

        def spread(tensor: Tensor) -> Tensor:
            return features.gather(tensor.unflatten(0, (-1, frames))).flatten(0, 1)

        levels = (features.f4, features.f8, features.f16, features.f32)
        pyramid = [level.flatten(0, 1) for level in levels]
        size = (features.pixels.shape[-2], features.pixels.shape[-1])
        logits = self.decoder(readout.flatten(0, 2), pyramid, size, spread)
        return logits.view(objects, frames, 1, *size)

    def update(
        self, memory: LWLMemory, features: LWLFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> LWLMemory:
        """Store the merged prediction as a sample and refine the filters that are due (sec. 3.5)."""
        rows = list(range(len(memory.writes)) if rows is None else rows)
        sample = self._encode_sample(features, masks)
        sample["scores"] = apply_taps(sample["features"][None], memory.taps[rows])[0]
        samples = memory.samples.write(sample, rows)
        writes = tuple(count + (row in rows) for row, count in enumerate(memory.writes))
        memory = LWLMemory(memory.schedule, samples, memory.taps, writes)
        due = [row for row in rows if (writes[row] + 1) % memory.schedule.every == 0]
        return self._refine(memory, due) if due else memory

    # -- what the verbs are made of ----------------------------------------------------------------------------------

    def _encode_sample(self, features: LWLFeatures, masks: Tensor) -> dict[str, Tensor]:
        """One training sample per object: features, label E(y), element weights W(y)."""
        with torch.autocast(masks.device.type, enabled=False):
            label, weight = self.label_encoder(masks[:, 0])
        return {"features": features.gather(features.target)[:, 0], "labels": label, "weights": weight}

    def _fit(self, fit: Fit, samples: Mapping[str, Tensor], iterations: int, temporal: Tensor | None = None) -> Fit:
        weights = samples["weights"]
        if temporal is not None:
            weights = weights * temporal[..., None, None, None]
        with torch.autocast(weights.device.type, enabled=False):
            fitted: Fit = self.learner(fit, samples["features"], samples["labels"], weights, iterations)
        return fitted

    def _refine(self, memory: LWLMemory, rows: list[int]) -> LWLMemory:
        """Some iterations on all stored samples, weighted by age; the other objects' filters stay."""
        store, everyone = memory.samples, len(rows) == len(memory.writes)
        picked = {name: store.samples(name) for name in store.buffers}
        temporal, taps = store.sample_weights(), memory.taps
        if not everyone:
            picked = {name: value[:, rows] for name, value in picked.items()}
            temporal, taps = temporal[:, rows], taps[rows]
        scores = picked["scores"]
        if max(memory.writes[row] for row in rows) % RESCORE_EVERY == 0:
            scores = apply_taps(picked["features"], taps)
        fit = self._fit(Fit(taps, scores), picked, memory.schedule.update, temporal)
        if torch.is_grad_enabled():
            samples = replace(store, buffers={**store.buffers, "scores": fit.scores})
            return replace(memory, samples=samples, taps=fit.taps)
        if everyone:
            store.buffers["scores"][: store.filled] = fit.scores
            return replace(memory, taps=fit.taps)
        store.buffers["scores"][: store.filled, rows] = fit.scores
        taps = memory.taps.clone()
        taps[rows] = fit.taps
        return replace(memory, taps=taps)

    # -- running and training ----------------------------------------------------------------------------------------

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

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Logits ``(N, H, W)`` of boxed objects in the full frame ``(3, H, W)`` (sec. 3.7)."""
        if self.box_encoder is None:
            return super().box_logits(frame, boxes)
        features = self.encode(frame[None, None])
        features = features.spread(torch.zeros(len(boxes), dtype=torch.long, device=frame.device))
        return self._decode_boxes(features, boxes)[:, 0, 0]

    def _decode_boxes(self, features: LWLFeatures, boxes: Tensor) -> Tensor:
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

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Weighted mask losses over all query frames and sequences together (sheet 5.3)."""
        return mask_losses(unrolled.logits, unrolled.truth, self.loss_weights)
