"""Inference settings of the trackers with search regions and a few-shot learner (sheet 4.10)."""

from __future__ import annotations

from dataclasses import dataclass

from vos_zoo.core.target_model import TrackSettings
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class LearnerTrackSettings(TrackSettings):
    """How a video is run; the defaults are the published mask setting.

    Attributes:
        size: canvas (h, w) of the search regions, multiples of 16.
        area_scale: side of the search region in object sides.
        scale_change: limits of the change of scale per frame.
        minimum_area: an object with less probability mass, in pixels, keeps its place.
        arithmetic: "integer" (published results) or "half_pixel" (releases since 2022) crop arithmetic.
        stable_windows: windows as large as the image are always exactly so; only then objects can share them.
        capacity: samples in memory per object.
        learning_rate: weight of the newest sample (mu in the paper's decay 1 - eta).
        minimum_first_weight: floor of the first sample's weight; 0: none, and it may be replaced.
        equal_second: the second sample weighs as much as the first.
        first_iterations: learner iterations in an object's first frame.
        update_iterations: learner iterations per refresh.
        refresh_every: the filter is refreshed every n-th frame (samples are written every frame).
    """

    size: tuple[int, int] = (480, 832)
    area_scale: float = 5.0
    scale_change: tuple[float, float] = (0.95, 1.1)
    minimum_area: float = 100.0
    arithmetic: str = "integer"
    stable_windows: bool = True
    capacity: int = 32
    learning_rate: float = 0.1
    minimum_first_weight: float = 0.25
    equal_second: bool = False
    first_iterations: int = 20
    update_iterations: int = 3
    refresh_every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.size) != 2 or any(side % 16 or side < 32 for side in self.size):
            raise UsageError(f"track.size is {self.size}; give height and width as multiples of 16, at least 32")
        if self.arithmetic not in ("integer", "half_pixel"):
            raise UsageError(f"track.arithmetic is {self.arithmetic!r}; choose integer or half_pixel")
        if self.refresh_every < 1 or self.capacity < 2:
            raise UsageError("track.refresh_every must be at least 1 and track.capacity at least 2")


BOX_PRESET = {
    "learning_rate": 0.2,
    "minimum_first_weight": 0.0,
    "equal_second": True,
    "refresh_every": 5,
    "update_iterations": 5,
}
"""The published setting of the box-initialised network (sheet 4.10)."""
