"""DAVIS 2016 and 2017 (Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv:1704.00675), and packs laid out like them.

Layout: ``JPEGImages/<resolution>/<sequence>/%05d.jpg``, ``Annotations/<resolution>/<sequence>/%05d.png`` and a list of
sequences, either ``ImageSets/<year>/<split>.txt`` (a name per line) or, in the original 2016 archive,
``ImageSets/<resolution>/<split>.txt`` with a pair per line, "/JPEGImages/480p/SEQ/00000.jpg
/Annotations/480p/SEQ/00000.png".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.config.settings.data import SourceSettings
from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, by_name
from vos_zoo.files.lists import read_davis_list
from vos_zoo.files.names import list_pictures
from vos_zoo.types import UsageError
from vos_zoo.video.mask_reader import list_masks


class DavisDataset(PictureDataset):
    """DAVIS or a pack in its layout.

    Args:
        root: the folder that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: name of the list: train, val, trainval, test-dev, ...
        year: 2017 (ids of several objects) or 2016 (any non-zero value of any channel of the mask is the one object).
        resolution: 480p, 1080p, Full-Resolution: the name of the sub-folder.
        sequences: use only these names.
        skip_broken: leave out sequences without frames or masks, with one warning, instead of refusing the data set.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges; None reads ids, or for
            2016 any non-zero value.

    Raises:
        UsageError: no such folder, list, year or sequence.
        VOSError: a sequence of the list is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        year: int = SourceSettings.year,
        resolution: str = SourceSettings.resolution,
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        root = Path(root)
        if int(year) not in (2016, 2017):
            raise UsageError(f"davis: year {year} is not known; use 2016 (one object) or 2017 (several)")
        pictures = root / "JPEGImages" / resolution
        if not pictures.is_dir():
            known = sorted(path.name for path in (root / "JPEGImages").glob("*") if path.is_dir())
            cure = f"data.resolution can be {', '.join(known)}" if known else "data.root must hold JPEGImages/480p"
            raise UsageError(f"davis: there is no folder {pictures}; {cure}")
        names = read_davis_list(root, split, int(year), resolution)
        masks = root / "Annotations" / resolution
        found = [
            PictureSequence(
                name,
                list_pictures(pictures / name),
                list_masks(masks / name),
                mask_threshold=1 if int(year) == 2016 and mask_threshold is None else mask_threshold,
            )
            for name in by_name(names, sequences, f"davis {split}")
        ]
        super().__init__(f"davis{year}-{split}", root, found, skip_broken=skip_broken)
