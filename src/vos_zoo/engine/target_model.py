"""The six verbs that every method implements, and the training unroll over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.memory import Memory
from vos_zoo.engine.merge import soft_aggregation
from vos_zoo.engine.views import View
from vos_zoo.nn.precision import FORMATS
from vos_zoo.types import Batch, UsageError


@dataclass(frozen=True)
class TrackSettings:
    """Settings of an inference run that every method has; methods derive from it and add their own.

    Attributes:
        group_size: at most so many objects go through the network together (bounds peak memory).
        precision: "float32", "bf16" or "fp16": the number format of the networks; what stays in float32 says
            `vos_zoo.nn.precision`.
    """

    group_size: int = 8
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise UsageError(f"track.group_size is {self.group_size}; it must be at least 1")
        if self.precision not in FORMATS:
            raise UsageError(f"track.precision is {self.precision!r}; choose {', '.join(FORMATS)}")


@dataclass
class Unrolled:
    """What a training unroll produced.

    Attributes:
        logits: ``(B, Q, K, h, w)``, one logit map per query frame and slot.
        truth: masks of the same shape, 0 or 1.
        extras: further tensors that a method's losses need, by name.
    """

    logits: Tensor
    truth: Tensor
    extras: dict[str, Tensor]


class TargetModel(nn.Module, ABC):
    """A segmentation method as six verbs on an explicit memory; the same verbs serve training and inference.

    A target model holds no state of any video: memory goes in and comes out, so one network serves many videos at once
    and training back-propagates through the memory. A verb that changes a memory uses up the one it is given, see
    `vos_zoo.engine.memory.Memory`; features and masks are never changed. Axes as in `vos_zoo.types`. Number formats:
    `vos_zoo.nn.precision`.

    Attributes:
        settings_type: dataclass of the inference settings.
        presets: named bundles of inference settings; "paper" (as published) and "stream" (bounded memory) always exist.
        initial_weights: hyper-parameters that only say how fresh weights are made; they are not saved.
        decided: hyper-parameters whose default depends on `initial_weights`, as they turned out; they are saved.
        one_object_per_canvas: objects are canvases (``B = N, K = 1``); False: objects are slots of one canvas.
        given_masks: how the masks given in a frame meet the prediction there. "merged": they take part in the merge as
            certain logits, and what is written is the result. "overlaid": the prediction is merged, and written where
            that is due; then `overlay` puts the given masks over it, and `initialise` sees all objects of the frame.
        clip_length: frames read per call, unless the inference settings say otherwise (`frames_per_call`).
        memory_every: write at most every n-th frame.
        write_on_prompt: also store a frame in which somebody gives a mask.
        refines_in_training: whether the unroll updates the memory between query frames.
    """

    settings_type: ClassVar[type[TrackSettings]] = TrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}}
    initial_weights: ClassVar[tuple[str, ...]] = ("backbone_weights",)
    decided: Mapping[str, Any] = MappingProxyType({})
    one_object_per_canvas: bool = True
    given_masks: Literal["merged", "overlaid"] = "merged"
    clip_length: int = 1
    memory_every: int = 1
    write_on_prompt: bool = False
    refines_in_training: bool = True

    @abstractmethod
    def encode(self, frames: Tensor) -> Features:
        """All that depends on pixels only.

        Args:
            frames: float RGB ``(B, T, 3, h, w)``, 0..255.
        """

    def encode_sequences(self, frames: Tensor, references: int) -> Features:
        """As `encode`, for training sequences ``(B, T, 3, h, w)`` whose first `references` frames are only memorised.

        What only decoding needs may be left out there: such features then have less than T frames.
        """
        return self.encode(frames)

    @abstractmethod
    def new_memory(self, settings: TrackSettings | None = None) -> Memory:
        """An empty memory that follows `settings`; None: the policy of the training unroll."""

    @abstractmethod
    def initialise(self, memory: Any, features: Any, masks: Tensor, new: Sequence[int]) -> Any:
        """Register new objects.

        Args:
            memory: memory of the objects known so far; used up.
            features: features of the canvases on which objects start.
            masks: ``(B, 1, K, h, w)``, 0..1. On a full frame K = 1 + the highest slot in `new`, other slots empty;
                with `given_masks` "overlaid" the result of this frame for all objects, those in `new` included.
            new: the slots that start here; a known slot starts anew.
        """

    @abstractmethod
    def read(self, memory: Any, features: Any) -> Any:
        """What the memory says about the frames: ``(B, T, K, C, h/s, w/s)``, or the method's own dataclass."""

    @abstractmethod
    def decode(self, readout: Any, features: Any) -> Tensor:
        """Mask logits ``(B, T, K, h, w)`` of the frames that `features.plan` wants decoded (all, without a plan)."""

    @abstractmethod
    def update(self, memory: Any, features: Any, masks: Tensor, rows: Sequence[int] | None = None) -> Any:
        """Learn from a prediction; several times per clip where objects of one canvas each are due at other positions.

        Args:
            memory: memory of all objects; used up.
            features: retained features of the frames to write, of the objects `rows`.
            masks: merged probabilities on these canvases, ``(B, T, K, h, w)``; T as `frames_to_write` says.
            rows: the objects that learn; None: all.
        """

    @abstractmethod
    def make_view(self, settings: TrackSettings) -> View:
        """The geometry the method runs with: search regions or the full frame."""

    @abstractmethod
    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is minimised."""

    def training_forward(self, batch: Batch) -> Unrolled:
        """Memorise the reference frames of a mini-sequence and segment its query frames, with gradients.

        Where the model refines its memory in training, the prediction of each query clip (without gradient through the
        mask) is learned before the next one is read; otherwise all query frames are read at once.
        """
        return unroll(self, batch)

    def unroll_extras(self, memory: Any, features: Any, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Further tensors that `losses` needs, from the end of a training unroll.

        Args:
            memory: after the last write; the last query clip is never written.
            features: of all frames of the batch.
            logits: of all query frames, ``(B, Q, K, h, w)``.
            batch: the mini-sequences.
        """
        return {}

    def readout_extras(self, readout: Any) -> dict[str, Tensor]:
        """What `losses` needs of each query clip's readout, ``(B, T, ...)`` by name; the unroll joins the clips."""
        return {}

    def frames_per_call(self, settings: TrackSettings | None) -> int:
        """Frames of a clip at run time; `settings` None: in training."""
        return self.clip_length

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        """Whether a frame is written, `age` frames after the object (or prompt) it belongs to."""
        return age >= 1 and age % self.memory_every == 0

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        """Positions of a segmented clip whose frames are written; by default all or none, as the last frame is due.

        Args:
            ages: per frame, frames since the object (on a full frame: the newest one) was given.
            since: per frame, frames since the last write before this clip, or since the last prompt.
            prompted: whether a mask is given in the last frame.
            settings: None: in training, where every clip is written.
        """
        if settings is None or (prompted and self.write_on_prompt) or self.is_due(ages[-1], settings):
            return list(range(len(ages)))
        return []

    def plan_clip(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        """Which frames have to be encoded and decoded so that those `needed` come out exactly; by default all."""
        return ClipPlan.whole(length)

    def retain(self, features: Any, readout: Any) -> Any:
        """What is kept of a clip's features until its frames are written; by default everything.

        A method drops what `update` (and `initialise`, with masks "overlaid") does not need, or adds what it wants back
        from the readout.
        """
        return features

    def overlay(self, probabilities: Tensor, masks: Tensor, slots: Sequence[int]) -> Tensor:
        """Given masks over a merged prediction (`given_masks` "overlaid").

        By default each object in `slots` is exactly its mask, and no other object is left under a given mask.

        Args:
            probabilities: ``(N+1, H', W')``; the channels of objects that start here are there, zero.
            masks: ``(n, H', W')``, 0..1.
            slots: the object of each mask.
        """
        covered = (masks > 0.5).any(dim=0)
        result = torch.where(covered, probabilities.new_zeros(()), probabilities)
        result[[slot + 1 for slot in slots]] = masks.to(result.dtype)
        result[0] = (1 - result[1:].sum(dim=0)).clamp(0, 1)
        return result / result.sum(dim=0)

    @property
    def takes_boxes(self) -> bool:
        """Whether objects may start from boxes; by default where the method has its own `box_logits`."""
        return type(self).box_logits is not TargetModel.box_logits

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Full-frame mask logits ``(N, H, W)`` of objects that are given as boxes.

        Args:
            frame: float RGB ``(3, H, W)``, 0..255.
            boxes: ``(N, 4)``, x y w h in pixels.

        Raises:
            UsageError: the method or its weights cannot start from boxes.
        """
        raise no_box_encoder()

    def merge(self, logits: Tensor) -> Tensor:
        """Logits of all objects on the plane where they meet, ``(T, N, H, W)`` -> probabilities ``(T, N+1, H, W)``."""
        return soft_aggregation(logits)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """Training counterpart of `merge`: logits ``(B, T, K, h, w)`` -> mask probabilities of the same shape.

        Args:
            logits: of one query clip.
            valid: bool ``(B, K)``, slots that hold an object; None: all.
        """
        return logits.detach().sigmoid()

    def adopt(self, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Entries of an earlier training stage's network as this one takes them; a stage may widen or rename some."""
        return earlier

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


def unroll(model: TargetModel, batch: Batch) -> Unrolled:
    """Memorise the reference frames, then segment the query frames in order.

    See `TargetModel.training_forward`.

    Args:
        model: the target model; its memory carries the gradients.
        batch: frames ``(B, T, 3, h, w)`` and masks ``(B, T, K, h, w)``.

    Returns:
        Logits ``(B, Q, K, h, w)`` of the Q = T - reference_frames queries.
    """
    references, total = batch.reference_frames, batch.frames.shape[1]
    features = model.encode_sequences(batch.frames, references)
    slots = list(range(batch.masks.shape[0 if model.one_object_per_canvas else 2]))
    step = model.frames_per_call(None) if model.refines_in_training else total - references
    starts = range(references, total, step)
    stretches = features.split([1] * references + [min(step, total - start) for start in starts])
    memory = model.initialise(model.new_memory(), stretches[0], batch.masks[:, :1], slots)
    for t in range(1, references):
        memory = model.update(memory, stretches[t], batch.masks[:, t : t + 1])
    logits: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {}
    written = references - 1
    for start, clip in zip(starts, stretches[references:], strict=True):
        stop = min(start + step, total)
        readout = model.read(memory, clip)
        logits.append(model.decode(readout, clip))
        for name, value in model.readout_extras(readout).items():
            kept.setdefault(name, []).append(value)
        if not model.refines_in_training or stop == total:
            continue
        frames = range(start, stop)
        due = model.frames_to_write([t - references + 1 for t in frames], [t - written for t in frames], False, None)
        if due:
            written = frames[due[-1]]
            masks = model.merge_training(logits[-1], batch.valid)[:, due]
            memory = model.update(memory, model.retain(clip, readout).pick(due), masks)
    joined = torch.cat(logits, dim=1)
    extras = {name: torch.cat(values, dim=1) for name, values in kept.items()}
    extras.update(model.unroll_extras(memory, features, joined, batch))
    return Unrolled(joined, batch.masks[:, references:], extras)


def no_box_encoder() -> UsageError:
    """The error for a box that is given to a model that takes none."""
    return UsageError("this model starts from masks, not boxes; give --mask, or use weights with a box encoder")
