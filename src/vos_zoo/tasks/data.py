"""`vos-zoo check-data` and `vos-zoo make-data`."""

from __future__ import annotations

import sys
import warnings

from vos_zoo.config import RunConfig, to_plain
from vos_zoo.data.checking import STATIC_DATASETS, check_dataset, open_dataset
from vos_zoo.data.export import write_davis_layout


def run_check_data(*, config: RunConfig) -> int:
    """Report what a data set holds and what is wrong with it, by file; exit code 1 if something is."""
    data = config.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a warning would say stands in the report
        videos = open_dataset(
            data.name,
            data.root,
            split=data.train_split if data.name in STATIC_DATASETS else data.val_split,
            year=data.year,
            resolution=data.resolution,
            sequences=data.sequences,
            min_area=data.static.min_area,
            skip_broken=True,
        )
        report = check_dataset(videos)
    sys.stdout.write(f"{report}\n")
    return 0 if report.sound else 1


def run_make_data(*, config: RunConfig, kind: str, output: str) -> int:
    """Write generated videos in DAVIS layout, one list per split."""
    settings = to_plain(config.data.synthetic)
    for split in ("train", "val", "test"):
        videos = open_dataset(kind, split=split, synthetic=settings, seed=config.data.seed)
        write_davis_layout(videos, output, split=split)
        sys.stdout.write(f"{split}: {len(videos)} videos -> {output}\n")
    return 0
