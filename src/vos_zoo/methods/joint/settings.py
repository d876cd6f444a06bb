"""Inference settings of JOINT (docs/methods/joint.md, "Inference settings")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.config.settings.rules import setting
from vos_zoo.methods._few_shot.target import LearnerTrackSettings


@dataclass(frozen=True)
class JointTrackSettings(LearnerTrackSettings):
    """Inference settings; see `LearnerTrackSettings` for the rest."""

    capacity: int = setting(20, "memory frames per object, the first one included", minimum=2)
    write_every: int = setting(
        5, "every n-th frame of an object, counted from 1, stores the frame before it", minimum=1
    )
    incremental: bool = setting(
        True,
        "update the encoder's sums at every write instead of encoding the whole memory again; the result is equal up "
        "to rounding, for about a third more memory",
    )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"incremental": False},
    "stream": {},
    "davis": {"write_every": 3},
    "youtube_vos": {"write_every": 5},
}
"""The two published intervals (nothing else differs between the authors' two settings files)."""
