"""LVOS, versions 1 (Hong et al., ICCV 2023) and 2 (Hong et al., arXiv:2404.19326): minute-long videos.

Layout: ``<split>/JPEGImages/<video>/00000001.jpg, 00000006.jpg, ...`` (every fifth frame of the filmed video),
``<split>/Annotations/<video>/00000001.png``, and a meta file with the objects and their ranges,
``<split>/<split>_meta.json``. The public archive calls the validation folder ``val`` and some tools its meta file
``valid_meta.json``: both names are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.data.datasets.layouts import SplitFolderDataset

ALIASES = {"val": "valid", "valid": "val"}


class LvosDataset(SplitFolderDataset):
    """A split of LVOS, version 2.

    Objects are those of the meta file, and start in the first annotated frame that shows them; labels that it does not
    list are background.

    Args:
        root: the folder that holds the splits' folders, or a split's folder.
        split: train, valid (or val) or test.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        mask_threshold: see `PictureSequence`.

    Raises:
        UsageError: no such folder or video.
        VOSError: a video is broken and `skip_broken` is off, or the meta file has another form.
    """

    edition = "lvos_v2"

    def __init__(
        self,
        root: str | Path,
        split: str = "valid",
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        split = "valid" if split == "val" else split
        folders = (split, ALIASES.get(split, split))
        super().__init__(Path(root), split, folders, sequences, skip_broken, mask_threshold)

    @staticmethod
    def meta_files(base: Path, root: Path, folders: Sequence[str]) -> list[Path]:
        """``<split>_meta.json`` in the split's folder."""
        return [base / f"{name}_meta.json" for name in folders]


class LvosV1Dataset(LvosDataset):
    """A split of LVOS, version 1; see `LvosDataset`."""

    edition = "lvos_v1"
