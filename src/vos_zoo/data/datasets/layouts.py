"""What the readers of benchmarks share: the folder of a split, meta files, the step between frames' names."""

from __future__ import annotations

import re
import statistics
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, by_name
from vos_zoo.files.lists import read_meta
from vos_zoo.files.names import list_folders, list_pictures
from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.mask_reader import list_masks

_NUMBER = re.compile(r"([0-9]+)[^0-9]*$")
_LOOKED_AT = 20  # videos whose names tell the step between frames


def split_folder(what: str, root: Path, splits: Sequence[str], wanted: str = "JPEGImages") -> Path:
    """The folder that holds `wanted`: one of the splits' folders in the root, or the root itself.

    Raises:
        UsageError: there is none.
    """
    places = [*(root / split for split in splits), root]
    for place in places:
        if (place / wanted).is_dir():
            return place
    there = ", ".join(path.name for path in list_folders(root)) if root.is_dir() else "no such folder"
    raise UsageError(f"{what}: no folder {places[0] / wanted}; check data.root and the split (there: {there})")


def first_file(paths: Sequence[Path]) -> Path | None:
    """The first of the files that exists."""
    return next((path for path in paths if path.is_file()), None)


def listed_objects(path: Path) -> dict[str, tuple[int, ...]]:
    """A meta file ``{"videos": {VIDEO: {"objects": ...}}}``: the ids of every video, in the file's order.

    Raises:
        UsageError: see `read_meta`.
        VOSError: it does not list objects by their ids.
    """
    try:
        found = {
            name: tuple(int(one) for one in about["objects"] if str(one) != "255")
            for name, about in read_meta(path).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VOSError(f"{path}: does not list the objects of its videos ({error!r}); restore it") from error
    wrong = next((one for ids in found.values() for one in ids if not MIN_ID <= one <= MAX_ID), None)
    if wrong is not None:
        raise VOSError(f"{path}: lists the object {wrong}; ids go from {MIN_ID} to {MAX_ID}")
    return found


def open_sequence(
    base: Path, name: str, threshold: int | None, listed: Sequence[int] | None = None, folder: str = ""
) -> PictureSequence:
    """The video of ``JPEGImages/NAME`` and ``Annotations/NAME`` below `base`, both perhaps with `folder` between."""
    frames = list_pictures(base / "JPEGImages" / folder / name)
    masks = list_masks(base / "Annotations" / folder / name)
    return PictureSequence(name, frames, masks, mask_threshold=threshold, listed=listed)


def name_step(sequences: Sequence[PictureSequence]) -> int:
    """Filmed frames per frame, from the numbers in the frames' names: their median difference, at least 1."""
    steps = []
    for sequence in sequences[:_LOOKED_AT]:
        numbers = [int(found[1]) for name in sequence.frame_names if (found := _NUMBER.search(name))]
        steps += [after - before for before, after in pairwise(numbers)]
    return max(1, round(statistics.median(steps))) if steps else 1


class SplitFolderDataset(PictureDataset):
    """The videos of a split's folder, ``JPEGImages`` and ``Annotations``, with the objects that a meta file lists.

    Without a meta file all videos of the folder are read, with all their objects.

    Args:
        root: the folder that holds the splits' folders, or a split's folder.
        split: name of the split.
        folders: names that the split's folder may have.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        threshold: see `PictureSequence`.
    """

    edition = ""
    """Name of the data set and its version."""

    def __init__(
        self,
        root: Path,
        split: str,
        folders: Sequence[str],
        sequences: Sequence[str] | None,
        skip_broken: bool,
        threshold: int | None,
    ) -> None:
        base = split_folder(self.edition, root, folders)
        meta = first_file(self.meta_files(base, root, folders))
        listed = listed_objects(meta) if meta is not None else {}
        known = list(listed) or [path.name for path in list_folders(base / "JPEGImages")]
        names = by_name(known, sequences, f"{self.edition} {split}")
        found = [open_sequence(base, name, threshold, listed.get(name)) for name in names]
        self.frame_step = name_step(found)
        super().__init__(f"{self.edition}-{split}", root, found, skip_broken=skip_broken)

    @staticmethod
    @abstractmethod
    def meta_files(base: Path, root: Path, folders: Sequence[str]) -> list[Path]:
        """Where the meta file may be, the first choice first."""
