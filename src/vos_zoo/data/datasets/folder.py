"""User videos: folders of frames with palette masks, in several common layouts.

One video, or one folder per video, with masks::

    clip/00000.jpg ...   clip_masks/00000.png        masks in `<root>_masks`
    clip/00000.jpg ...   clip/00000.png              JPEG frames and PNG masks together
    clip/00000.jpg ...   clip/masks/00000.png        masks in a sub-folder `masks`, `Annotations`, ...
    videos/<seq>/*.jpg   videos_masks/<seq>/*.png    a folder per video
    videos/<seq>/*.jpg   videos/masks/<seq>/*.png    the same with the masks inside (or `Annotations`, ...)
    root/JPEGImages/<seq>/*.jpg  root/Annotations/<seq>/*.png      DAVIS without (or with) the resolution folder

``JPEGImages`` may also be called ``frames`` or ``images``; ``Annotations`` also ``masks``. A mask has the stem of its
frame; the first frame's mask is enough for tracking, masks of all frames are needed for training and scores. Videos
whose masks hold only 0 and 255 show one object, id 1. A split is a sub-folder of that name or a list ``<split>.txt`` in
the root or in ``ImageSets``; without either, every split holds all videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, by_name
from vos_zoo.files.names import list_folders, list_pictures
from vos_zoo.files.text import read_list
from vos_zoo.types import UsageError
from vos_zoo.video.mask_reader import list_masks

FRAME_FOLDERS = ("JPEGImages", "frames", "images")
MASK_FOLDERS = ("Annotations", "masks")
LIST_FOLDERS = ("ImageSets",)


class FolderDataset(PictureDataset):
    """Videos of a folder (see the module docstring for the layouts).

    Args:
        root: the folder.
        masks: the folder of the masks, if it is not found automatically.
        split: sub-folder or list of videos in the root; None takes all.
        sequences: use only these names.
        skip_broken: leave out videos without frames or masks, with one warning, instead of refusing the data set.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges; None reads ids.

    Raises:
        UsageError: no such folder or sequence, or no frames in it.
        VOSError: a sequence is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        masks: str | Path | None = None,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UsageError(f"folder: there is no folder {root}; check data.root")
        listed: list[str] | None = None
        if split is not None and (root / split).is_dir():
            root = root / split
        elif split is not None:
            files = [folder / f"{split}.txt" for folder in (root, *(root / name for name in LIST_FOLDERS))]
            listed = next((read_list(file) for file in files if file.is_file()), None)
        frames = frame_root(root)
        mask_root = Path(masks) if masks is not None else _mask_root(root, frames)
        if masks is not None and not Path(masks).is_dir():
            raise UsageError(f"folder: there is no mask folder {masks}; name the folder that holds the PNG masks")
        found = _single(root, frames, mask_root, mask_threshold) or _many(frames, mask_root, listed, mask_threshold)
        if not found:
            raise UsageError(f"folder: no frames in {root}; it must hold images, or a folder of images per video")
        names = by_name([sequence.name for sequence in found], sequences, f"folder {root.name}")
        super().__init__(
            f"folder-{root.name}",
            root,
            [sequence for sequence in found if sequence.name in set(names)],
            skip_broken=skip_broken,
        )


def frame_root(root: Path) -> Path:
    """The folder whose images, or whose sub-folders' images, are the frames."""
    for name in FRAME_FOLDERS:
        inner = root / name
        if inner.is_dir():
            deeper = list_folders(inner)
            if len(deeper) == 1 and not list_pictures(deeper[0]):  # JPEGImages/480p/<seq>
                return deeper[0]
            return inner
    return root


def _mask_root(root: Path, frames: Path) -> Path | None:
    """The folder that holds the masks (or a folder of masks per video); None if they are in the frames' folder."""
    for name in MASK_FOLDERS:
        if (root / name).is_dir():
            inner = root / name / frames.name  # Annotations/480p next to JPEGImages/480p
            return inner if frames.parent.name in FRAME_FOLDERS and inner.is_dir() else root / name
    sibling = root.parent / f"{root.resolve().name}_masks"
    return sibling if sibling.is_dir() else None


def _sequence(name: str, folder: Path, masks: Path | None, threshold: int | None) -> PictureSequence:
    pictures = list_pictures(folder)
    if masks is None:
        masks = next((folder / inner for inner in MASK_FOLDERS if (folder / inner).is_dir()), None)
    if masks is not None:
        return PictureSequence(name, pictures, list_masks(masks), mask_threshold=threshold)
    jpegs = list_pictures(folder, (".jpg", ".jpeg"))
    if jpegs:  # together: JPEG frames, PNG masks
        return PictureSequence(name, jpegs, list_pictures(folder, (".png",)), mask_threshold=threshold)
    return PictureSequence(name, pictures, {})


def _single(root: Path, frames: Path, masks: Path | None, threshold: int | None) -> list[PictureSequence]:
    """The video of a folder that holds images itself; empty if it holds folders of images."""
    if not list_pictures(frames):
        return []
    return [_sequence(root.resolve().name, frames, masks, threshold)]


def _many(
    frames: Path, masks: Path | None, listed: Sequence[str] | None, threshold: int | None
) -> list[PictureSequence]:
    """A video per sub-folder (or per name of the list)."""
    reserved = {*FRAME_FOLDERS, *MASK_FOLDERS, *LIST_FOLDERS}
    folders = [path.name for path in list_folders(frames)]
    names = listed if listed is not None else [name for name in folders if name not in reserved]
    found = []
    for name in names:
        inner = masks / name if masks is not None and (masks / name).is_dir() else None
        found.append(_sequence(name, frames / name, inner, threshold))
    return found
