"""MOSE (Ding et al., ICCV 2023) and MOSEv2 (Ding et al., 2025).

Layout: ``<split>/JPEGImages/<video>/00000.jpg``, ``<split>/Annotations/<video>/00000.png``; MOSEv2 with a ``meta.json``
of the videos' lengths and objects. Training masks are complete; of valid (and MOSE's test) the first frame's mask is
public, so that these splits are run, not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.data.datasets.layouts import SplitFolderDataset


class MoseDataset(SplitFolderDataset):
    """A split of MOSE.

    Args:
        root: the folder that holds the splits' folders, or a split's folder.
        split: train, valid or test.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        mask_threshold: see `PictureSequence`.

    Raises:
        UsageError: no such folder or video.
        VOSError: a video is broken and `skip_broken` is off, or the meta file has another form.
    """

    edition = "mose"

    def __init__(
        self,
        root: str | Path,
        split: str = "valid",
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        super().__init__(Path(root), split, (split,), sequences, skip_broken, mask_threshold)

    @staticmethod
    def meta_files(base: Path, root: Path, folders: Sequence[str]) -> list[Path]:
        """``meta.json`` in the split's folder, or ``meta_<split>.json`` there or beside it."""
        named = [f"meta_{name}.json" for name in folders]
        return [base / "meta.json", *(folder / name for name in named for folder in (base, root))]


class Mosev2Dataset(MoseDataset):
    """A split of MOSEv2; see `MoseDataset`."""

    edition = "mosev2"
