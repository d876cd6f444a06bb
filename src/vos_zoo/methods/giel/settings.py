"""Inference settings of GIEL (sec. 3.4, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.config.settings.rules import setting
from vos_zoo.engine.target_model import TrackSettings
from vos_zoo.methods.giel.support import MODES, PICKS
from vos_zoo.nn.precision import FORMATS
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class GielTrackSettings(TrackSettings):
    """Inference settings."""

    group_size: int = setting(
        6, "maximum number of objects decoded together; the outputs do not depend on it", minimum=1
    )
    short_edge: int | None = setting(
        480, "frames are resized so that the shorter side has this length; null keeps the size", minimum=16
    )
    support_size: int = setting(5, "number of support frames (paper: 5)", minimum=1)
    support_mode: str = setting(
        "sampled", "`sampled` from the history, or one frame alone, `first` or `previous` (Table 1)", choices=MODES
    )
    segment_pick: str = setting("last", "which frame of a segment of the history is taken", choices=PICKS)
    always_first: bool = setting(
        True, "frames with given masks are always in the support; false samples all frames alike"
    )
    keep: str = setting(
        "annotated",
        "which frames with given masks are always in the support: all (`annotated`) or the `first`",
        choices=("annotated", "first"),
    )
    capacity: int | None = setting(
        9,
        "predicted frames in memory, in addition to those with given masks; null for all of them (as in the paper), "
        "so that memory grows with the video",
        minimum=2,
        cure="null is no bound",
    )
    memory_dtype: str = setting("float32", "number format of the memory", choices=tuple(FORMATS))
    flip: bool = setting(False, "average with the mirrored video, at twice the cost")

    def check(self) -> None:
        """The memory holds the whole support."""
        if self.capacity is not None and self.capacity < self.support_size - 1:
            raise UsageError(
                f"track.capacity is {self.capacity}; it must be at least 2, and support_size - 1, or null for no bound"
            )


PRESETS: dict[str, dict[str, Any]] = {"paper": {"capacity": None}, "stream": {}}
"""As published all frames are kept; the default keeps a bounded, evenly thinned history."""
