"""Methods whose schedule, merge and clips are attributes and methods of their own, as the contract had it at first.

They keep working: their hooks become the parts `schedule`, `merging` and `clips`, and a warning names the change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from types import MethodType
from typing import Any

from torch import Tensor

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded, as_decoded
from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.merge import MergeRule
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import AnyTargetModel
from vos_zoo.engine.track_settings import TrackSettings

_HOOKS = {
    "schedule": (*(f.name for f in fields(WriteSchedule)), "frames_per_call", "is_due", "frames_to_write"),
    "merging": (*(f.name for f in fields(MergeRule)), "merge", "merge_training", "overlay"),
    "clips": ("plan_clip", "retain", "readout_extras"),
}


def adapt_former_hooks(model: AnyTargetModel) -> None:
    """Give a method that has hooks of the first contract the parts that call them; others stay as they are."""
    found = {part: [name for name in names if hasattr(model, name)] for part, names in _HOOKS.items()}
    parts = {part: names for part, names in found.items() if names}
    for part, names in parts.items():
        warnings.warn(
            f"{type(model).__name__} has {', '.join(names)}, which the part `{part}` of a TargetModel holds now; see "
            "docs/adding-a-method.md",
            DeprecationWarning,
            stacklevel=2,
        )
    if "schedule" in parts:
        model.schedule = _FormerSchedule(model, **_values(model, WriteSchedule))
    if "merging" in parts:
        model.merging = _FormerMerge(model, **_values(model, MergeRule))
    if "clips" in parts:
        model.clips = _FormerClips(model)
    if "readout_extras" in parts.get("clips", ()):
        model.decode = MethodType(_decode_with_extras, model)  # type: ignore[method-assign]


def _values(model: AnyTargetModel, part: type[WriteSchedule] | type[MergeRule]) -> dict[str, Any]:
    """The fields of a part that the model has as attributes."""
    return {f.name: getattr(model, f.name) for f in fields(part) if hasattr(model, f.name)}


def _hook(model: Any, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    """The model's own hook, or what the part does by itself."""
    return getattr(model, name, default)


class _FormerSchedule(WriteSchedule):
    """A schedule that asks the model."""

    model: AnyTargetModel

    def __init__(self, model: AnyTargetModel, **values: Any) -> None:
        super().__init__(**values)
        object.__setattr__(self, "model", model)

    def frames_per_call(self, settings: TrackSettings | None) -> int:
        return _hook(self.model, "frames_per_call", super().frames_per_call)(settings)

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        return _hook(self.model, "is_due", super().is_due)(age, settings)

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        own = _hook(self.model, "frames_to_write", super().frames_to_write)
        return own(ages, since, prompted, settings)


class _FormerMerge(MergeRule):
    """A merge rule that asks the model."""

    model: AnyTargetModel

    def __init__(self, model: AnyTargetModel, **values: Any) -> None:
        super().__init__(**values)
        object.__setattr__(self, "model", model)

    def merge(self, logits: Tensor) -> Tensor:
        return _hook(self.model, "merge", super().merge)(logits)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        own = _hook(self.model, "merge_training", super().merge_training)
        return own(logits, valid)

    def overlay(self, probabilities: Tensor, masks: Tensor, slots: Sequence[int]) -> Tensor:
        own = _hook(self.model, "overlay", super().overlay)
        return own(probabilities, masks, slots)


@dataclass(frozen=True)
class _FormerClips(ClipPlanner[Features, object]):
    """A planner that asks the model."""

    model: AnyTargetModel

    def plan(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        return _hook(self.model, "plan_clip", super().plan)(length, needed, settings)

    def retain(self, features: Features, readout: object, decoded: Decoded) -> Features:
        own = getattr(self.model, "retain", None)
        return super().retain(features, readout, decoded) if own is None else own(features, readout)


def _decode_with_extras(self: Any, readout: object, features: Features) -> Decoded:
    """The class's `decode` together with the model's `readout_extras`."""
    decoded = as_decoded(type(self).decode(self, readout, features))
    return replace(decoded, extras=self.readout_extras(readout))
