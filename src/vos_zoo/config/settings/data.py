"""The `data` part of the configuration: which videos are read, and how training batches are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vos_zoo.config.settings.clips import AugmentSettings, CropSettings, JitterSettings, SamplingSettings
from vos_zoo.config.settings.frames import FrameSettings, GapSettings
from vos_zoo.config.settings.generated import ComposedConfig, SyntheticConfig
from vos_zoo.config.settings.rules import Settings, build_settings, group, setting
from vos_zoo.config.settings.static import StaticSettings
from vos_zoo.types import UsageError

_AWAY = "null instead of the part removes it"


@dataclass
class SourceSettings(Settings):
    """Which videos of which data set."""

    name: str = setting("synthetic", "which data set")
    root: str | None = setting(None, "its folder; null where nothing is read from disk")
    year: int = setting(2017, "davis: 2016 or 2017; youtube_vos: 2018 or 2019")
    resolution: str = setting("480p", "davis, visor: folder of the resolution")
    layout: str | None = setting(
        None, 'youtube_vos: folder of a split below the root, such as "{year}/{split}"; null finds it'
    )
    sequences: list[str] | None = setting(None, "only these videos, in all splits; null for all")
    mask_threshold: int | None = setting(
        None,
        "the smallest grey level of the one object of masks with soft edges, which are refused otherwise (128: half); "
        "null reads object ids",
        minimum=1,
        maximum=255,
    )
    frame_step: int | None = setting(
        None,
        "video frames per frame of the data set, where it holds every n-th only; null: as the data set states",
        minimum=1,
    )


@dataclass
class MixturePart(SourceSettings):
    """A data set of a training mixture."""

    split: str = setting("train", "the split to train on")
    weight: float = setting(1.0, "its share of the clips, relative to the others' weights", above=0, cure=_AWAY)
    repeats: float | None = setting(
        None,
        "instead of a weight: its videos count so many times, so that its share is this times their number",
        above=0,
        cure=_AWAY,
    )

    def key_of(self, name: str) -> str:
        """The full key of a field, with the data set as the label."""
        return f"data.mixture.{self.name}.{name}"


@dataclass
class DataConfig(SourceSettings):
    """Which videos are read and how training batches are made from them."""

    KEY = "data"

    train_split: str = setting("train", "split that `fit` trains on")
    val_split: str = setting("val", "split that `fit` and `validate` score")
    test_split: str = setting("val", "split that `test` runs")
    val_sequences: int | None = setting(None, "at most so many validation videos; null for all", minimum=1)
    skip_broken: bool = setting(False, "leave unreadable videos out with a warning instead of stopping")
    batch_size: int = setting(20, "clips per training step and process", minimum=1)
    workers: int = setting(2, "loader processes", minimum=0)
    batches_per_epoch: int = setting(1000, "training steps per epoch", minimum=1)
    pack: str | None = setting(
        None, "folder in which decoded training videos are kept; null decodes the files every time"
    )
    pack_short_side: int | None = setting(
        None, "the shorter side that larger packed frames are shrunk to; null keeps every pixel", minimum=1
    )
    compact: bool = setting(
        False,
        "frames and masks stay 8-bit until they are on their device: a quarter of the bytes to copy; only brightened "
        "pixels are rounded by it",
    )
    reduced_decoding: bool = setting(
        False,
        "images of which a canvas keeps at most half the pixels per axis are decoded at reduced size (canvas `frame`, "
        "and warps of static images)",
    )
    seed: int = setting(0, "seed of everything drawn at random", minimum=0)
    canvas: str = setting(
        "object",
        "what a training canvas shows: the surroundings of an object, or a part of the frame",
        choices=("object", "frame"),
    )
    sampling: SamplingSettings = group(SamplingSettings, "how clips are chosen")
    gaps: GapSettings = group(GapSettings, "how far apart their frames are (canvas `frame`)")
    frame: FrameSettings = group(FrameSettings, "how canvases of whole frames are made (canvas `frame`)")
    crop: CropSettings = group(CropSettings, "how canvases are cut")
    jitter: JitterSettings = group(JitterSettings, "how the crops vary")
    augment: AugmentSettings = group(AugmentSettings, "how pixels and geometry vary")
    synthetic: SyntheticConfig = group(SyntheticConfig, "the videos drawn on demand")
    composed: ComposedConfig = group(ComposedConfig, "the clips composed of photographs")
    static: StaticSettings = group(StaticSettings, "static images and how they become clips")
    mixture: dict[str, Any] = setting(
        {},
        "data sets to train on instead of `name` (which is validated on): label -> keys of a part, whose `name` is the "
        "label unless given; null removes a part of an earlier layer",
    )

    def mixture_parts(self) -> dict[str, MixturePart]:
        """The parts of `mixture` by label; those that are None are left out.

        Raises:
            UsageError: a part that is no mapping, an unknown key, or a value that breaks a rule.
        """
        parts = {}
        for label, part in self.mixture.items():
            key = f"{self.KEY}.mixture.{label}"
            if part is not None and not isinstance(part, Mapping):
                raise UsageError(f"{key}: {part!r} must be keys and values, such as {key}.root=FOLDER")
            if part is not None:
                parts[str(label)] = build_settings(MixturePart, {"name": label, **part}, key)
        return parts
