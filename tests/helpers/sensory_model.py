"""A method of XMem's kind: working memory with usage counts, and a sensory state that decoding updates.

It has no part in the engine: what a clip leaves behind goes through `Decoded.state` and `carry`. It is the example of
a method from another package that needs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.features import Features
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.engine.views import FullFrame
from vos_zoo.nn.precision import full_precision, in_full_precision
from vos_zoo.registry import MethodInfo
from vos_zoo.types import Batch, UsageError

METHOD = MethodInfo(
    name="sensory",
    title="Sensory",
    paper="Working memory and a sensory state",
    year=2026,
    url="https://example.org",
    licence_note="none",
    summary="Attends to the frames it used most, and carries a hidden state.",
    target_model="tests.helpers.sensory_model:SensoryModel",
)


@dataclass(frozen=True)
class WorkingFrame:
    """One frame in working memory.

    Attributes:
        key: ``(B, P, C)``, P positions.
        value: ``(B, K, P, C)``, zero for objects that it does not know.
        known: the objects that it knows.
        usage: attention it was given so far, ``(B,)``.
        reads: frames that were read since it was written.
        pinned: an object starts here.
    """

    key: Tensor
    value: Tensor
    known: frozenset[int]
    usage: Tensor
    reads: int = 0
    pinned: bool = False

    def objects(self, origin: Sequence[int | None]) -> WorkingFrame:
        """The frame with these objects, in this order; it knows nothing of None."""
        empty = torch.zeros_like(self.value[:, :1])
        rows = [empty if slot is None else self.value[:, slot : slot + 1] for slot in origin]
        known = frozenset(row for row, slot in enumerate(origin) if slot is not None and slot in self.known)
        return replace(self, value=torch.cat(rows, dim=1), known=known)


@dataclass(frozen=True)
class SensoryMemory:
    """Frames in working memory, and the sensory state ``(B, K, C, h/8, w/8)`` of the objects."""

    sensory: Tensor
    frames: tuple[WorkingFrame, ...] = ()
    capacity: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = [self.sensory, *(t for frame in self.frames for t in (frame.key, frame.value, frame.usage))]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def objects(self, origin: Sequence[int | None]) -> SensoryMemory:
        """The memory with these objects, in this order; None is a new one. Frames that know nobody are forgotten."""
        batch, _, *shape = self.sensory.shape
        empty = self.sensory.new_zeros(batch, 1, *shape)
        rows = [empty if slot is None else self.sensory[:, slot : slot + 1] for slot in origin]
        frames = tuple(frame for frame in (own.objects(origin) for own in self.frames) if frame.known)
        return replace(self, sensory=torch.cat(rows, dim=1), frames=frames)

    def drop(self, slots: Sequence[int]) -> SensoryMemory:
        """The memory without the objects in `slots`."""
        kept: list[int | None] = [slot for slot in range(self.sensory.shape[1]) if slot not in set(slots)]
        return self.objects(kept) if kept else replace(self, sensory=self.sensory[:, :0], frames=())

    def to(self, device: torch.device | str) -> SensoryMemory:
        """The same memory on `device`."""
        frames = tuple(
            replace(own, key=own.key.to(device), value=own.value.to(device), usage=own.usage.to(device))
            for own in self.frames
        )
        return replace(self, sensory=self.sensory.to(device), frames=frames)

    def write(self, frame: WorkingFrame) -> SensoryMemory:
        """Add a frame; where there are too many, the one that was used least per read is evicted."""
        frames = [*self.frames, frame]
        free = [own for own in frames[:-1] if not own.pinned]
        if self.capacity is not None and len(free) >= self.capacity:
            least = min(free, key=lambda own: float(own.usage.sum()) / max(own.reads, 1))
            frames = [own for own in frames if own is not least]
        return replace(self, frames=tuple(frames))


@dataclass(frozen=True)
class SensoryTrackSettings(TrackSettings):
    """How many predicted frames working memory holds; None: all."""

    capacity: int | None = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.capacity is not None and self.capacity < 1:
            raise UsageError(f"track.capacity is {self.capacity}; it must be at least 1")


@dataclass(frozen=True)
class SensoryFeatures(Features):
    """Features at stride 8, and what is compared, ``(B, T, P, C)``."""

    f8: Tensor
    keys: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class SensoryReadout:
    """What was read, ``(B, T, K, C, h/8, w/8)``, the sensory state ``(B, K, C, h/8, w/8)``, and the frames' usage."""

    values: Tensor
    sensory: Tensor
    usage: tuple[Tensor, ...]


