"""A method as unlike the search-region trackers as can be: full frame, K slots on one canvas, clips of three frames.

It proves that the engine, the unroll and the contract suite know nothing of any method. It is also the example of a
method from another package: `METHOD` below is what such a package's entry point names, and `contract_settings` on the
target model is how it takes part in the contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.engine.features import Features
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.engine.views import FullFrame
from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.nn.precision import full_precision
from vos_zoo.registry import MethodInfo
from vos_zoo.types import Batch

METHOD = MethodInfo(
    name="toy",
    title="Toy",
    paper="Prototypes of colour",
    year=2026,
    url="https://example.org",
    licence_note="none",
    summary="Remembers one mean feature per object slot.",
    target_model="tests.helpers.toy_model:ToyModel",
)


@dataclass(frozen=True)
class Event:
    """One call that changed a memory.

    Attributes:
        verb: "initialise" or "update".
        frames: number of frames in the clip.
        canvas: (h, w).
        masks: what was given, ``(B, T, K, h, w)``.
        slots: `new` or `rows`.
    """

    verb: str
    frames: int
    canvas: tuple[int, int]
    masks: Tensor
    slots: tuple[int, ...] | None


@dataclass(frozen=True)
class ToyMemory:
    """A prototype per slot, ``(B, K, C)``, and the last few calls that led to it."""

    prototypes: Tensor
    events: tuple[Event, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the prototypes; the record is for the tests only."""
        return self.prototypes.numel() * self.prototypes.element_size()

    def drop(self, slots: Sequence[int]) -> ToyMemory:
        """The memory without the objects in `slots`."""
        kept = [slot for slot in range(self.prototypes.shape[1]) if slot not in set(slots)]
        return replace(self, prototypes=self.prototypes[:, kept])

    def to(self, device: torch.device | str) -> ToyMemory:
        """The same memory on `device`."""
        return replace(self, prototypes=self.prototypes.to(device))


@dataclass(frozen=True)
class ToyTrackSettings(TrackSettings):
    """Shorter side of the canvas, and the multiple it is padded to."""

    short_edge: int | None = 48
    multiple: int = 32


class ToyModel(TargetModel[ToyMemory, Features, Tensor]):
    """Similarity to a mean feature per object.

    Args:
        channels: feature channels.
        backbone_weights: kept for the interface; the toy has none.
    """

    settings_type: ClassVar[type[TrackSettings]] = ToyTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "stream": {}}
    contract_settings: ClassVar[Mapping[str, Any]] = {
        "model": {"channels": 6},
        "track": {"short_edge": 48, "multiple": 32},
        "frozen": ("backbone",),
        "slots": 2,
    }
    schedule = WriteSchedule(clip_length=3)
    one_object_per_canvas = False

    def __init__(self, channels: int = 6, backbone_weights: str | None = None) -> None:
        super().__init__()
        assert backbone_weights is None
        self.backbone = nn.Sequential(nn.Conv2d(3, channels, 5, 2, 2), nn.BatchNorm2d(channels), nn.Softplus())
        self.mixer = nn.Conv2d(channels, channels, 3, 1, 1)
        self.norm = FrozenBatchNorm2d(channels)
        self.head = nn.Conv2d(channels, 1, 3, 1, 1)

    def encode(self, frames: Tensor) -> Features:
        """Stride 4 of a shallow network."""
        clip = frames.shape[:2]
        f4 = self.norm(self.mixer(F.avg_pool2d(self.backbone(frames.flatten(0, 1) / 128 - 1), 2)))
        return Features(frames, f4.unflatten(0, clip))

    def new_memory(self, settings: TrackSettings | None = None) -> ToyMemory:
        """No object."""
        return ToyMemory(self.head.weight.new_zeros(1, 0, self.mixer.out_channels))

    def initialise(self, memory: ToyMemory, features: Features, masks: Tensor, new: Sequence[int]) -> ToyMemory:
        """Prototypes of the slots `new`; the other channels of `masks` say nothing."""
        batch, _, slots = masks.shape[:3]
        known = memory.prototypes.shape[1]
        fresh = self._pool(features, masks)
        if known == 0:
            memory = replace(memory, prototypes=fresh.new_zeros(batch, 0, fresh.shape[-1]))
        rows = [
            fresh[:, slot] if slot in new else memory.prototypes[:, slot]
            for slot in range(max(known, slots))
            if slot in new or slot < known
        ]
        event = Event("initialise", 1, tuple(masks.shape[-2:]), masks.detach().clone(), tuple(new))
        return ToyMemory(torch.stack(rows, dim=1), (*memory.events, event))

    def read(self, memory: ToyMemory, features: Features) -> Tensor:
        """Features weighted by each prototype, ``(B, T, K, C, h/4, w/4)``."""
        return full_precision(features.f4)[:, :, None] * memory.prototypes[:, None, :, :, None, None]

    def decode(self, readout: Tensor, features: Features) -> Tensor:
        """Logits ``(B, T, K, h, w)``."""
        size = features.pixels.shape[-2:]
        logits = F.interpolate(self.head(readout.flatten(0, 2)), size, mode="bilinear", align_corners=False)
        return logits.view(*readout.shape[:3], *size)

    def update(
        self, memory: ToyMemory, features: Features, masks: Tensor, rows: Sequence[int] | None = None
    ) -> ToyMemory:
        """Move the prototypes a little towards what was seen."""
        assert masks.shape[2] == memory.prototypes.shape[1], "one mask channel per known object"
        prototypes = 0.9 * memory.prototypes + 0.1 * self._pool(features, masks)
        event = Event("update", masks.shape[1], tuple(masks.shape[-2:]), masks.detach().clone(), rows)
        return ToyMemory(prototypes, (*memory.events, event)[-8:])

    def _pool(self, features: Features, masks: Tensor) -> Tensor:
        """Mean feature under each mask, ``(B, K, C)``."""
        small = F.interpolate(masks.flatten(0, 1), features.f4.shape[-2:], mode="area").unflatten(0, masks.shape[:2])
        total = torch.einsum("btkhw,btchw->bkc", small, full_precision(features.f4))
        return total / small.sum(dim=(1, 3, 4))[..., None].clamp(min=1e-3)

    def make_view(self, settings: TrackSettings) -> FullFrame:
        """The whole frame."""
        assert isinstance(settings, ToyTrackSettings)
        return FullFrame(settings.multiple, settings.short_edge, pad_value=(128.0, 128.0, 128.0))

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy of the slots that hold an object."""
        valid = batch.valid[:, None, :, None, None].expand_as(unrolled.logits)
        return {"bce": F.binary_cross_entropy_with_logits(unrolled.logits[valid], unrolled.truth[valid])}
