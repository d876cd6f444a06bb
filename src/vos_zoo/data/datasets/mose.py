"""MOSE (Ding et al., ICCV 2023) and MOSEv2 (Ding et al., 2025).

Layout: ``<split>/JPEGImages/<video>/00000.jpg``, ``<split>/Annotations/<video>/00000.png``; MOSEv2 with a ``meta.json``
of the videos' lengths and objects. Training masks are complete; of valid (and MOSE's test) the first frame's mask is
public, so that these splits are run, not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.data.datasets.layouts import first_file, listed_objects, name_step, open_sequence, split_folder
from vos_zoo.data.datasets.sequence import PictureDataset, by_name
from vos_zoo.files.names import list_folders


class MoseDataset(PictureDataset):
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
        base = split_folder(self.edition, Path(root), (split,))
        meta = first_file([base / "meta.json", base / f"meta_{split}.json", Path(root) / f"meta_{split}.json"])
        listed = listed_objects(meta) if meta is not None else {}
        known = list(listed) or [path.name for path in list_folders(base / "JPEGImages")]
        names = by_name(known, sequences, f"{self.edition} {split}")
        found = [open_sequence(base, name, mask_threshold, listed.get(name)) for name in names]
        self.frame_step = name_step(found)
        super().__init__(f"{self.edition}-{split}", Path(root), found, skip_broken=skip_broken)


class Mosev2Dataset(MoseDataset):
    """A split of MOSEv2; see `MoseDataset`."""

    edition = "mosev2"
