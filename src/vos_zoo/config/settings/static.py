"""Settings of static images: which of them are used, and how an image becomes a clip."""

from __future__ import annotations

from dataclasses import dataclass

from vos_zoo.config.settings.rules import Settings, setting
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class StaticSettings(Settings):
    """How a static image becomes a clip, and which images are used; the numbers below `repeat` are those of `warps`."""

    KEY = "data.static"

    motion: str = setting(
        "crops",
        "where the motion of a clip comes from: crops jittered around the object, as for videos, or warps of the whole "
        "picture",
        choices=("crops", "warps"),
    )
    soft_masks: bool = setting(
        False, "keep mask values between 0 and 1 (with warps); otherwise values above one half are the object"
    )
    min_area: float = setting(0.0, "coco, instances: leave smaller objects out, in pixels", minimum=0)
    repeat: dict[str, int] | None = setting(
        None, "saliency: folder name -> how many times its images count; null for the published numbers"
    )
    common_scale: tuple[float, float] = setting(
        (0.8, 1.5), "range of the zoom all frames share", above=0, ascending=True
    )
    common_colour: tuple[float, float, float, float] = setting(
        (0.1, 0.05, 0.05, 0.05),
        "largest change of brightness, contrast, saturation (as factors) and hue (in turns), shared by all frames",
        minimum=0,
    )
    rotation: float = setting(20.0, "largest angle of a frame in degrees", minimum=0)
    scale: tuple[float, float] = setting((0.9, 1.1), "range of a frame's own scale", above=0, ascending=True)
    shear: float = setting(10.0, "largest horizontal shear of a frame in degrees", minimum=0, below=90)
    colour: tuple[float, float, float] = setting(
        (0.1, 0.05, 0.05), "largest change of brightness, contrast and saturation of a frame", minimum=0
    )
    thin_plate: float = setting(0.33, "probability of a thin-plate warp of a frame", minimum=0, maximum=1)
    thin_plate_noise: float = setting(
        0.02, "standard deviation of its control points' shifts, in canvas sides", minimum=0
    )
    thin_plate_points: int = setting(12, "number of its control points", minimum=3)

    def check(self) -> None:
        """Soft masks are available with warps only."""
        if self.soft_masks and self.motion != "warps":
            raise UsageError("data.static.soft_masks: crops have masks of 0 and 1; set data.static.motion=warps")
