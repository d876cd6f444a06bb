"""Inference settings of PCVOS (docs/methods/pcvos.md, "Inference")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.config.settings.rules import setting
from vos_zoo.engine.target_model import TrackSettings

CLIP_LENGTHS = (5, 10, 15, 25)
"""The published clip lengths (sec. 4.3, Table 1)."""


@dataclass(frozen=True)
class PCVOSTrackSettings(TrackSettings):
    """Inference settings."""

    clip_length: int = setting(5, "frames L of a clip (sec. 3.2); 1 runs frame by frame", minimum=1)
    memory_every: int | None = setting(None, "interval between stored frames; null for L", minimum=1)
    capacity: int | None = setting(
        20,
        "number of stored frames, the first of every object among them; null for no bound",
        minimum=2,
        cure="null keeps all frames",
    )
    top_k: int | None = setting(
        20, "memory positions that a query position reads; null for all, as in training", minimum=1
    )
    progressive: bool = setting(
        True, "progressive matching: later segments of a clip also read earlier ones (sec. 3.4)"
    )
    segment: int = setting(5, "frames F of such a segment", minimum=1)
    short_edge: int | None = setting(
        None, "frames are resized so that the shorter side has this length; null keeps the size", minimum=1
    )
    block_megabytes: int | None = setting(
        None, "approximate megabytes of similarities at a time; null is chosen for the device", minimum=1
    )

    @property
    def interval(self) -> int:
        """Frames from one stored frame to the next."""
        return self.memory_every or self.clip_length


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"capacity": None},
    "stream": {},
    **{f"clip{length}": {"clip_length": length, "capacity": None} for length in CLIP_LENGTHS},
    "davis": {"capacity": None},
    "youtube_vos": {"capacity": None, "short_edge": 480},
}
"""As published the memory grows ("paper", the clip lengths and both data sets); "stream" is bounded."""
