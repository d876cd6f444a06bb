"""Inference settings of GIEL (sec. 3.4, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.engine.target_model import TrackSettings
from vos_zoo.methods.giel.support import MODES, PICKS
from vos_zoo.nn.precision import FORMATS
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class GielTrackSettings(TrackSettings):
    """Inference settings.

    Attributes:
        group_size: maximum number of objects decoded together; the outputs do not depend on it.
        short_edge: frames are resized so that the shorter side has this length; None keeps the size.
        support_size: number of support frames (paper: 5).
        support_mode: "sampled" from the history, or one frame alone, "first" or "previous" (Table 1).
        segment_pick: which frame of a segment of the history is taken: "last", "center" or "center_plus_previous".
        always_first: frames with given masks are always in the support; False samples all frames alike.
        keep: which of these are always in the support: all ("annotated") or the "first".
        capacity: predicted frames in memory, in addition to those with given masks; None: all of them (as in the
            paper), so that memory grows with the video.
        memory_dtype: number format of the memory: "float32", "bf16" or "fp16".
        flip: average with the mirrored video, at twice the cost.
    """

    group_size: int = 6
    short_edge: int | None = 480
    support_size: int = 5
    support_mode: str = "sampled"
    segment_pick: str = "last"
    always_first: bool = True
    keep: str = "annotated"
    capacity: int | None = 9
    memory_dtype: str = "float32"
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            "support_mode": MODES,
            "segment_pick": PICKS,
            "keep": ("annotated", "first"),
            "memory_dtype": tuple(FORMATS),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(f"track.{name} is {getattr(self, name)!r}; choose {', '.join(known)}")
        if self.support_size < 1:
            raise UsageError(f"track.support_size is {self.support_size}; it must be at least 1")
        if self.capacity is not None and self.capacity < max(2, self.support_size - 1):
            raise UsageError(
                f"track.capacity is {self.capacity}; it must be at least 2, and support_size - 1, or null for no bound"
            )
        if self.short_edge is not None and self.short_edge < 16:
            raise UsageError(f"track.short_edge is {self.short_edge}; it must be at least 16, or null")


PRESETS: dict[str, dict[str, Any]] = {"paper": {"capacity": None}, "stream": {}}
"""As published all frames are kept; the default keeps a bounded, evenly thinned history."""
