"""VOST (Tokmakov et al., CVPR 2023) and VISOR (Darkhalil et al., NeurIPS 2022) as its converter writes it.

Both keep their lists in ``ImageSets``, and frames and masks in two folders of videos::

    VOST/ImageSets/val.txt         VOST/JPEGImages/<video>/frame00012.jpg    VOST/Annotations/<video>/frame00012.png
    VISOR_2022/ImageSets/2022/val.txt    JPEGImages/480p/<video>/...jpg      Annotations/480p/<video>/...png

In VOST's masks 255 marks areas to ignore: scores leave them out, training and prompts take them as background. VISOR's
frames are far apart and not evenly spaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.config.settings.data import SourceSettings
from vos_zoo.data.datasets.layouts import first_file, name_step, open_sequence, split_folder
from vos_zoo.data.datasets.sequence import PictureDataset, by_name
from vos_zoo.files.text import read_list
from vos_zoo.types import UsageError

VOST_LISTS, VISOR_LISTS = ("",), ("2022", "2017")
"""Folders of ``ImageSets`` that hold the lists."""


class _ListedDataset(PictureDataset):
    """Videos that a list in ``ImageSets`` names."""

    def __init__(
        self,
        what: str,
        root: Path,
        split: str,
        lists: Sequence[str],
        resolution: str,
        sequences: Sequence[str] | None,
        skip_broken: bool,
        threshold: int | None,
    ) -> None:
        base = split_folder(what, root, (), f"JPEGImages/{resolution}" if resolution else "JPEGImages")
        files = [base / "ImageSets" / folder / f"{split}.txt" for folder in lists]
        path = first_file(files)
        if path is None:
            known = sorted(str(file.relative_to(base)) for file in (base / "ImageSets").rglob("*.txt"))
            there = f"there are {', '.join(known)}" if known else "there is no list at all"
            raise UsageError(f"{what}: no list {files[0]}; {there}")
        names = by_name(read_list(path), sequences, f"{what} {split}")
        found = [open_sequence(base, name, threshold, folder=resolution) for name in names]
        self.frame_step = name_step(found)
        super().__init__(f"{what}-{split}", root, found, skip_broken=skip_broken)


class VostDataset(_ListedDataset):
    """A split of VOST.

    Args:
        root: the folder that holds ``ImageSets``, ``JPEGImages`` and ``Annotations``.
        split: train, val or test (of which the first masks are public).
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        mask_threshold: see `PictureSequence`.

    Raises:
        UsageError: no such folder, list or video.
        VOSError: a video is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        super().__init__("vost", Path(root), split, VOST_LISTS, "", sequences, skip_broken, mask_threshold)


class VisorDataset(_ListedDataset):
    """A split of VISOR in the form of its converter to DAVIS's layout.

    Args:
        root: the folder that holds ``ImageSets``, ``JPEGImages`` and ``Annotations``.
        split: train, val or val_unseen.
        resolution: the sub-folder of frames and masks.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        mask_threshold: see `PictureSequence`.

    Raises:
        UsageError: no such folder, list or video.
        VOSError: a video is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        resolution: str = SourceSettings.resolution,
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        super().__init__("visor", Path(root), split, VISOR_LISTS, resolution, sequences, skip_broken, mask_threshold)
