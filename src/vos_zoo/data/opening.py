"""Opens data sets by name, those of this package and of others alike (`vos_zoo.dataset_registry`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_zoo.config.settings.generated import ComposedConfig, SyntheticConfig
from vos_zoo.config.settings.rules import build_settings
from vos_zoo.dataset_registry import BUILT_IN, EVERYWHERE, OPTIONS, load_dataset
from vos_zoo.types import UsageError, VideoDataset, VOSError


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    split: str = "val",
    synthetic: Mapping[str, Any] | SyntheticConfig | None = None,
    composed: Mapping[str, Any] | ComposedConfig | None = None,
    **options: Any,
) -> VideoDataset:
    """Open a data set by name; only that data set's module is imported.

    Args:
        name: one of `vos_zoo.dataset_registry.available_datasets()`.
        root: its folder (not for synthetic; for composed that of pictures or videos with masks).
        split: train, val, test, ... (folder, saliency: a sub-folder or list, where there is one, "" for everything;
            coco: "train2017").
        synthetic: the `data.synthetic` part of the configuration.
        composed: the `data.composed` part of the configuration.
        options: what the data set takes of `DatasetInfo.options`, and of `sequences` (only these videos; composed: cut
            out of these pictures or videos of the root only) and `skip_broken` (leave out videos without frames or
            masks with a warning), which all take. Options of other data sets are ignored.

    Raises:
        UsageError: unknown name or option, a missing folder, list or sequence, a threshold for masks that the data set
            does not have.
        VOSError: a listed sequence is broken and `skip_broken` is off.

    Examples:
        >>> videos = open_dataset("synthetic", split="val", synthetic={"val_videos": 2})
        >>> len(videos), videos[0].object_ids
        (2, (1, 2))
    """
    unknown = sorted(options.keys() - {*EVERYWHERE, *OPTIONS})
    if unknown:
        known = ", ".join((*EVERYWHERE, *OPTIONS))
        raise UsageError(f"data set {name!r}: unknown option {unknown[0]!r}; there are {known}")
    info = load_dataset(name)
    if options.get("mask_threshold") is not None and "mask_threshold" not in info.takes:
        others = [other.name for other in BUILT_IN.values() if "mask_threshold" in other.takes]
        raise UsageError(f"data.mask_threshold: {name!r} has no such masks; it is for {', '.join(others)}")
    if root is None and not info.generated:
        raise UsageError(f"data set {name!r}: no folder given; set data.root=FOLDER")
    given = {
        **options,
        "synthetic": build_settings(SyntheticConfig, synthetic, SyntheticConfig.KEY),
        "composed": build_settings(ComposedConfig, composed, ComposedConfig.KEY),
    }
    dataset = info.load_opener()(root, split=split, **{key: value for key, value in given.items() if key in info.takes})
    if not isinstance(dataset, VideoDataset):
        raise VOSError(f"data set {name!r}: {info.opener} made a {type(dataset).__name__}; it must make a VideoDataset")
    return dataset
