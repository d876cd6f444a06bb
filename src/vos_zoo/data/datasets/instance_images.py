"""Images with indexed masks, several objects each (ids 1..N in one PNG), from which training makes clips.

Supported layouts, nested at any depth::

    JPEGImages/a.jpg   SegmentationObject/a.png      PASCAL VOC; images without a mask are left out
    images/a.jpg       masks/a.png                   two folders, named as for the saliency sets
    a.jpg              a.png                         together

Value 0 is background and 255 is void, unless a mask holds nothing else: then 255 is its one object, id 1 (an image
is a video of its own).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.datasets.sequence import Problem
from vos_zoo.data.datasets.static_images import Pair, PictureFile, StaticDataset, chosen_pairs, find_pairs
from vos_zoo.data.datasets.threads import in_threads
from vos_zoo.files.frames import read_frame_strictly
from vos_zoo.files.names import list_pictures
from vos_zoo.files.text import read_list
from vos_zoo.labels import objects_of, shows_one_object
from vos_zoo.types import LabelMap, UsageError, VOSError
from vos_zoo.video.mask_reader import list_masks
from vos_zoo.video.masks import read_mask

_VOC = ("JPEGImages", "SegmentationObject")


class InstanceImage(PictureFile):
    """An image file with an indexed mask file.

    Attributes:
        object_ids: ids of the objects with at least `min_area` pixels, ascending.
    """

    def __init__(self, name: str, picture: Path, mask: Path, min_area: float = 0.0) -> None:
        super().__init__(name, picture, mask)
        counts = np.bincount(self.labels(0).reshape(-1), minlength=256)
        self.object_ids = tuple(int(i) for i in np.flatnonzero(counts) if i > 0 and counts[i] >= max(min_area, 1))

    def labels(self, index: int) -> LabelMap:
        """Ids of all objects, uint8 ``(H, W)``, 0 for background and void; the same for every index."""
        labels = read_mask(self.mask_path, size=self.size())
        return objects_of(labels, shows_one_object([labels]))

    def soft_mask(self) -> NDArray[np.uint8]:
        """All objects together, uint8 ``(H, W)``, 0 or 255."""
        return (self.labels(0) > 0).astype(np.uint8) * np.uint8(255)

    def soft_masks(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Masks of some objects, uint8 ``(K, H, W)``, 0 or 255."""
        labels = self.labels(0)
        return np.stack([(labels == identity).astype(np.uint8) * np.uint8(255) for identity in ids])

    def problems(self, decode: bool) -> list[Problem]:
        """An unreadable image, or a mask without an object."""
        try:
            if decode:
                read_frame_strictly(self.picture_path)
        except VOSError as error:
            return [Problem(str(self.picture_path), str(error).split(f"{self.picture_path}: ", 1)[-1])]
        if not self.object_ids:
            return [Problem(str(self.mask_path), "shows no object (or none of data.static.min_area pixels)")]
        return []


class InstanceDataset(StaticDataset):
    """Images with indexed masks below a folder (see the module docstring for the layouts).

    Every mask is read when the data set is opened (in threads). Images whose objects are all smaller than `min_area`
    are left out.

    Args:
        root: the folder.
        split: sub-folder, if there is one of that name, or PASCAL VOC's list
            ``ImageSets/Segmentation/<split>.txt``; otherwise everything.
        sequences: use only these images or folders.
        min_area: leave objects with fewer pixels out.
        skip_broken: leave broken pairs out with a warning.

    Raises:
        UsageError: no such folder, no pair in it, or an unknown name.
        VOSError: a pair is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        *,
        min_area: float = 0.0,
        skip_broken: bool = False,
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UsageError(f"instances: there is no folder {root}; check data.root")
        listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        root = root / split if split is not None and (root / split).is_dir() else root
        self.name = f"instances-{root.resolve().name}"
        pairs = list(_pairs(root))
        if listed.is_file():
            wanted = set(read_list(listed))
            pairs = [pair for pair in pairs if Path(pair.name).name in wanted]
        pairs = chosen_pairs(pairs, sequences, self.name)
        if not pairs:
            raise UsageError(f"{self.name}: no images with masks in {root}; check data.root")
        checked = in_threads(lambda pair: _check(pair, min_area), pairs)
        self.report([problem for _, problem in checked if problem is not None], skip_broken)
        self._images = [image for image, _ in checked if image is not None]
        if not self._images:
            raise VOSError(f"{self.name}: no image is left; vos-zoo check-data lists why")

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> InstanceImage: ...

    @overload
    def __getitem__(self, index: slice) -> list[InstanceImage]: ...

    def __getitem__(self, index: int | slice) -> InstanceImage | list[InstanceImage]:
        return self._images[index]


def _check(pair: Pair, min_area: float) -> tuple[InstanceImage | None, Problem | None]:
    """The image, or None if it cannot be used; and the reason if it is broken."""
    if pair.picture is None or pair.mask is None:
        alone, missing = (pair.picture, "mask") if pair.mask is None else (pair.mask, "picture")
        return None, Problem(str(alone), f"has no {missing} of that name")
    try:
        image = InstanceImage(pair.name, pair.picture, pair.mask, min_area)
        if not image.object_ids and not InstanceImage(pair.name, pair.picture, pair.mask).object_ids:
            return None, Problem(str(pair.mask), "shows no object")
    except VOSError as error:
        return None, Problem(str(pair.mask), str(error).split(f"{pair.mask}: ", 1)[-1])
    return (image if image.object_ids else None), None


def _pairs(root: Path) -> Iterator[Pair]:
    """Images and masks below a folder; of PASCAL VOC's folders only images with a mask."""
    pictures, masks = (root / name for name in _VOC)
    if not (pictures.is_dir() and masks.is_dir()):
        yield from find_pairs(root)
        return
    there = list_pictures(pictures)
    for name, mask in list_masks(masks).items():
        yield Pair(name, there.get(name), mask)
