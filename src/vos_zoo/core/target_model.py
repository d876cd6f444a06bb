"""The six verbs every method implements, and the features they pass around."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vos_zoo.core.memory import Memory
from vos_zoo.core.merge import soft_aggregation
from vos_zoo.core.views import View
from vos_zoo.types import Batch, UsageError


@dataclass(frozen=True)
class Features:
    """All that depends on pixels only: the canvases and their feature pyramid.

    Several objects may look at the same canvas (their search windows coincide). Tensors are kept per *canvas*, ``U`` of
    them; `window` says which canvas each of the ``B`` objects looks at. Methods derive from this class to add features.

    Attributes:
        pixels: float32 RGB ``(U, T, 3, h, w)``, 0..255: label generators and value encoders need image and mask.
        f4, f8, f16, f32: backbone features ``(U, T, C, h/s, w/s)``, the name says the stride s.
        window: int64 ``(B,)``, canvas of each object; None: object b looks at canvas b.
    """

    pixels: Tensor
    f4: Tensor
    f8: Tensor
    f16: Tensor
    f32: Tensor
    window: Tensor | None = None

    def spread(self, window: Tensor | None) -> Self:
        """The same features with each object's canvas named by `window` ``(B,)``; nothing is copied."""
        return replace(self, window=window)

    def gather(self, tensor: Tensor) -> Tensor:
        """A tensor that depends on the canvas only, ``(U, ...)``, repeated for the objects, ``(B, ...)``."""
        if self.window is None:
            return tensor
        if tensor.shape[0] == 1:
            return tensor.expand(len(self.window), *tensor.shape[1:])
        return tensor[self.window]

    def rows(self, rows: Sequence[int]) -> Self:
        """The features as seen by the objects `rows` only."""
        window = torch.arange(self.pixels.shape[0], device=self.pixels.device) if self.window is None else self.window
        return self.spread(window[list(rows)])

    def frames(self, start: int, stop: int | None) -> Self:
        """Frames `start` to `stop` of the clip (None: to its end)."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "window"}
        return replace(self, **{name: value[:, start:stop] for name, value in kept.items() if value is not None})


@dataclass(frozen=True)
class TrackSettings:
    """Settings of an inference run that every method has; methods derive from it and add their own.

    Attributes:
        group_size: at most so many objects go through the network together (bounds peak memory).
        precision: "float32", "bf16" or "fp16": the number format of the networks' convolutions (autocast); learners,
            merges and geometry stay in float32.
    """

    group_size: int = 8
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise UsageError(f"track.group_size is {self.group_size}; it must be at least 1")
        if self.precision not in ("float32", "bf16", "fp16"):
            raise UsageError(f"track.precision is {self.precision!r}; choose float32, bf16 or fp16")


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
    and training back-propagates through the memory. Axes as in `vos_zoo.types`.

    Attributes:
        settings_type: dataclass of the inference settings.
        presets: named bundles of inference settings; "paper" (as published) and "stream" (bounded memory) always exist.
        initial_weights: hyper-parameters that only say how fresh weights are made; they are not saved.
        one_object_per_canvas: objects are canvases (``B = N, K = 1``); False: objects are slots of one canvas.
        clip_length: frames read per call.
        memory_every: write at most every n-th frame.
        write_on_prompt: also store a frame in which somebody gives a mask.
        refines_in_training: whether the unroll updates the memory between query frames.
    """

    settings_type: ClassVar[type[TrackSettings]] = TrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}}
    initial_weights: ClassVar[tuple[str, ...]] = ("backbone_weights",)
    one_object_per_canvas: bool = True
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

    @abstractmethod
    def new_memory(self, settings: TrackSettings | None = None) -> Memory:
        """An empty memory that follows `settings`; None: the policy of the training unroll."""

    @abstractmethod
    def initialise(self, memory: Any, features: Any, masks: Tensor, new: Sequence[int]) -> Any:
        """Take up objects.

        Args:
            memory: memory of the objects known so far.
            features: features of the canvases on which objects start.
            masks: ``(B, 1, K, h, w)``, 0..1; on a full frame K = 1 + the highest slot in `new`, other slots empty.
            new: the slots that start here; a known slot starts anew.
        """

    @abstractmethod
    def read(self, memory: Any, features: Any) -> Tensor:
        """What the memory says about the frames, ``(B, T, K, C, h/s, w/s)``."""

    @abstractmethod
    def decode(self, readout: Tensor, features: Any) -> Tensor:
        """Mask logits ``(B, T, K, h, w)``."""

    @abstractmethod
    def update(self, memory: Any, features: Any, masks: Tensor, rows: Sequence[int] | None = None) -> Any:
        """Learn from a prediction.

        Args:
            memory: memory of all objects.
            features: features of the canvases that were read, of the objects `rows`.
            masks: merged probabilities on these canvases, ``(B, T, K, h, w)``.
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
        from vos_zoo.core.unroll import unroll

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

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        """Whether a frame is written, `age` frames after the object (or prompt) it belongs to."""
        return age >= 1 and age % self.memory_every == 0

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Full-frame mask logits ``(N, H, W)`` of objects that are given as boxes.

        Args:
            frame: float RGB ``(3, H, W)``, 0..255.
            boxes: ``(N, 4)``, x y w h in pixels.

        Raises:
            UsageError: the method or its weights cannot start from boxes.
        """
        raise UsageError("this model starts from masks, not boxes; give --mask, or use weights with a box encoder")

    def merge(self, logits: Tensor) -> Tensor:
        """Logits of all objects on the plane where they meet, ``(T, N, H, W)`` -> probabilities ``(T, N+1, H, W)``."""
        return soft_aggregation(logits)

    def merge_training(self, logits: Tensor) -> Tensor:
        """Training counterpart of `merge`: logits ``(B, T, K, h, w)`` -> mask probabilities of the same shape."""
        return logits.detach().sigmoid()

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
