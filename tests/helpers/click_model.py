"""A method of SAM 2's kind: the whole frame once per object, a score of each being in sight, boxes and points.

It has no part in the engine. It is the example of a method from another package that starts from boxes and points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.features import Features
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.engine.views import ObjectFrames
from vos_zoo.nn.precision import full_precision
from vos_zoo.registry import MethodInfo
from vos_zoo.types import Batch, Box, Points

METHOD = MethodInfo(
    name="clicks",
    title="Clicks",
    paper="Objects from clicks",
    year=2026,
    url="https://example.org",
    licence_note="none",
    summary="A pointer per object, and a score of its being in sight.",
    target_model="tests.helpers.click_model:ClickModel",
)
STRIDE = 4


@dataclass(frozen=True)
class Pointers:
    """One pointer per object, ``(N, C)``."""

    pointers: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.pointers.numel() * self.pointers.element_size()

    def drop(self, slots: Sequence[int]) -> Pointers:
        """The memory without the objects in `slots`."""
        return Pointers(self.pointers[[slot for slot in range(len(self.pointers)) if slot not in set(slots)]])

    def to(self, device: torch.device | str) -> Pointers:
        """The same memory on `device`."""
        return Pointers(self.pointers.to(device))


@dataclass(frozen=True)
class ClickFeatures(Features):
    """Unit features ``(U, T, C, h/4, w/4)``, and of a segmented clip the objects' scores ``(B, T)``."""

    units: Tensor = field(kw_only=True)
    seen: Tensor | None = field(default=None, kw_only=True)

    def rows(self, rows: Sequence[int]) -> Self:
        """The features as seen by the objects `rows` only, with their scores."""
        seen = None if self.seen is None else self.seen[list(rows)]
        return replace(super().rows(rows), seen=seen)


class KeepScores(ClipPlanner[ClickFeatures, Tensor]):
    """Writes know the objects' scores."""

    def retain(self, features: ClickFeatures, readout: Tensor, decoded: Decoded) -> ClickFeatures:
        """The features with the scores."""
        assert decoded.scores is not None
        return replace(features, seen=full_precision(decoded.scores[:, :, 0]).detach())


