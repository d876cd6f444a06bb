"""The splits of a data set in a folder, for `vos-zoo check-data`: each is read, or listed as not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vos_zoo.config.settings.data import SourceSettings
from vos_zoo.dataset_registry import load_dataset
from vos_zoo.files.names import list_files, list_folders, list_pictures
from vos_zoo.files.text import read_list
from vos_zoo.types import VOSError


@dataclass(frozen=True)
class FoundSplits:
    """Splits found in a folder.

    Attributes:
        names: splits that can be opened with these settings; "" stands for everything there is.
        derived: further names that can be opened, whose videos are among those of `names`.
        unread: lists and folders that these settings do not read, each with the setting that would.
    """

    names: tuple[str, ...]
    derived: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def find_splits(
    kind: str,
    root: str | Path | None,
    year: int = SourceSettings.year,
    resolution: str = SourceSettings.resolution,
    layout: str | None = SourceSettings.layout,
) -> FoundSplits:
    """The splits of a data set below its root, by the function that its `DatasetInfo` names.

    Args:
        kind: name of the data set; of one that names no such function no splits are known.
        root: the folder.
        year: DAVIS, YouTube-VOS: the edition.
        resolution: DAVIS, VISOR: the sub-folder.
        layout: YouTube-VOS: folder of a split below the root; None finds it.
    """
    find = load_dataset(kind).load_splits()
    if find is None or root is None or not Path(root).is_dir():
        return FoundSplits(())
    found: FoundSplits = find(Path(root), year=year, resolution=resolution, layout=layout)
    return found


def of_everything(root: Path, **_: Any) -> FoundSplits:
    """Pictures, which have no splits."""
    return FoundSplits(("",))


def of_split_folders(root: Path, **_: Any) -> FoundSplits:
    """A folder with ``JPEGImages`` per split (MOSE, LVOS); the root itself may be one, whose split is then its name."""
    names = [folder.name for folder in _folders(root) if (folder / "JPEGImages").is_dir()]
    if (root / "JPEGImages").is_dir():
        return FoundSplits((root.name,), (), tuple(f"{name} (beside JPEGImages)" for name in names))
    return FoundSplits(tuple(names))


def of_sa_v(root: Path, **_: Any) -> FoundSplits:
    """SA-V: ``sav_val``, ``sav_test``, or the root itself."""
    from vos_zoo.data.datasets.sa_v import FRAMES

    folders = [root] if (root / FRAMES).is_dir() else [one for one in _folders(root) if (one / FRAMES).is_dir()]
    return FoundSplits(tuple(folder.name.removeprefix("sav_") for folder in folders))


def of_vost(root: Path, **_: Any) -> FoundSplits:
    """VOST: ``ImageSets/val.txt``."""
    from vos_zoo.data.datasets.listed import VOST_LISTS

    return _of_lists(root, VOST_LISTS, root / "JPEGImages")


def of_visor(root: Path, resolution: str, **_: Any) -> FoundSplits:
    """VISOR: ``ImageSets/2022/val.txt``."""
    from vos_zoo.data.datasets.listed import VISOR_LISTS

    return _of_lists(root, VISOR_LISTS, root / "JPEGImages" / resolution)


def _of_lists(root: Path, places: Sequence[str], pictures: Path) -> FoundSplits:
    """Lists in folders of ``ImageSets``, of videos in the folder `pictures`."""
    lists = {
        path.stem: path for place in reversed(places) for path in sorted((root / "ImageSets" / place).glob("*.txt"))
    }
    listed = {name for path in lists.values() for name in _lines(path)}
    unread = [f"{_below(one, root)} (in no list)" for one in _folders(pictures) if one.name not in listed]
    return FoundSplits(tuple(sorted(lists)), (), tuple(unread))


def of_davis(root: Path, year: int, resolution: str, **_: Any) -> FoundSplits:
    """DAVIS: the lists of an edition."""
    own = (str(year), resolution)
    lists = {path: path.parent.name for path in sorted((root / "ImageSets").glob("*/*.txt"))}
    names = dict.fromkeys(path.stem for folder in own for path, parent in lists.items() if parent == folder)
    unread = [f"{_below(path, root)} (data.year or data.resolution)" for path in lists if lists[path] not in own]
    pictures = root / "JPEGImages"
    others = [folder for folder in _folders(pictures) if folder.name != resolution]
    unread += [f"{_below(folder, root)} (data.resolution={folder.name})" for folder in others]
    listed = {name for path, parent in lists.items() if parent in own for name in _lines(path)}
    unread += [f"{_below(f, root)} (in no list)" for f in _folders(pictures / resolution) if f.name not in listed]
    return FoundSplits(tuple(names), (), tuple(unread))


def of_youtube_vos(root: Path, year: int, layout: str | None, **_: Any) -> FoundSplits:
    """YouTube-VOS: the folders of its splits."""
    from vos_zoo.data.datasets.youtube_vos import ALL_FRAMES, LAYOUTS

    whole = ("train", "valid", "test")
    every = (*whole, *(name + ALL_FRAMES for name in whole))
    forms = (layout,) if layout else LAYOUTS
    names, seen = [], set()
    for name in every:
        places = [root / form.format(split=name, year=year) for form in forms]
        place = next((each for each in places if (each / "JPEGImages").is_dir()), None)
        if place is not None and name != "train" + ALL_FRAMES:
            names.append(name)
            seen.add(place.resolve())
    there = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in root.glob(f"{depth}/JPEGImages")})
    others = [folder for folder in there if folder.resolve() not in seen]
    unread = [f"{_below(folder, root)} (data.year or data.layout)" for folder in others]
    derived = ("jjtrain", "jjvalid", "train3464") if "train" in names else ()
    return FoundSplits(tuple(names), derived, tuple(unread))


def of_coco(root: Path, **_: Any) -> FoundSplits:
    """COCO: the annotation files whose pictures are there."""
    names, unread = [], []
    for path in sorted((root / "annotations").glob("instances_*.json")):
        name = path.stem.removeprefix("instances_")
        if (root / "images" / name).is_dir() or (root / name).is_dir():
            names.append(name)
        else:
            unread.append(f"{_below(path, root)} (its pictures are not there)")
    return FoundSplits(tuple(names), (), tuple(unread))


def of_folder(root: Path, **_: Any) -> FoundSplits:
    """A folder of videos: sub-folders and lists."""
    from vos_zoo.data.datasets.folder import FRAME_FOLDERS, LIST_FOLDERS, MASK_FOLDERS, frame_root

    frames = frame_root(root)
    inside = {folder.name: folder for folder in _folders(root)}
    known = {*FRAME_FOLDERS, *MASK_FOLDERS, *LIST_FOLDERS, *(f"{name}_masks" for name in inside)}
    sets = {name: folder for name, folder in inside.items() if name not in known and _holds_videos(folder)}
    parts = {
        name for name, folder in sets.items() if frames == root or any((folder / f).is_dir() for f in FRAME_FOLDERS)
    }
    lists = {path: _lines(path) for path in _lists(root, frames)}
    unread = [f"{name} (beside {_below(frames, root)})" for name in sets if name not in parts]
    unread += [_below(path, root) for folder in LIST_FOLDERS for path in sorted((root / folder).glob("*/*.txt"))]
    videos = [] if list_pictures(frames) else [each for each in _folders(frames) if each.name not in {*known, *sets}]
    if lists:
        listed = {name for names in lists.values() for name in names}
        unread += [f"{_below(folder, root)} (in no list)" for folder in videos if folder.name not in listed]
        return FoundSplits(tuple(dict.fromkeys([*(path.stem for path in lists), *sorted(parts)])), (), tuple(unread))
    if frames == root and parts and not list_pictures(root):
        unread += [f"{folder.name} (beside splits)" for folder in videos if list_pictures(folder)]
        return FoundSplits(tuple(sorted(parts)), (), tuple(unread))
    return FoundSplits(("", *sorted(parts)), (), tuple(unread))


def _holds_videos(folder: Path) -> bool:
    """Whether a folder is a data set of its own: it holds folders of pictures (but for masks), not pictures."""
    from vos_zoo.data.datasets.folder import FRAME_FOLDERS, MASK_FOLDERS

    if list_pictures(folder):
        return False
    inside = _folders(folder)
    if any(each.name in FRAME_FOLDERS for each in inside):
        return True
    return any(list_pictures(each) for each in inside if each.name not in MASK_FOLDERS)


def _lists(root: Path, frames: Path) -> Iterator[Path]:
    """Text files that name at least one video of a folder."""
    from vos_zoo.data.datasets.folder import LIST_FOLDERS

    for folder in (root, *(root / name for name in LIST_FOLDERS)):
        for path in list_files(folder, (".txt",)) if folder.is_dir() else []:
            if any("/" not in name and (frames / name).is_dir() for name in _lines(path)):
                yield path


def _lines(path: Path) -> list[str]:
    """The names of a list; empty for other text files."""
    try:
        return read_list(path)
    except VOSError:
        return []


def _folders(folder: Path) -> list[Path]:
    return list_folders(folder) if folder.is_dir() else []


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
