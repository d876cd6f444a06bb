"""Settings of clips with canvases around an object: frames, crops, augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.config.settings.rules import Settings, setting


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """How training clips are chosen from a video: reference frames first, then query frames within a growing gap."""

    KEY = "data.sampling"

    reference_frames: int = setting(1, "frames whose masks are given", minimum=1)
    query_frames: int = setting(3, "frames to be segmented", minimum=1)
    max_gap: int = setting(
        100, "initial maximum distance from the base reference, in frames of the data set", minimum=1
    )
    gap_step: int = setting(5, "increase of that distance when no frames are found", minimum=1)
    give_up_gap: int = setting(1000, "total increase of the distance at which the search in a video ends", minimum=1)
    min_visible_pixels: int = setting(10, "an object is visible with more pixels than this", minimum=0)
    min_visible_factor: int = setting(
        2, "an object is used if it is visible in more than this times (reference + query) frames", minimum=1
    )
    objects: int = setting(
        1, "object slots of a clip; with more than one the clip shows up to so many objects of a video", minimum=1
    )


@dataclass(frozen=True)
class CropSettings(Settings):
    """How training canvases are cut; with `data.canvas=frame` only the size counts."""

    KEY = "data.crop"

    size: tuple[int, int] = setting((480, 832), "height and width of the canvas in pixels", minimum=1)
    factor: float = setting(
        5.0, "side of the window over the side of the object's box (both as square roots of areas)", above=0
    )
    mode: str = setting(
        "inside_major",
        "how a window larger than the frame is treated: it is shrunk until one axis fits (`inside_major`) or both do "
        "(`inside`), or keeps its size and replicates the border (`replicate`)",
        choices=("inside_major", "inside", "replicate"),
    )
    max_scale_change: float | None = setting(None, "largest shrinking of the window; null for no limit", above=0)


@dataclass(frozen=True)
class JitterSettings(Settings):
    """Jitter of the crop of a training frame around its object."""

    KEY = "data.jitter"

    reference_scale: float = setting(
        0.25, "reference frames: standard deviation of the logarithm of the box's width and height", minimum=0
    )
    reference_centre: tuple[float, float] = setting(
        (3.0, 3.0), "reference frames: range of the centre's shift in x and y, in square roots of its area", minimum=0
    )
    query_scale: float = setting(0.5, "query frames: as `reference_scale`", minimum=0)
    query_centre: tuple[float, float] = setting((5.5, 4.5), "query frames: as `reference_centre`", minimum=0)


@dataclass(frozen=True)
class AugmentSettings(Settings):
    """Augmentation of a training clip; `data.canvas=frame` reads `grayscale`, `flip` and `pipeline` only."""

    KEY = "data.augment"

    grayscale: float = setting(
        0.05, "probability of a grey clip; reference and query frames are drawn independently", minimum=0, maximum=1
    )
    flip: float = setting(
        0.5,
        "probability of a horizontal flip; reference and query frames are drawn independently",
        minimum=0,
        maximum=1,
    )
    affine: bool = setting(True, "whether canvases are rotated and scaled, each independently")
    rotation: float = setting(15.0, "largest angle in degrees", minimum=0)
    log_scale: float = setting(0.2, "largest logarithm of the scale", minimum=0)
    brightness: float = setting(0.2, "the brightness factor of a canvas lies within 1 - this and 1 + this", minimum=0)
    fused: bool = setting(
        False,
        "resample every canvas once instead of twice, by the same map: faster; the pixels differ by what a second "
        "bilinear interpolation blurs, and by a pixel at the borders of canvas, frame and mask",
    )
    pipeline: list[Any] = setting(
        [],
        "albumentations' transforms over finished canvases, each `Name` or `{Name: {keyword: value}}`; one draw per "
        "clip, the same for all its frames and masks",
    )
