"""SA-V val and test (Ravi et al., arXiv:2408.00714): 24 frames per second, masks of every fourth frame.

Layout; every object has a folder of masks, since objects overlap::

    sav_val/sav_val.txt                                          list of videos
    sav_val/JPEGImages_24fps/sav_000001/00000.jpg 00001.jpg ...
    sav_val/Annotations_6fps/sav_000001/000/00000.png 00004.png ...   object 000, non-zero is the object

The objects of a video have the ids 1, 2, ... in the order of their folders. Where they overlap, a label map shows the
smaller one; scores are computed from the folders, without this loss. The training set is videos with JSON files:
extract the frames, import the masks (``vos-zoo import-masks --format sav``), and read both as ``folder``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vos_zoo.data.datasets.layouts import first_file, split_folder
from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, Problem, by_name
from vos_zoo.files.frames import frame_size
from vos_zoo.files.names import list_folders, list_pictures, natural_key
from vos_zoo.files.text import read_list
from vos_zoo.labels import MAX_ID
from vos_zoo.types import LabelMap
from vos_zoo.video.masks import read_mask

FRAMES, MASKS = "JPEGImages_24fps", "Annotations_6fps"


class SaVSequence(PictureSequence):
    """A video of SA-V.

    Args:
        name: name of the video.
        frames: frame stem -> image file, 24 per second.
        objects: name of the object's folder -> frame stem -> mask file.
    """

    def __init__(self, name: str, frames: Mapping[str, Path], objects: Mapping[str, Mapping[str, Path]]) -> None:
        any_mask = {stem: path for masks in reversed(list(objects.values())) for stem, path in masks.items()}
        super().__init__(name, frames, any_mask)
        self.masks = {identity: dict(masks) for identity, masks in enumerate(objects.values(), 1)}
        self._names = dict(enumerate(objects, 1))
        self.wanted_frames = self.annotated

    @property
    def object_names(self) -> Mapping[int, str]:
        """Name of the folder per object id."""
        return self._names

    def labels(self, index: int) -> LabelMap | None:
        """All objects of a frame, uint8 ``(H, W)``; the smaller ones are on top. None without masks."""
        stem = self.frame_names[index]
        files = {identity: masks[stem] for identity, masks in self.masks.items() if stem in masks}
        if not files:
            return None
        size = frame_size(self.frame_paths[index])
        found = {identity: read_mask(path, size=size, threshold=1) > 0 for identity, path in files.items()}
        labels = np.zeros(size, dtype=np.uint8)
        for identity in sorted(found, key=lambda one: (-int(found[one].sum()), one)):
            labels[found[identity]] = identity
        return labels

    @cached_property
    def sparse(self) -> bool:
        """Whether later masks hold new objects only; then there is one annotated frame per object."""
        return all(len(masks) < 2 for masks in self.masks.values())

    @property
    def has_truth(self) -> bool:
        """Whether there are annotated frames between the first and the last of them."""
        return len(self.annotated) > 2 and not self.sparse

    def files(self) -> Iterator[Path]:
        """The image and mask files."""
        yield from self.frame_paths
        yield from (path for masks in self.masks.values() for path in masks.values())

    def problems_at_sight(self) -> list[Problem]:
        """Faults that are found without opening a file."""
        problems = super().problems_at_sight()
        if len(self.masks) > MAX_ID:
            problems.append(Problem(self.name, f"has {len(self.masks)} objects; a label map shows {MAX_ID}"))
        return problems


class SaVDataset(PictureDataset):
    """A split of SA-V.

    Args:
        root: the folder that holds ``sav_val`` or ``sav_test``, or one of these.
        split: val or test.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.

    Raises:
        UsageError: no such folder or video.
        VOSError: a video is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
    ) -> None:
        base = split_folder("sav", Path(root), (f"sav_{split}", split), FRAMES)
        path = first_file([base / f"sav_{split}.txt", base / f"{split}.txt"])
        known = [folder.name for folder in list_folders(base / FRAMES)] if path is None else read_list(path)
        names = by_name(known, sequences, f"sav {split}")
        found = [
            SaVSequence(name, list_pictures(base / FRAMES / name), _objects(base / MASKS / name)) for name in names
        ]
        super().__init__(f"sav-{split}", Path(root), found, skip_broken=skip_broken)


def _objects(folder: Path) -> dict[str, dict[str, Path]]:
    """Object -> frame stem -> mask file, objects in the order of their names."""
    if not folder.is_dir():
        return {}
    return {
        path.name: list_pictures(path, (".png",))
        for path in sorted(list_folders(folder), key=lambda one: natural_key(one.name))
    }
