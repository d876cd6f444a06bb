"""Settings of videos generated on the fly: drawn ones (`synthetic`), and clips composed of photographs (`composed`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from vos_zoo.config.settings.rules import Settings, setting
from vos_zoo.types import UsageError

MAX_OBJECTS = 6
"""Annotated objects that a generated video shows at most."""


@dataclass(frozen=True)
class _Generated(Settings):
    """Checks and counts shared by both kinds."""

    def check(self) -> None:
        """Check the range of the number of objects."""
        low, high = getattr(self, "min_objects", 1), getattr(self, "max_objects", 1)
        if low > high:
            raise UsageError(
                f"{self.KEY}: {low} to {high} objects; need 1 <= min_objects <= max_objects <= {MAX_OBJECTS}"
            )

    def count(self, split: str) -> int | None:
        """How many videos a split has; None for splits other than train, val and test."""
        return getattr(self, f"{split}_videos", None)


@dataclass(frozen=True)
class SyntheticLook(_Generated):
    """Appearance of the videos drawn on demand."""

    KEY = "data.synthetic"

    size: tuple[int, int] = setting((128, 224), "height and width of the frames", minimum=16)
    frames: int = setting(24, "length of a video", minimum=1)
    min_objects: int = setting(1, "fewest annotated objects of a video", minimum=1)
    max_objects: int = setting(3, "most annotated objects of a video", minimum=1, maximum=MAX_OBJECTS)
    late_objects: float = setting(
        0.2, "probability of each object after the first to start later than frame 0", minimum=0, maximum=1
    )
    difficulty: float = setting(
        1.0,
        "scales motion, deformation, light changes, noise and the number of look-alikes and occluders; 0: nearly still "
        "objects alone on their ground, 1 is usual, more is harder",
        minimum=0,
        maximum=4,
    )


@dataclass(frozen=True)
class SyntheticSettings(SyntheticLook):
    """Appearance of the synthetic videos, and their seed."""

    seed: int = setting(0, "another seed gives other videos", minimum=0)


@dataclass(frozen=True)
class SyntheticConfig(SyntheticLook):
    """The videos drawn on demand; their seed is `data.seed`."""

    train_videos: int = setting(400, "videos to train on", minimum=1)
    val_videos: int = setting(6, "videos to validate on", minimum=1)
    test_videos: int = setting(6, "videos to test on", minimum=1)
    device: str = setting("cpu", "where they are drawn: `cpu` or `cuda`")

    def settings(self, seed: int) -> SyntheticSettings:
        """What the videos are like."""
        return SyntheticSettings(**_look(self, SyntheticLook), seed=seed)


@dataclass(frozen=True)
class ComposedLook(_Generated):
    """Appearance of the clips composed of photographs."""

    KEY = "data.composed"

    size: tuple[int, int] = setting((192, 336), "height and width of the frames", minimum=32)
    frames: int = setting(48, "length of a clip", minimum=1)
    min_objects: int = setting(1, "fewest annotated objects of a clip", minimum=1)
    max_objects: int = setting(4, "most annotated objects of a clip", minimum=1, maximum=MAX_OBJECTS)
    late_objects: float = setting(
        0.15, "probability of each object after the first to start later than frame 0", minimum=0, maximum=1
    )
    look_alike: float = setting(
        0.4,
        "probability that an object of the clip has a look-alike: the same cut-out again or another object of its "
        "picture, annotated itself or not",
        minimum=0,
        maximum=1,
    )
    in_place: float = setting(
        0.25,
        "probability that objects of the background image are annotated and stay where they are in it",
        minimum=0,
        maximum=1,
    )
    video_share: float = setting(
        0.3,
        "probability that a cut-out or a background is taken from a video if there are also images",
        minimum=0,
        maximum=1,
    )
    difficulty: float = setting(
        1.0, "scales motion, deformation, light changes, noise and distractors; 1 is the default", minimum=0, maximum=4
    )


@dataclass(frozen=True)
class ComposedSettings(ComposedLook):
    """Appearance of the composed clips, and their seed."""

    seed: int = setting(0, "another seed gives other clips", minimum=0)


@dataclass(frozen=True)
class ComposedConfig(ComposedLook):
    """The clips composed of photographs; their seed is `data.seed`."""

    kind: str = setting("instances", "what the root holds: any data set that is read from disk")
    videos: str | None = setting(
        None, "a further folder of videos with masks, laid out as DAVIS (its list `train`) or as `folder`"
    )
    backgrounds: str | None = setting(None, "a folder of images without masks, for backgrounds")
    train_videos: int = setting(100_000, "clips to train on", minimum=1)
    val_videos: int = setting(6, "clips to validate on", minimum=1)
    test_videos: int = setting(6, "clips to test on", minimum=1)

    def settings(self, seed: int) -> ComposedSettings:
        """What the clips are like."""
        return ComposedSettings(**_look(self, ComposedLook), seed=seed)


def _look(config: Settings, kind: type[Settings]) -> dict[str, Any]:
    """The fields of a configuration that its base class declares."""
    return {item.name: getattr(config, item.name) for item in fields(kind)}  # type: ignore[arg-type]
