"""`vos-zoo check-data` and `vos-zoo make-data`."""

from __future__ import annotations

import warnings

from vos_zoo.config import DataConfig, RunConfig, to_plain
from vos_zoo.data.checking import STATIC_DATASETS, check_dataset, open_dataset
from vos_zoo.data.export import check_list, write_davis_layout
from vos_zoo.tasks.console import say
from vos_zoo.types import UsageError, VideoDataset


def run_check_data(*, config: RunConfig) -> int:
    """Report what a data set holds and what is wrong with it, by file; exit code 1 if something is."""
    data = config.data
    kind = data.composed.kind if data.name == "composed" else data.name  # the clips are as sound as their source
    wanted = [data.train_split] if kind in STATIC_DATASETS else [data.train_split, data.val_split, data.test_split]
    reports, refusals = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a warning would say stands in the report
        for split in dict.fromkeys(wanted):
            try:
                reports[split] = check_dataset(_open(data, kind, split))
            except UsageError as error:  # a data set need not have every split
                refusals.append(error)
    if not reports:
        raise refusals[0]
    for split, report in reports.items():
        say(f"split {split}\n{report}")
    return 0 if all(report.sound for report in reports.values()) else 1


def _open(data: DataConfig, kind: str, split: str) -> VideoDataset:
    return open_dataset(
        kind,
        data.root,
        split=split,
        year=data.year,
        resolution=data.resolution,
        layout=data.layout,
        sequences=data.sequences,
        min_area=data.static.min_area,
        mask_threshold=data.mask_threshold,
        skip_broken=True,
    )


def run_make_data(*, config: RunConfig, kind: str, output: str) -> int:
    """Write generated videos in DAVIS layout, one list per split."""
    settings = to_plain(config.data.synthetic)
    splits = {
        split: open_dataset(kind, split=split, synthetic=settings, seed=config.data.seed)
        for split in ("train", "val", "test")
    }
    for split, videos in splits.items():  # all before the first is written
        check_list(videos, output, split=split)
    for split, videos in splits.items():
        write_davis_layout(videos, output, split=split)
        say(f"{split}: {len(videos)} videos -> {output}")
    return 0
