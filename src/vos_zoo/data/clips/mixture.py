"""Parts of the `data` configuration as settings objects, and the data sets of a training mixture."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from vos_zoo.types import UsageError

Settings = TypeVar("Settings")


def build_settings(kind: type[Settings], given: Mapping[str, Any] | None, key: str) -> Settings:
    """A settings object from a part of the configuration.

    Raises:
        UsageError: an unknown key (the nearest is proposed) or a value the settings refuse.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every settings class is a dataclass
    for name in given or {}:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {key}.{near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"unknown key {key}.{name}; {hint}")
    return kind(**dict(given or {}))


@dataclass(frozen=True)
class MixturePart:
    """A data set of a training mixture.

    Attributes:
        name: which data set.
        root: its folder.
        split: the split to train on.
        weight: its share of the clips, relative to the others' weights.
        mask_threshold: the smallest level of the one object of masks with soft edges; None reads object ids.
        repeats: instead of a weight: its videos count so many times, so that its share is this times their number.
        year: DAVIS: 2016 or 2017; YouTube-VOS: 2018 or 2019.
        resolution: DAVIS: sub-folder of the resolution.
        layout: YouTube-VOS: folder of a split below the root; None finds it.
        sequences: use only these videos or pictures.
        frame_step: video frames per frame of the data set; None asks it.
    """

    name: str
    root: str | None = None
    split: str = "train"
    weight: float = 1.0
    year: int = 2017
    resolution: str = "480p"
    layout: str | None = None
    sequences: Sequence[str] | None = None
    frame_step: int | None = None
    repeats: float | None = None
    mask_threshold: int | None = None

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not self.weight > 0:
            raise UsageError(f"data.mixture: weight {self.weight} of {self.name!r} must be above 0; null takes it away")
        if self.frame_step is not None and self.frame_step < 1:
            raise UsageError(f"data.mixture: frame_step {self.frame_step} of {self.name!r} must be at least 1")
        if self.repeats is not None and not self.repeats > 0:
            raise UsageError(f"data.mixture: repeats {self.repeats} of {self.name!r} must be above 0")


def mixture_weights(parts: Sequence[MixturePart], videos: Sequence[int]) -> list[float] | None:
    """The weight of every part, which holds so many `videos`; None for a mixture of none.

    Raises:
        UsageError: some parts are weighed by repeats and others are not.
    """
    if any(part.repeats is not None for part in parts):
        plain = [part.name for part in parts if part.repeats is None]
        if plain:
            raise UsageError(f"data.mixture: repeats are given, but not for {plain[0]!r}; give repeats to all or none")
        return [float(part.repeats or 0) * count for part, count in zip(parts, videos, strict=True)]
    return [part.weight for part in parts] or None


def build_mixture(given: Mapping[str, Mapping[str, Any] | None] | None) -> dict[str, MixturePart]:
    """The parts of `data.mixture` by label; those that are None are left out.

    Raises:
        UsageError: a part that is no mapping, or one of `build_settings`.
    """
    parts = {}
    for label, part in (given or {}).items():
        key = f"data.mixture.{label}"
        if part is not None and not isinstance(part, Mapping):
            raise UsageError(f"{key}: {part!r} must be keys and values, such as {key}.root=FOLDER")
        if part is not None:
            parts[str(label)] = build_settings(MixturePart, {"name": label, **part}, key)
    return parts
