"""The registry of data sets: those of this package, and those of other packages by an entry point.

Packages outside add data sets through the entry-point group `vos_zoo.datasets`, whose values name a module that defines
`DATASET = DatasetInfo(...)`. Nothing that reads data is imported before a data set is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from vos_zoo.registry import entry_points_of, suggestion
from vos_zoo.types import UsageError, VOSError

ENTRY_POINT_GROUP = "vos_zoo.datasets"
EVERYWHERE = ("sequences", "skip_broken")
"""Options that every data set takes."""
OPTIONS = (
    *("year", "resolution", "layout", "mask_threshold"),  # keys of `data` and of the parts of a mixture
    *("min_area", "repeat"),  # keys of `data.static`
    *("seed", "synthetic", "composed"),
)
"""Options that a data set may take besides: their values in the configuration are passed to it."""


@dataclass(frozen=True)
class DatasetInfo:
    """What the zoo knows of a data set before it is opened.

    Attributes:
        name: its name on the command line and in `data.name`.
        opener: dotted path "package.module:Class" of what makes the `VideoDataset`. It is called as
            ``opener(root, split=..., sequences=..., skip_broken=...)``, with the options that follow as keywords.
        options: which of `OPTIONS` it takes.
        static: whether it holds single images (a `StaticDataset`), which can be trained on only.
        generated: whether its videos are made on the fly, so that it needs no folder.
        splits: dotted path "package.module:function" of what finds its splits below a root, for `check-data`; called as
            ``function(root, year=..., resolution=..., layout=...)``, returns a `FoundSplits`. "" knows no splits.
        signs: what lies below a root of this data set alone, as patterns of `Path.glob`; `check-data` knows it by them.
        config: keys and values of its configuration, as a file of `configs/data` has them; data sets of this package
            have such a file. A data set that is read from a folder demands `data.root` by itself.
    """

    name: str
    opener: str
    options: tuple[str, ...] = ()
    static: bool = False
    generated: bool = False
    splits: str = ""
    signs: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes(self) -> tuple[str, ...]:
        """All options it is called with."""
        return (*EVERYWHERE, *self.options)

    def load_opener(self) -> Any:
        """Import what opens it."""
        return self._load(self.opener)

    def load_splits(self) -> Any | None:
        """Import what finds its splits; None if it names nothing."""
        return self._load(self.splits) if self.splits else None

    def _load(self, path: str) -> Any:
        module, _, attribute = path.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except AttributeError as error:
            raise VOSError(f"data set {self.name!r}: {module} has no {attribute!r} (named by {path!r})") from error


_READERS, _EDITIONS = "vos_zoo.data.datasets", ("year", "resolution", "layout")
_SPLITS = f"{_READERS}.splits"


def _video(name: str, opener: str, splits: str, *options: str, signs: tuple[str, ...] = ()) -> DatasetInfo:
    """A data set of videos that lie in a folder."""
    return DatasetInfo(name, f"{_READERS}.{opener}", options, splits=f"{_SPLITS}:{splits}", signs=signs)


BUILT_IN = {
    info.name: info
    for info in (
        _video("davis", "davis:DavisDataset", "of_davis", "year", "resolution", "mask_threshold"),
        _video("youtube_vos", "youtube_vos:YouTubeVosDataset", "of_youtube_vos", "year", "layout", "mask_threshold"),
        _video("folder", "folder:FolderDataset", "of_folder", "mask_threshold"),
        _video("sav", "sa_v:SaVDataset", "of_sa_v", signs=("JPEGImages_24fps", "*/JPEGImages_24fps")),
        _video(
            "lvos",
            "lvos:LvosDataset",
            "of_split_folders",
            "mask_threshold",
            signs=("*/valid_meta.json", "*/val_meta.json", "valid_meta.json", "val_meta.json"),
        ),
        _video("lvos_v1", "lvos:LvosV1Dataset", "of_split_folders", "mask_threshold"),
        _video("vost", "listed:VostDataset", "of_vost", "mask_threshold"),
        _video("mose", "mose:MoseDataset", "of_split_folders", "mask_threshold"),
        _video("mosev2", "mose:Mosev2Dataset", "of_split_folders", "mask_threshold"),
        _video(
            "visor",
            "listed:VisorDataset",
            "of_visor",
            *("resolution", "mask_threshold"),
            signs=("ImageSets/2022",),
        ),
        DatasetInfo(
            "synthetic", "vos_zoo.data.synthetic.opening:open_synthetic", ("seed", "synthetic"), generated=True
        ),
        DatasetInfo(
            "composed",
            "vos_zoo.data.composed.opening:open_composed",
            ("seed", "composed", *_EDITIONS, "mask_threshold", "min_area", "repeat"),
            generated=True,
        ),
        DatasetInfo("coco", f"{_READERS}.coco:CocoDataset", ("min_area",), static=True, splits=f"{_SPLITS}:of_coco"),
        DatasetInfo(
            "saliency",
            f"{_READERS}.static_images:SaliencyDataset",
            ("repeat",),
            static=True,
            splits=f"{_SPLITS}:of_everything",
        ),
        DatasetInfo(
            "instances",
            f"{_READERS}.instance_images:InstanceDataset",
            ("min_area",),
            static=True,
            splits=f"{_SPLITS}:of_everything",
        ),
    )
}
"""The data sets of this package by name."""


def outside_datasets() -> list[str]:
    """Names of the data sets of other packages; imports none of them."""
    return sorted(_entry_points().keys() - BUILT_IN.keys())


def available_datasets() -> list[str]:
    """Names of all data sets, those of this package first; imports none of them.

    Examples:
        >>> available_datasets()[:3]
        ['davis', 'youtube_vos', 'folder']
    """
    return [*BUILT_IN, *outside_datasets()]


def load_dataset(name: str) -> DatasetInfo:
    """The description of data set `name`; imports the module of the entry point, no reader.

    Raises:
        UsageError: no such data set; the message proposes the nearest name.
        VOSError: the entry point does not give a fitting `DatasetInfo`.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    points = _entry_points()
    if name not in points:
        known = available_datasets()
        raise UsageError(f"data set {name!r} is not known{suggestion(str(name), known)}; there are {', '.join(known)}")
    loaded = points[name].load()
    info = getattr(loaded, "DATASET", loaded)
    if not isinstance(info, DatasetInfo):
        raise VOSError(f"data set {name!r}: {points[name].value} does not define DATASET = DatasetInfo(...)")
    if info.name != name:
        raise VOSError(f"data set {name!r} calls itself {info.name!r} in DATASET; both names must be the same")
    foreign = [option for option in info.options if option not in OPTIONS]
    if foreign:
        raise VOSError(f"data set {name!r} takes {foreign[0]!r}, which no key gives; there are {', '.join(OPTIONS)}")
    return info


def _entry_points() -> dict[str, EntryPoint]:
    return entry_points_of(ENTRY_POINT_GROUP)
