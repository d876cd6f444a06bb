"""Opens the data sets that composed clips are cut out of, as the configuration names them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vos_zoo.config.settings.generated import ComposedConfig
from vos_zoo.data.composed.sources import Sources
from vos_zoo.data.composed.videos import ComposedDataset
from vos_zoo.data.datasets.checking import keep_sound
from vos_zoo.data.datasets.sequence import Problem, describe
from vos_zoo.data.datasets.static_images import StaticDataset
from vos_zoo.data.datasets.threads import in_threads
from vos_zoo.data.opening import open_dataset
from vos_zoo.dataset_registry import load_dataset
from vos_zoo.files.frames import frame_size
from vos_zoo.files.names import list_files, list_folders
from vos_zoo.types import UsageError, VideoDataset, VOSError


def open_composed(
    root: str | Path | None,
    split: str,
    *,
    composed: ComposedConfig,
    seed: int = 0,
    sequences: Sequence[str] | None = None,
    skip_broken: bool = False,
    **options: Any,
) -> ComposedDataset:
    """The composed clips of a split.

    Args:
        root: folder of pictures or videos with masks, of the data set `kind`; None where only `videos` are used.
        split: split of the clips, and of what `root` holds.
        composed: the `data.composed` part of the configuration.
        seed: seed of the clips.
        sequences: cut out of these pictures or videos of the root only.
        skip_broken: leave unreadable backgrounds out with a warning.
        options: further options of the data sets that the clips are cut out of.

    Raises:
        UsageError: no folder, an unknown key, a value or a kind that does not fit.
        VOSError: something in the folders is broken and `skip_broken` is off.
    """

    def source(kind: str, folder: str | Path, part: str, chosen: Sequence[str] | None) -> VideoDataset:
        takes = load_dataset(kind).takes
        own = {name: value for name, value in options.items() if name in takes}
        dataset = open_dataset(kind, folder, split=part, sequences=chosen, skip_broken=skip_broken, **own)
        return keep_sound(dataset, skip_broken=skip_broken)

    kind, videos, backgrounds = composed.kind, composed.videos, composed.backgrounds
    if load_dataset(kind).generated:
        raise UsageError(f"data.composed.kind: {kind!r} is drawn itself; name a data set that is read from a folder")
    if root is None and videos is None:
        raise UsageError(
            "data set 'composed': no folder given; set its root (data.root=FOLDER) to pictures with masks, "
            "or data.composed.videos=FOLDER"
        )
    opened = [] if root is None else [source(kind, root, split, sequences)]
    if videos is not None:
        lists = (Path(videos) / "ImageSets").is_dir()
        opened.append(source("davis" if lists else "folder", videos, "train", None))
    sources = Sources(
        [dataset for dataset in opened if isinstance(dataset, StaticDataset)],
        [dataset for dataset in opened if not isinstance(dataset, StaticDataset)],
        [] if backgrounds is None else find_plain(Path(backgrounds), skip_broken=skip_broken),
    )
    return ComposedDataset(sources, composed.count(split) or composed.train_videos, split, composed.settings(seed))


def find_plain(folder: Path, *, skip_broken: bool = False) -> list[Path]:
    """The pictures of a folder and the folders below it.

    Raises:
        UsageError: no such folder, or no picture in it.
        VOSError: a picture's header cannot be read and `skip_broken` is off.
    """
    if not folder.is_dir():
        raise UsageError(f"data.composed.backgrounds: there is no folder {folder}")
    pictures = [*_below(folder)]
    problems = dict(zip(pictures, in_threads(_problem, pictures), strict=True))
    broken = [problem for problem in problems.values() if problem is not None]
    if broken and not skip_broken:
        raise VOSError(f"data.composed.backgrounds: {describe(broken)}; fix them or set data.skip_broken=true")
    if broken:
        warnings.warn(f"data.composed.backgrounds: left out: {describe(broken, limit=20)}", stacklevel=2)
    sound = [path for path, problem in problems.items() if problem is None]
    if not sound:
        raise UsageError(f"data.composed.backgrounds: no pictures in {folder}")
    return sound


def _below(folder: Path) -> Iterator[Path]:
    yield from list_files(folder)
    for inner in list_folders(folder):
        yield from _below(inner)


def _problem(path: Path) -> Problem | None:
    try:
        frame_size(path)
    except VOSError as error:
        return Problem(str(path), str(error).split(f"{path}: ", 1)[-1])
    return None
