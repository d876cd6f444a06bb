"""The six verbs that every method implements, the parts around them, and the training unroll over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeAlias

import torch
from torch import Tensor, nn

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded, as_decoded
from vos_zoo.engine.evidence import Evidence
from vos_zoo.engine.features import Features, FeaturesT, ReadoutT
from vos_zoo.engine.memory import Memory, MemoryT
from vos_zoo.engine.merge import MergeRule
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.engine.views import View
from vos_zoo.types import Batch, Points, UsageError

__all__ = ["AnyTargetModel", "Decoded", "TargetModel", "TrackSettings", "Unrolled", "unroll"]


@dataclass
class Unrolled:
    """Result of a training unroll.

    Attributes:
        logits: ``(B, Q, K, h, w)``, one logit map per query frame and slot.
        truth: masks of the same shape, 0 or 1.
        extras: further tensors that a method's losses need, by name.
    """

    logits: Tensor
    truth: Tensor
    extras: dict[str, Tensor]


class TargetModel(nn.Module, ABC, Generic[MemoryT, FeaturesT, ReadoutT]):
    """A segmentation method as six verbs on an explicit memory; the same verbs serve training and inference.

    A target model holds no state of any video: memory goes in and comes out, so one network serves many videos at once
    and training back-propagates through the memory. A verb that changes a memory consumes the one it is given, see
    `vos_zoo.engine.memory.Memory`; features and masks are never changed. Axes as in `vos_zoo.types`. Number formats:
    `vos_zoo.nn.precision`. The type parameters are the method's memory, features and readout.

    Attributes:
        settings_type: dataclass of the inference settings.
        presets: named bundles of inference settings; "paper" (as published) and "stream" (bounded memory) always exist.
        initial_weights: hyper-parameters that only say how fresh weights are made; they are not saved.
        decided: hyper-parameters whose default depends on `initial_weights`, as resolved; they are saved.
        one_object_per_canvas: objects are canvases (``B = N, K = 1``); False: objects are slots of one canvas.
        schedule: when frames are read and written.
        merging: how objects are merged, and how given masks are combined with predictions.
        clips: what is computed for a clip, and what is kept of it.
    """

    settings_type: ClassVar[type[TrackSettings]] = TrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}}
    initial_weights: ClassVar[tuple[str, ...]] = ("backbone_weights",)
    decided: Mapping[str, Any] = MappingProxyType({})
    one_object_per_canvas: bool = True
    schedule: WriteSchedule = WriteSchedule()
    merging: MergeRule = MergeRule()
    clips: ClipPlanner[FeaturesT, ReadoutT] = ClipPlanner()

    # -- the six verbs -----------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, frames: Tensor) -> FeaturesT:
        """Compute what depends on the pixels only.

        Args:
            frames: float RGB ``(B, T, 3, h, w)``, 0..255.
        """

    @abstractmethod
    def new_memory(self, settings: TrackSettings | None = None) -> MemoryT:
        """An empty memory that follows `settings`; None: the policy of the training unroll."""

    @abstractmethod
    def initialise(self, memory: MemoryT, features: FeaturesT, masks: Tensor, new: Sequence[int]) -> MemoryT:
        """Register new objects.

        Args:
            memory: memory of the objects known so far; consumed.
            features: features of the canvases on which objects start; where they start from boxes or points, `hints`
                says which.
            masks: ``(B, 1, K, h, w)``, 0..1. With several objects on a canvas K = 1 + the highest slot in `new`, other
                slots empty; where given masks are "overlaid" the result of this frame for all objects, those in `new`
                included.
            new: the slots that start here; a known slot restarts.
        """

    @abstractmethod
    def read(self, memory: MemoryT, features: FeaturesT) -> ReadoutT:
        """Read the memory for the frames: ``(B, T, K, C, h/s, w/s)``, or the method's own dataclass."""

    @abstractmethod
    def decode(self, readout: ReadoutT, features: FeaturesT) -> Tensor | Decoded:
        """Mask logits ``(B, T, K, h, w)`` of the frames that `features.plan` decodes (all, without a plan).

        A `Decoded` holds more than logits: scores of the objects, what the next clip needs, what `losses` needs.
        """

    @abstractmethod
    def update(self, memory: MemoryT, features: FeaturesT, masks: Tensor, rows: Sequence[int] | None = None) -> MemoryT:
        """Write predictions; several times per clip if objects of one canvas each are due at different positions.

        Args:
            memory: memory of all objects; consumed.
            features: retained features of the frames to write, of the objects `rows`.
            masks: merged probabilities on these canvases, ``(B, T, K, h, w)``; T as the schedule says.
            rows: the objects that are written; None: all.
        """

    def learn(self, memory: MemoryT, features: FeaturesT, masks: Tensor, rows: Sequence[int] | None = None) -> MemoryT:
        """Learn a given frame of known objects, which go on; by default as a predicted frame is written.

        A method with a bounded memory keeps such frames for good, and lets them count as much as a first frame.

        Args:
            memory: memory of all objects; consumed.
            features: features of the canvases on which the masks were given, `T = 1`.
            masks: given masks of the objects `rows`, ``(B, 1, K, h, w)``; where several objects share a canvas, or
                given masks are "overlaid", the result of this frame for all objects.
            rows: the objects that the masks belong to; None: all.
        """
        return self.update(memory, features, masks, rows)

    # -- what a method says beside them ------------------------------------------------------------------------------

    @abstractmethod
    def make_view(self, settings: TrackSettings) -> View:
        """The geometry the method runs with: search regions or the full frame."""

    @abstractmethod
    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is minimised."""

    def carry(self, memory: MemoryT, readout: ReadoutT, decoded: Decoded) -> MemoryT:
        """The memory updated by reading and decoding a clip (hidden state, usage counts); often unchanged.

        It is called after each clip, before the clip is written.

        Args:
            memory: the one that was read; consumed.
            readout: of the clip.
            decoded: what was decoded from it; `state` is meant for this.
        """
        return memory

    def evidence(
        self, memory: MemoryT, readout: ReadoutT, features: FeaturesT, decoded: Decoded
    ) -> Tensor | Evidence | None:
        """The method's own evidence of how well it sees each object, ``(B, T, K)``; None (the default): it has none.

        Any number that rises with the quality of the mask; `vos_zoo.engine.confidence.Calibration` scales it. It is
        asked for each clip before `carry`, and must change nothing. An `Evidence` is computed later, for many frames at
        once, which saves a GPU many launches.

        Args:
            memory: the one that was read.
            readout: of the clip.
            features: of the clip; its `plan` says which frames are decoded, the T of the result.
            decoded: what was decoded.
        """
        return None

    # -- objects from boxes and points -------------------------------------------------------------------------------

    @property
    def takes_boxes(self) -> bool:
        """Whether objects may start from boxes; by default where the method has its own `box_logits`."""
        return type(self).box_logits is not TargetModel.box_logits

    @property
    def takes_points(self) -> bool:
        """Whether objects may start from points; by default where the method has its own `point_logits`."""
        return type(self).point_logits is not TargetModel.point_logits

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Full-frame mask logits ``(N, H, W)`` of objects that are given as boxes.

        Args:
            frame: float RGB ``(3, H, W)``, 0..255.
            boxes: ``(N, 4)``, x y w h in pixels.

        Raises:
            UsageError: the method or its weights cannot start from boxes.
        """
        raise no_box_encoder()

    def point_logits(self, frame: Tensor, points: Sequence[Points]) -> Tensor:
        """Full-frame mask logits ``(N, H, W)`` of objects that are given as points.

        Args:
            frame: float RGB ``(3, H, W)``, 0..255.
            points: of each of the N objects, in pixels.

        Raises:
            UsageError: the method or its weights cannot start from points.
        """
        raise no_point_encoder()

    # -- training ----------------------------------------------------------------------------------------------------

    def encode_sequences(self, frames: Tensor, references: int) -> FeaturesT:
        """As `encode`, for training sequences ``(B, T, 3, h, w)`` whose first `references` frames are only memorised.

        What only decoding needs may be left out there: such features then have less than T frames.
        """
        return self.encode(frames)

    def training_forward(self, batch: Batch) -> Unrolled:
        """Memorise the reference frames of a mini-sequence and segment its query frames, with gradients.

        Where the schedule refines in training, the prediction of each query clip is written before the next one is
        read; otherwise all query frames are read at once.
        """
        return unroll(self, batch)

    def unroll_extras(self, memory: MemoryT, features: FeaturesT, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Further tensors that `losses` needs, from the end of a training unroll.

        Args:
            memory: after the last write; the last query clip is never written.
            features: of all frames of the batch.
            logits: of all query frames, ``(B, Q, K, h, w)``.
            batch: the mini-sequences.
        """
        return {}

    def adopt(self, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Entries of an earlier training stage's network as this one takes them; a stage may widen or rename some."""
        return earlier

    # -- settings ----------------------------------------------------------------------------------------------------

    def track_settings(self, preset: str | None = None, **overrides: Any) -> TrackSettings:
        """Inference settings: the preset's, then `overrides`.

        Raises:
            UsageError: unknown preset or setting, with the nearest known name.
        """
        if preset is not None and preset not in self.presets:
            raise UsageError(f"unknown preset {preset!r}; this method has {', '.join(self.presets)}")
        known = [f.name for f in fields(self.settings_type)]
        for name in overrides:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean 'track.{near[0]}'?" if near else f"; known settings: {', '.join(known)}"
                raise UsageError(f"unknown setting 'track.{name}'{hint}")
        values: dict[str, Any] = {**self.presets.get(preset or "", {}), **overrides}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return self.settings_type(**values)


AnyTargetModel: TypeAlias = TargetModel[Memory, Features, object]
"""A target model of any method; the engine knows nothing more of it."""


def unroll(model: TargetModel[MemoryT, FeaturesT, ReadoutT], batch: Batch) -> Unrolled:
    """Memorise the reference frames, then segment the query frames in order.

    See `TargetModel.training_forward`.

    Args:
        model: the target model; its memory carries the gradients.
        batch: frames ``(B, T, 3, h, w)`` and masks ``(B, T, K, h, w)``.

    Returns:
        Logits ``(B, Q, K, h, w)`` of the Q = T - reference_frames queries, and what was decoded with them: "scores"
        ``(B, Q, K)`` and the method's extras.
    """
    references, total = batch.reference_frames, batch.frames.shape[1]
    schedule = model.schedule
    features = model.encode_sequences(batch.frames, references)
    slots = list(range(batch.masks.shape[0 if model.one_object_per_canvas else 2]))
    step = schedule.frames_per_call(None) if schedule.refines_in_training else total - references
    starts = range(references, total, step)
    stretches = features.split([1] * references + [min(step, total - start) for start in starts])
    memory = model.initialise(model.new_memory(), stretches[0], batch.masks[:, :1], slots)
    for t in range(1, references):
        memory = model.update(memory, stretches[t], batch.masks[:, t : t + 1])
    found: dict[str, list[Tensor]] = {}
    written = references - 1
    for start, clip in zip(starts, stretches[references:], strict=True):
        stop = min(start + step, total)
        readout = model.read(memory, clip)
        decoded = as_decoded(model.decode(readout, clip))
        memory = model.carry(memory, readout, decoded)
        for name, value in _tensors_of(decoded).items():
            found.setdefault(name, []).append(value)
        if not schedule.refines_in_training or stop == total:
            continue
        frames = range(start, stop)
        ages, since = [t - references + 1 for t in frames], [t - written for t in frames]
        due = schedule.frames_to_write(ages, since, False, None)
        if due:
            written = frames[due[-1]]
            masks = model.merging.merge_training(decoded.logits, batch.valid)[:, due]
            memory = model.update(memory, model.clips.retain(clip, readout, decoded).pick(due), masks)
    joined = {name: torch.cat(values, dim=1) for name, values in found.items()}
    logits = joined.pop("logits")
    joined.update(model.unroll_extras(memory, features, logits, batch))
    return Unrolled(logits, batch.masks[:, references:], joined)


def _tensors_of(decoded: Decoded) -> dict[str, Tensor]:
    """Logits, scores and extras of a clip by name, each ``(B, T, ...)``."""
    scores = {} if decoded.scores is None else {"scores": decoded.scores}
    return {**decoded.extras, **scores, "logits": decoded.logits}


def no_box_encoder() -> UsageError:
    """The error for a box given to a model that does not take boxes."""
    return UsageError("this model starts from masks, not boxes; give --mask, or use weights with a box encoder")


def no_point_encoder() -> UsageError:
    """The error for points given to a model that does not take points."""
    return UsageError("this model starts from masks, not points; give a mask or a box")