class ClickModel(TargetModel[Pointers, ClickFeatures, Tensor]):
    """Similarity to a pointer per object.

    Args:
        width: feature channels.
        backbone_weights: kept for the interface; there are none.
    """

    contract_settings: ClassVar[Mapping[str, Any]] = {
        "model": {"width": 6},
        "track": {},
        "frozen": ("backbone",),
        "coincident": {},
    }
    clips = KeepScores()

    def __init__(self, width: int = 6, backbone_weights: str | None = None) -> None:
        super().__init__()
        assert backbone_weights is None
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 5, STRIDE, 2), nn.BatchNorm2d(width), nn.Softplus())
        self.mixer = nn.Conv2d(width, width, 3, 1, 1)
        self.head = nn.Conv2d(width, 1, 3, 1, 1)
        self.presence = nn.Linear(width, 1)

    def encode(self, frames: Tensor) -> ClickFeatures:
        """Unit features of the canvases."""
        units = full_precision(self.mixer(self.backbone(frames.flatten(0, 1) / 128 - 1)))
        return ClickFeatures(frames, units=F.normalize(units, dim=1).unflatten(0, frames.shape[:2]))

    def new_memory(self, settings: TrackSettings | None = None) -> Pointers:
        """No object."""
        return Pointers(self.head.weight.new_zeros(0, self.mixer.out_channels))

    def initialise(self, memory: Pointers, features: ClickFeatures, masks: Tensor, new: Sequence[int]) -> Pointers:
        """Pointers of the objects `new`: the mean under the mask, and what was clicked or boxed."""
        fresh = list(self._pool(features, masks).unbind())
        for row, hint in enumerate(features.hints or ()):
            if hint is not None:
                units = features.gather(features.units)[row, 0]
                fresh[row] = F.normalize(fresh[row] + self._pointer(units, hint), dim=0)
        known = len(memory.pointers)
        total = max(known, *(slot + 1 for slot in new))
        return Pointers(torch.stack([fresh[new.index(r)] if r in new else memory.pointers[r] for r in range(total)]))

    def read(self, memory: Pointers, features: ClickFeatures) -> Tensor:
        """Features weighted by each pointer, ``(B, T, 1, C, h/4, w/4)``."""
        return features.gather(features.units)[:, :, None] * memory.pointers[:, None, None, :, None, None]

    def decode(self, readout: Tensor, features: ClickFeatures) -> Decoded:
        """Logits ``(B, T, 1, h, w)`` and scores ``(B, T, 1)``; an object that is not in sight has no pixels."""
        size = features.pixels.shape[-2:]
        maps = F.interpolate(self.head(readout.flatten(0, 2)), size, mode="bilinear", align_corners=False)
        scores = self.presence(readout.amax(dim=(-2, -1)))[..., 0]
        gates = F.logsigmoid(full_precision(scores))
        return Decoded(full_precision(maps).view(*readout.shape[:3], *size) + gates[..., None, None], scores)

    def update(
        self, memory: Pointers, features: ClickFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> Pointers:
        """Pointers follow what was seen of objects that are in sight."""
        learning = range(len(memory.pointers)) if rows is None else rows
        seen, pointers = self._pool(features, masks), list(memory.pointers.unbind())
        shown = 1.0 if features.seen is None else features.seen.sigmoid().mean(dim=1)[:, None]
        for row, own in zip(learning, (0.1 * shown * seen).unbind(), strict=True):
            pointers[row] = F.normalize(pointers[row] + own, dim=0)
        return Pointers(torch.stack(pointers))

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """Logits ``(N, H, W)`` of what looks like the inside of each box."""
        return self._draw(frame, [Box(*box) for box in boxes.tolist()])

    def point_logits(self, frame: Tensor, points: Sequence[Points]) -> Tensor:
        """Logits ``(N, H, W)`` of what looks like the clicked pixels."""
        return self._draw(frame, points)

    def _draw(self, frame: Tensor, hints: Sequence[Box | Points]) -> Tensor:
        features = self.encode(frame[None, None])
        window = torch.zeros(len(hints), dtype=torch.int64, device=frame.device)
        memory = Pointers(torch.stack([self._pointer(features.units[0, 0], hint) for hint in hints]))
        features = features.spread(window)
        return self.decode(self.read(memory, features), features).logits[:, 0, 0]

    def _pointer(self, units: Tensor, hint: Box | Points) -> Tensor:
        """What unit features ``(C, h/4, w/4)`` say at a box or points given in pixels, ``(C,)``."""
        if isinstance(hint, Box):
            top, left = min(int(hint.y) // STRIDE, units.shape[1] - 1), min(int(hint.x) // STRIDE, units.shape[2] - 1)
            bottom, right = int(hint.y + hint.h) // STRIDE + 1, int(hint.x + hint.w) // STRIDE + 1
            return F.normalize(units[:, top:bottom, left:right].flatten(1).mean(dim=1), dim=0)
        total = units.new_zeros(len(units))
        for points, weight in ((hint.positive, 1.0), (hint.negative, -0.5)):
            for x, y in points:
                row, column = min(int(y) // STRIDE, units.shape[1] - 1), min(int(x) // STRIDE, units.shape[2] - 1)
                total = total + weight / len(points) * units[:, row, column]
        return F.normalize(total, dim=0)

    def _pool(self, features: ClickFeatures, masks: Tensor) -> Tensor:
        """Mean unit feature under each object's mask ``(B, T, 1, h, w)``, ``(B, C)``."""
        units = features.gather(features.units)
        small = F.interpolate(masks[:, :, 0], units.shape[-2:], mode="area")
        total = torch.einsum("bthw,btchw->bc", small.to(units), units)
        return F.normalize(total / small.sum(dim=(1, 2, 3))[:, None].clamp(min=1e-3), dim=1)

    def make_view(self, settings: TrackSettings) -> ObjectFrames:
        """The whole frame for each object."""
        return ObjectFrames(8, group_size=settings.group_size)

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy of masks, and of the scores against what is there."""
        shown = (unrolled.truth.flatten(3).amax(dim=3) > 0.5).to(unrolled.logits)
        return {
            "bce": F.binary_cross_entropy_with_logits(unrolled.logits, unrolled.truth),
            "presence": F.binary_cross_entropy_with_logits(full_precision(unrolled.extras["scores"]), shown),
        }
