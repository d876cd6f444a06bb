"""The steps of a frame as modules from tensors to tensors: start, encode, read and decode.

The canvas is the whole frame, padded, for every method: search regions move with the objects, which a fixed graph
cannot. The memory is that of the first frame, so that its tensors have fixed shapes. Traced with gradients switched on,
networks compute by plain operations that write nothing in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.engine.decoded import as_decoded
from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.memory import Memory
from vos_zoo.engine.target_model import AnyTargetModel, TargetModel, TrackSettings
from vos_zoo.engine.views import Canvases, FullFrame, ObjectFrames
from vos_zoo.export.flat import ValueT, named_tensors, with_tensors
from vos_zoo.types import UsageError

_FIXED = {"clip_length": 1, "short_edge": None, "flip": False, "support_mode": "first"}


def fixed_settings(network: AnyTargetModel, given: Mapping[str, Any]) -> TrackSettings:
    """The inference settings of the exported steps: `given`, with frames one by one and of their own size."""
    known = {f.name for f in fields(network.settings_type)}
    return network.track_settings(**{**given, **{name: value for name, value in _FIXED.items() if name in known}})


def whole_frame(network: AnyTargetModel, settings: TrackSettings) -> FullFrame:
    """The view of the exported steps: whole frames, padded to multiples of 16 or what the method says."""
    own = network.make_view(settings)
    if type(own) is FullFrame:
        return own
    if not network.one_object_per_canvas:
        raise UsageError(f"its view, {type(own).__name__}, is not the whole frame")
    return ObjectFrames(16)


@dataclass(frozen=True)
class Setup:
    """What all steps share.

    Attributes:
        network: in eval mode, with plain operations.
        settings: `fixed_settings`.
        view: `whole_frame`.
        objects: number of objects.
    """

    network: AnyTargetModel
    settings: TrackSettings
    view: FullFrame
    objects: int

    def canvases(self, pixels: Tensor) -> Canvases:
        """The one canvas of a padded frame ``(1, 3, h, w)`` for all objects."""
        window = None
        if self.network.one_object_per_canvas:
            window = torch.zeros(self.objects, dtype=torch.int64, device=pixels.device)
        return Canvases(pixels[None], window, tuple(range(self.objects)))

    def new_memory(self) -> Memory:
        """An empty memory; with a canvas per object one that grows, as in training, with the settings of inference."""
        memory: Memory = self.network.new_memory(self.settings)
        if self.network.one_object_per_canvas:
            return _with_schedule(self.network.new_memory(None), memory)
        return memory

    def encode(self, pixels: Tensor) -> Features:
        """Features of a padded frame ``(1, 3, h, w)``, 0..255."""
        canvases = self.canvases(pixels)
        features: Features = self.network.encode(canvases.pixels)
        return replace(features.spread(canvases.window), plan=ClipPlan.whole(1))


class Encode(nn.Module):
    """A padded frame, float RGB ``(1, 3, h, w)``, 0..255 -> the tensors of its features."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.network, self.setup = setup.network, setup

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The tensors in the order of `named_tensors`."""
        return tuple(named_tensors(self.setup.encode(pixels)).values())


class Start(nn.Module):
    """A padded frame and the masks of all objects on it, ``(N, h, w)``, 0 or 1 -> the tensors of the memory."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.network, self.setup = setup.network, setup

    def start(self, pixels: Tensor, masks: Tensor) -> Memory:
        """The memory."""
        network, slots = self.network, list(range(self.setup.objects))
        features = replace(self.setup.encode(pixels), plan=None)
        if network.merging.given_masks == "overlaid":
            empty = torch.cat([torch.ones_like(masks[:1]), torch.zeros_like(masks)])
            masks = network.merging.overlay(empty, masks, slots)[1:]
        placed = masks[:, None, None] if network.one_object_per_canvas else masks[None, None]
        return network.initialise(self.setup.new_memory(), features, placed, slots)

    def forward(self, pixels: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """The tensors in the order of `named_tensors`."""
        return tuple(named_tensors(self.start(pixels, masks)).values())


class Read(nn.Module):
    """The tensors of features and memory -> probabilities of background and objects on the canvas, ``(N + 1, h, w)``.

    Args:
        setup: see `Setup`.
        features: their structure, with tensors of the right shapes.
        memory: the same.

    Attributes:
        inputs: names of the tensors, in order.
    """

    def __init__(self, setup: Setup, features: Features, memory: Memory) -> None:
        super().__init__()
        self.network, self.setup = setup.network, setup
        self.features, self.memory = features, memory
        self.inputs = [*named_tensors(features, "features"), *named_tensors(memory, "memory")]

    def forward(self, *tensors: Tensor) -> Tensor:
        """Read, decode and merge."""
        given = dict(zip(self.inputs, tensors, strict=True))
        features = with_tensors(self.features, given, "features")
        memory = with_tensors(self.memory, given, "memory")
        decoded = as_decoded(self.network.decode(self.network.read(memory, features), features))
        logits = self.setup.view.lift(decoded.logits, self.setup.canvases(features.pixels[0]))
        merged: Tensor = self.network.merging.merge(logits)[0]
        return merged


def _with_schedule(memory: ValueT, settings: ValueT) -> ValueT:
    """A memory with the learner's schedule of another one, wherever nested memories have one."""
    parts = [f.name for f in fields(memory) if is_dataclass(getattr(memory, f.name))]  # type: ignore[arg-type]
    changed = {}
    for name in parts:
        own, other = getattr(memory, name), getattr(settings, name)
        changed[name] = other if name == "schedule" else _with_schedule(own, other)
    return replace(memory, **changed)  # type: ignore[type-var]


def check_exportable(network: AnyTargetModel) -> None:
    """Check that the steps are all there is to a frame.

    Raises:
        UsageError: the method carries a state from frame to frame.
    """
    if type(network).carry is not TargetModel.carry:
        raise UsageError("it carries a state from frame to frame")
