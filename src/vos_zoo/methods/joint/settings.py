"""Inference settings of JOINT (docs/methods/joint.md, "Inference settings")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.methods._few_shot.target import LearnerTrackSettings
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class JointTrackSettings(LearnerTrackSettings):
    """Inference settings; see `LearnerTrackSettings` for the rest.

    Attributes:
        capacity: memory frames per object, the first one included.
        write_every: every n-th frame of an object, counted from 1, stores the frame before it.
        incremental: update the encoder's sums at every write instead of encoding the whole memory again; the
            result is equal up to rounding, for about a third more memory.
    """

    capacity: int = 20
    write_every: int = 5
    incremental: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.write_every < 1:
            raise UsageError(f"track.write_every is {self.write_every}; it must be at least 1")


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"incremental": False},
    "stream": {},
    "davis": {"write_every": 3},
    "youtube_vos": {"write_every": 5},
}
"""The two published intervals (nothing else differs between the authors' two settings files)."""
