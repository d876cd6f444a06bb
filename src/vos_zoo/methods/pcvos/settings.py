"""Inference settings of PCVOS (docs/methods/pcvos.md, "Inference")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.engine.target_model import TrackSettings
from vos_zoo.types import UsageError

CLIP_LENGTHS = (5, 10, 15, 25)
"""The published clip lengths (sec. 4.3, Table 1)."""


@dataclass(frozen=True)
class PCVOSTrackSettings(TrackSettings):
    """Inference settings.

    Attributes:
        clip_length: frames L of a clip (sec. 3.2); 1 runs frame by frame.
        memory_every: interval between stored frames; None: L.
        capacity: number of stored frames, the first of every object among them; None: unbounded.
        top_k: memory positions that a query position reads; None: all, as in training.
        progressive: progressive matching: later segments of a clip also read earlier ones (sec. 3.4).
        segment: frames F of such a segment.
        short_edge: frames are resized so that the shorter side has this length; None keeps the size.
        block_megabytes: approximate megabytes of similarities at a time; None: chosen for the device.
    """

    clip_length: int = 5
    memory_every: int | None = None
    capacity: int | None = 20
    top_k: int | None = 20
    progressive: bool = True
    segment: int = 5
    short_edge: int | None = None
    block_megabytes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("clip_length", "memory_every", "top_k", "segment", "block_megabytes", "short_edge"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"track.{name} is {value}; it must be at least 1")
        if self.capacity is not None and self.capacity < 2:
            raise UsageError(f"track.capacity is {self.capacity}; it must be at least 2, or null for all frames")

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