class SensoryModel(TargetModel[SensoryMemory, SensoryFeatures, SensoryReadout]):
    """Attention over working memory, decoded together with a hidden state that every frame updates.

    Args:
        width: feature channels.
        backbone_weights: kept for the interface; there are none.
    """

    settings_type: ClassVar[type[TrackSettings]] = SensoryTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"capacity": None}, "stream": {}}
    contract_settings: ClassVar[Mapping[str, Any]] = {
        "model": {"width": 6},
        "track": {},
        "frozen": ("backbone",),
        "slots": 2,
    }
    schedule = WriteSchedule(memory_every=2)
    one_object_per_canvas = False

    def __init__(self, width: int = 6, backbone_weights: str | None = None) -> None:
        super().__init__()
        assert backbone_weights is None
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 5, 4, 2), nn.BatchNorm2d(width), nn.Softplus())
        self.key = nn.Conv2d(width, width, 1)
        self.value = nn.Conv2d(width + 1, width, 3, 1, 1)
        self.gate = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.candidate = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.head = nn.Conv2d(2 * width, 1, 3, 1, 1)

    def encode(self, frames: Tensor) -> SensoryFeatures:
        """Stride 8 of a shallow network, and its keys."""
        clip = frames.shape[:2]
        f8 = F.avg_pool2d(self.backbone(frames.flatten(0, 1) / 128 - 1), 2)
        keys = full_precision(self.key(f8)).flatten(2).transpose(1, 2)
        return SensoryFeatures(frames, f8=f8.unflatten(0, clip), keys=keys.unflatten(0, clip))

    def new_memory(self, settings: TrackSettings | None = None) -> SensoryMemory:
        """No object."""
        capacity = settings.capacity if isinstance(settings, SensoryTrackSettings) else None
        return SensoryMemory(self.head.weight.new_zeros(1, 0, self.key.out_channels, 1, 1), capacity=capacity)

    def initialise(
        self, memory: SensoryMemory, features: SensoryFeatures, masks: Tensor, new: Sequence[int]
    ) -> SensoryMemory:
        """Objects start without a sensory state; their frame stays."""
        known = memory.sensory.shape[1]
        if known == 0:
            memory = replace(memory, sensory=full_precision(features.f8)[:, :0])
        total = max(known, *(slot + 1 for slot in new))
        memory = memory.objects([slot if slot < known and slot not in new else None for slot in range(total)])
        padded = F.pad(masks[:, 0], (0, 0, 0, 0, 0, total - masks.shape[2]))
        return memory.write(self._frame(features, 0, padded, new, pinned=True))

    def read(self, memory: SensoryMemory, features: SensoryFeatures) -> SensoryReadout:
        """Each object attends to the frames that know it."""
        queries, size = features.keys, features.f8.shape[-2:]
        values, usage = [], [torch.zeros_like(frame.usage) for frame in memory.frames]
        with in_full_precision(queries):
            for slot in range(memory.sensory.shape[1]):
                places = [place for place, frame in enumerate(memory.frames) if slot in frame.known]
                keys = torch.cat([memory.frames[place].key for place in places], dim=1)
                owned = torch.cat([memory.frames[place].value[:, slot] for place in places], dim=1)
                weights = (queries.flatten(1, 2) @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(dim=-1)
                values.append((weights @ owned).unflatten(1, queries.shape[1:3]).transpose(2, 3).unflatten(3, size))
                shares = weights.detach().unflatten(2, (len(places), -1)).sum(dim=(1, 3))
                for place, share in zip(places, shares.unbind(dim=1), strict=True):
                    usage[place] = usage[place] + share
        return SensoryReadout(torch.stack(values, dim=2), memory.sensory, tuple(usage))

    def decode(self, readout: SensoryReadout, features: SensoryFeatures) -> Decoded:
        """Logits ``(B, T, K, h, w)``; the sensory state after the last frame goes into the next clip."""
        state, logits, size = readout.sensory, [], features.pixels.shape[-2:]
        for values in readout.values.unbind(dim=1):
            seen = torch.cat([values, state], dim=2).flatten(0, 1)
            maps = F.interpolate(self.head(seen), size, mode="bilinear", align_corners=False)
            logits.append(maps.view(*values.shape[:2], *size))
            gate, candidate = full_precision(self.gate(seen)).sigmoid(), full_precision(self.candidate(seen)).tanh()
            state = state + gate.view_as(state) * (candidate.view_as(state) - state)
        return Decoded(torch.stack(logits, dim=1), state={"sensory": state})

    def carry(self, memory: SensoryMemory, readout: SensoryReadout, decoded: Decoded) -> SensoryMemory:
        """The new sensory state, and what the frames were used."""
        count = decoded.logits.shape[1]
        frames = tuple(
            replace(frame, usage=frame.usage + share, reads=frame.reads + count)
            for frame, share in zip(memory.frames, readout.usage, strict=True)
        )
        return replace(memory, sensory=decoded.state["sensory"], frames=frames)

    def update(
        self, memory: SensoryMemory, features: SensoryFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> SensoryMemory:
        """Remember frames for all objects."""
        for t in range(masks.shape[1]):
            memory = memory.write(self._frame(features, t, masks[:, t], range(masks.shape[2])))
        return memory

    def _frame(
        self, features: SensoryFeatures, t: int, masks: Tensor, known: Sequence[int], pinned: bool = False
    ) -> WorkingFrame:
        """Frame t of a clip with the masks ``(B, K, h, w)`` of the objects that it knows."""
        f8, objects = features.f8[:, t], masks.shape[1]
        small = F.interpolate(masks.to(f8), f8.shape[-2:], mode="area").flatten(0, 1)[:, None]
        seen = torch.cat([f8.repeat_interleave(objects, 0), small], dim=1)
        values = full_precision(self.value(seen)).flatten(2).transpose(1, 2).unflatten(0, (-1, objects))
        return WorkingFrame(features.keys[:, t], values, frozenset(known), values.new_zeros(len(f8)), pinned=pinned)

    def make_view(self, settings: TrackSettings) -> FullFrame:
        """The whole frame."""
        return FullFrame(8, pad_value=(128.0, 128.0, 128.0))

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy of the slots that hold an object."""
        valid = batch.valid[:, None, :, None, None].expand_as(unrolled.logits)
        return {"bce": F.binary_cross_entropy_with_logits(unrolled.logits[valid], unrolled.truth[valid])}
