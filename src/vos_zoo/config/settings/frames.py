"""Settings of clips of whole frames (`data.canvas=frame`): how far apart the frames are, how canvases are made."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from vos_zoo.config.checking import show
from vos_zoo.config.settings.rules import Settings, setting
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class GapSettings(Settings):
    """How far apart the frames of a clip are with `data.canvas=frame`."""

    KEY = "data.gaps"

    rule: str = setting(
        "chain",
        "`chain` counts every frame from the one before; `jump` is the rule of STCN for three frames",
        choices=("chain", "jump"),
    )
    limits: tuple[tuple[float, float], ...] = setting(
        ((0.0, 5.0),),
        "pairs (share of the training done, largest gap in frames of the video), by share, the first at 0; a share "
        "that is there twice is a sudden change",
    )
    change: str = setting(
        "steps",
        "between two points of `limits` the limit is constant (`steps`) or linear (`ramp`)",
        choices=("steps", "ramp"),
    )
    part: int = setting(1, "query frames per part; the limit holds for the gap before a part", minimum=1)
    within: int = setting(5, "largest gap between two frames of a part, in frames of the video", minimum=1)
    rounding: str = setting(
        "down",
        "how a limit is divided by the data set's `frame_step`; at least 1 is left",
        choices=("down", "up"),
    )
    reverse: float = setting(0.0, "probability that a clip runs backwards", minimum=0, maximum=1)
    shortest: int = setting(3, "videos with fewer frames are left out", minimum=1)
    repeat: bool = setting(
        True, "whether videos with fewer frames than a clip are used, their last frame several times"
    )

    def check(self) -> None:
        """Read the limits as pairs."""
        object.__setattr__(self, "limits", _points(self.limits))

    @property
    def constant(self) -> bool:
        """Whether the limit is constant."""
        return len({limit for _, limit in self.limits}) == 1

    def limit(self, share: float) -> float:
        """The largest gap, in frames of the video, when `share` (0 to 1) of the training is done."""
        shares, limits = zip(*self.limits, strict=True)
        after = bisect_right(shares, share)
        low = max(after - 1, 0)
        if self.change == "steps" or after == len(shares):
            return float(limits[low])
        return float(
            limits[low] + (limits[after] - limits[low]) * (share - shares[low]) / (shares[after] - shares[low])
        )

    def steps(self, frames: float, frame_step: int) -> int:
        """A limit in frames of the video as one in frames of a data set that holds every `frame_step`-th."""
        steps = frames / frame_step
        return max(1, math.ceil(steps - 1e-9) if self.rounding == "up" else math.floor(steps + 1e-9))


def _points(given: Any) -> tuple[tuple[float, float], ...]:
    key = f"{GapSettings.KEY}.limits"
    try:
        points = tuple((float(share), float(limit)) for share, limit in given)
    except (TypeError, ValueError):
        raise UsageError(f"{key!r} is {show(given)}, expected pairs, such as [[0, 5], [0.1, 10]]") from None
    shares = [share for share, _ in points]
    if not points or shares[0] != 0 or shares != sorted(shares) or shares[-1] > 1:
        raise UsageError(f"{key!r} is {show(given)}, must begin at 0 and ascend by share of the training, up to 1")
    if min(limit for _, limit in points) < 1:
        raise UsageError(f"{key!r} is {show(given)}, expected gaps of at least 1")
    return points


@dataclass(frozen=True)
class FrameSettings(Settings):
    """How canvases are cut with `data.canvas=frame`, several objects on each; the defaults are PCVOS's video stage."""

    KEY = "data.frame"

    window: str = setting(
        "area",
        "`area` draws a part of the frame by area and ratio and resizes it to the canvas; `short_side` resizes the "
        "frame so that its short side is `short_side` times a drawn `zoom` and cuts the canvas out of it",
        choices=("area", "short_side"),
    )
    area: tuple[float, float] = setting(
        (0.36, 1.0), "range of the part's share of the frame's area", above=0, maximum=1, ascending=True
    )
    ratio: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "range of the part's width over its height", above=0, ascending=True
    )
    short_side: int = setting(480, "pixels of the resized frame's short side, before the zoom", minimum=1)
    zoom: tuple[float, float] = setting(
        (0.9, 1.3),
        "range of the factor of `short_side`; if the canvas does not fit, the frame is enlarged until it does",
        above=0,
        ascending=True,
    )
    place_jitter: float = setting(
        0.0, "how far a frame's part moves from the common position, in canvas pixels; it stays in the frame", minimum=0
    )
    turn: str = setting(
        "canvas",
        "what is rotated, scaled and sheared: the cut canvas (corners are filled), or the frame before the cut",
        choices=("canvas", "frame"),
    )
    rotation: float = setting(15.0, "largest angle of a frame in degrees", minimum=0)
    scale: tuple[float, float] = setting((1.0, 1.0), "range of a frame's own scale", above=0, ascending=True)
    shear: float = setting(10.0, "largest horizontal shear of a frame in degrees", minimum=0, below=90)
    interpolation: str = setting(
        "cubic",
        "of images: `cubic` shrinks as published, `linear` is faster; label maps take the nearest pixel",
        choices=("cubic", "linear"),
    )
    common_colour: tuple[float, float, float] = setting(
        (0.1, 0.03, 0.03),
        "largest change of brightness, contrast and saturation (as factors), shared by the clip",
        minimum=0,
    )
    colour: tuple[float, float, float] = setting((0.01, 0.01, 0.01), "the same for a frame", minimum=0)
    min_pixels: int = setting(
        1, "an object is taken if it shows so many pixels on the first canvas; all others are background", minimum=1
    )
    tries: int = setting(5, "frames drawn of a video until one clip shows an object", minimum=1)
    empty: bool = setting(
        True, "whether a clip without objects is trained on after so many tries; otherwise another video is drawn"
    )
