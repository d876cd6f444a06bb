"""The ground truth of each data set: which videos, frames and objects are scored, and what its meta file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vos_zoo.evaluation.referee.results import FolderResults
from vos_zoo.files.lists import read_davis_list, read_meta
from vos_zoo.files.names import list_folders
from vos_zoo.files.text import read_list
from vos_zoo.labels import VOID
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class TruthSettings:
    """What `data.KEY=VALUE` may say.

    Attributes:
        root: folder of the data set.
        split: name of the split.
        resolution: folder of DAVIS's and VISOR's annotations.
        meta: the meta file, where it is not found by itself.
        unseen: a list of LVOS's unseen videos, where it is not the official one.
        sequences: the videos to score, a part of the split.
        ends: whether the first and the last frame count, too (SA-V, vos-benchmark).
        mask_threshold: the smallest level of the one object of masks with soft edges, in ground truth and results.
    """

    root: str
    split: str = ""
    resolution: str = "480p"
    meta: str = ""
    unseen: str = ""
    sequences: tuple[str, ...] = ()
    ends: bool = False
    mask_threshold: int | None = None


@dataclass(frozen=True)
class Truth:
    """The ground truth of a split.

    Attributes:
        title: data set and split.
        masks: its masks.
        videos: names of the videos to score.
        meta: content of the meta file.
        unseen: names of the videos of unseen categories.
    """

    title: str
    masks: FolderResults
    videos: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    def lists_void(self, video: str) -> bool:
        """Whether the meta file lists 255 as an object of the video, which it then is."""
        about = self.meta.get("videos", {}).get(video, {})
        return str(VOID) in {str(one) for one in about.get("objects", ())}


Find = Callable[[TruthSettings], Truth]


def davis_layout(title: str, year: int) -> Find:
    """DAVIS: ``Annotations/480p``, ``ImageSets/YEAR/SPLIT.txt``."""

    def find(settings: TruthSettings) -> Truth:
        split = settings.split or "val"
        names = settings.sequences or tuple(read_davis_list(settings.root, split, year, settings.resolution))
        threshold = settings.mask_threshold or (1 if year == 2016 else None)
        folder = _folder(Path(settings.root) / "Annotations" / settings.resolution)
        return Truth(f"{title}-{split}", FolderResults(folder, threshold), names)

    return find


def listed_layout(title: str, lists: tuple[str, ...], resolution: bool = False) -> Find:
    """``Annotations`` (with ``480p`` in it), and the split's list in one of the folders `lists` of ``ImageSets``."""

    def find(settings: TruthSettings) -> Truth:
        root, split = Path(settings.root), settings.split or "val"
        files = [root / "ImageSets" / folder / f"{split}.txt" for folder in lists]
        names = settings.sequences
        if not names:
            path = next((file for file in files if file.is_file()), None)
            if path is None:
                raise UsageError(f"{files[0]}: there is no such list; check data.root and data.split")
            names = tuple(read_list(path))
        folder = root / "Annotations" / settings.resolution if resolution else root / "Annotations"
        return Truth(f"{title}-{split}", FolderResults(_folder(folder), settings.mask_threshold), names)

    return find


def lvos_layout(title: str, unseen: tuple[str, ...]) -> Find:
    """LVOS: ``Annotations`` and ``SPLIT_meta.json`` in the split's folder, which may be called val or valid."""

    def find(settings: TruthSettings) -> Truth:
        split = "valid" if settings.split in ("", "val") else settings.split
        other = {"valid": "val"}.get(split, split)
        base = _base(settings.root, (split, other), "Annotations")
        files = [base / f"{name}_meta.json" for name in (split, other)]
        meta = _meta(settings.meta, files)
        seen = tuple(read_list(settings.unseen)) if settings.unseen else unseen
        masks = FolderResults(_folder(base / "Annotations"), settings.mask_threshold)
        names = settings.sequences or tuple(meta["videos"])
        return Truth(f"{title}-{split}", masks, names, meta, seen)

    return find


def meta_layout(title: str, split: str, videos_of_meta: bool) -> Find:
    """``Annotations`` and ``meta.json`` in the split's folder or in the root (MOSEv2, YouTube-VOS)."""

    def find(settings: TruthSettings) -> Truth:
        chosen = settings.split or split
        base = _base(settings.root, (chosen,), "Annotations")
        meta = _meta(settings.meta, [base / "meta.json", base / f"meta_{chosen}.json", base.parent / "meta.json"])
        masks = FolderResults(_folder(base / "Annotations"), settings.mask_threshold)
        names = settings.sequences or (tuple(meta["videos"]) if videos_of_meta else masks.videos)
        return Truth(f"{title}-{chosen}", masks, names, meta)

    return find


def folder_layout(title: str, inside: tuple[str, ...], split: str = "") -> Find:
    """Folders of videos: in one of `inside` below the root (``{split}`` is replaced), or in the root itself.

    A file ``SPLIT.txt`` beside the folder lists the videos; without one all are scored.
    """

    def find(settings: TruthSettings) -> Truth:
        chosen = settings.split or split
        root = _folder(Path(settings.root))
        folders = [root / name.format(split=chosen) for name in inside]
        folder = next((one for one in folders if one.is_dir()), root)
        masks = FolderResults(folder, settings.mask_threshold)
        lists = [folder.parent / f"{name}.txt" for name in (chosen, f"sav_{chosen}") if chosen and folder != root]
        path = next((one for one in lists if one.is_file()), None)
        names = settings.sequences or (tuple(read_list(path)) if path else masks.videos)
        return Truth(f"{title}-{chosen}" if chosen else title, masks, names)

    return find


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder; check data.root")
    return path


def _base(root: str, splits: tuple[str, ...], wanted: str) -> Path:
    """The folder that holds `wanted`: the root, or a split's folder in it."""
    places = [Path(root), *(Path(root) / split for split in splits)]
    for place in places:
        if (place / wanted).is_dir():
            return place
    there = ", ".join(path.name for path in list_folders(root)) if Path(root).is_dir() else "no such folder"
    raise UsageError(f"{places[-1] / wanted}: there is no such folder; check data.root and data.split (there: {there})")


def _meta(given: str, files: list[Path]) -> dict[str, Any]:
    path = Path(given) if given else next((one for one in files if one.is_file()), files[0])
    if not path.is_file():
        raise UsageError(f"{path}: there is no such meta file; give it as data.meta=FILE")
    return {"videos": read_meta(path)}
