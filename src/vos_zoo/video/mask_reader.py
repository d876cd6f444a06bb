"""The mask files of a video, read by one rule for the meaning of values (`vos_zoo.labels`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from vos_zoo.files.names import list_pictures
from vos_zoo.labels import VOID, objects_of, shows_ids, shows_one_object
from vos_zoo.types import LabelMap, VOSError
from vos_zoo.video.masks import mask_colours, read_mask

OTHER_SUFFIXES = (".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
"""Endings (lower case) of masks in a folder without PNGs; JPEGs are refused when read."""


def list_masks(folder: Path) -> dict[str, Path]:
    """Mask files of a folder by file stem, in natural order: its PNGs, or other images if it holds no PNG.

    A missing folder is empty.
    """
    return list_pictures(folder, (".png",)) or list_pictures(folder, OTHER_SUFFIXES)


class MaskReader:
    """Reads the masks of one video.

    Files are opened when they are read. If a mask has only the values 0 and 255, the others are read, too, until
    one shows an id: 255 is object 1 only if none does.

    Args:
        files: the mask files of the video.
        threshold: the smallest level, 1..255, of the one object of masks with soft edges; 1 takes any non-zero value of
            any channel (DAVIS-2016); None reads object ids.
    """

    def __init__(self, files: Iterable[Path], threshold: int | None = None) -> None:
        self.files, self.threshold = tuple(files), threshold

    @cached_property
    def one_object(self) -> bool:
        """Whether 255 is the one object of the video, with id 1."""
        return self.threshold is None and shows_one_object(self._readable())

    def _readable(self) -> Iterator[LabelMap]:
        for path in self.files:
            try:
                yield read_mask(path)
            except VOSError:  # reported when it is read itself
                continue

    def read(self, path: Path, *, size: tuple[int, int] | None = None) -> LabelMap:
        """Objects of one of the masks, uint8 ``(H, W)`` of ids 1..254 and 0.

        Args:
            path: the file.
            size: (height, width) the mask must have; None accepts any size.

        Raises:
            VOSError: the file cannot be read as a mask; see `read_mask`.
        """
        labels = read_mask(path, size=size, threshold=self.threshold)
        if labels.max(initial=0) < VOID:
            return labels
        return objects_of(labels, one_object=not shows_ids(labels) and self.one_object)


def background_doubt(path: Path) -> str | None:
    """One line on why index 0 of a mask file may be an object instead of the background, or None.

    The background is expected to be black if the file has colours, and to touch the border, most of which belongs to
    no single object.

    Raises:
        VOSError: the file cannot be read.
    """
    labels, colours = mask_colours(path)
    reasons = []
    if colours is not None and len(colours) and colours[0].any():
        reasons.append(f"has the colour {tuple(int(value) for value in colours[0])}")
    border = Counter(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
    most, count = border.most_common(1)[0]
    if not border[0]:
        reasons.append("touches no border of the image")
    elif most and 2 * count > border.total():
        reasons.append(f"fills less of the image border than value {most}")
    if not reasons:
        return None
    return (
        f"mask {path}: value 0, the background, {' and '.join(reasons)}; if it is an object, save the mask with the "
        "background as 0 (palette order counts, not colour)"
    )
