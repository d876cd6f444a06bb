"""`vos-zoo check-data` and `vos-zoo make-data`."""

from __future__ import annotations

import warnings
from pathlib import Path

from vos_zoo.config.layers import DataConfig, RunConfig
from vos_zoo.console import say
from vos_zoo.data.datasets.checking import DatasetReport, check_dataset
from vos_zoo.data.datasets.export import check_list, write_davis_layout
from vos_zoo.data.datasets.splits import find_splits
from vos_zoo.data.opening import open_dataset
from vos_zoo.dataset_registry import load_dataset
from vos_zoo.types import VideoDataset, VOSError


def run_check_data(*, config: RunConfig) -> int:
    """Report a data set's contents and faults, by file; exit code 1 if there are faults.

    Every existing split is read, whatever the configuration's splits are; parts that are not read are listed.
    """
    data = config.data
    kind = data.composed.kind if data.name == "composed" else data.name  # the clips depend on their source
    found = find_splits(kind, data.root, data.year, data.resolution, data.layout)
    own = [data.train_split] if load_dataset(kind).static else [data.train_split, data.val_split, data.test_split]
    known = [split for split in own if not found.names or split in (*found.names, *found.derived)]
    read: set[Path] = set()
    reports: list[DatasetReport] = []
    refusals: list[tuple[str, VOSError]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report has what a warning would say
        for split in dict.fromkeys([*known, *found.names]):
            try:
                videos = _open(data, kind, split)
            except VOSError as error:
                refusals.append((split, error))
                continue
            files = {path for video in videos for path in video.files()}
            if split not in known and files and files <= read and not getattr(videos, "problems", ()):
                continue  # a list whose videos are in other lists, too
            read |= files
            reports.append(check_dataset(videos))
            say(f"split {split}\n{reports[-1]}" if split else str(reports[-1]))
    if not reports:
        raise refusals[0][1]
    missing = [] if not found.names or data.sequences is not None else refusals
    for split, problem in missing:
        say(f"split {split}\nnot read, because of a problem: {problem}")
    if found.unread:
        say(f"not read: {', '.join(found.unread)}")
    return 0 if all(report.sound for report in reports) and not missing else 1


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
    splits = {
        split: open_dataset(kind, split=split, synthetic=config.data.synthetic, seed=config.data.seed)
        for split in ("train", "val", "test")
    }
    for split, videos in splits.items():  # open all before writing the first
        check_list(videos, output, split=split)
    for split, videos in splits.items():
        write_davis_layout(videos, output, split=split)
        say(f"{split}: {len(videos)} videos -> {output}")
    return 0
