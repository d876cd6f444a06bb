"""YouTube-VOS 2018 and 2019 (Xu et al., arXiv:1809.03327): train, valid, test, and their frames at full rate.

Layout; the folder above the split varies (`LAYOUTS`)::

    train/JPEGImages/<video>/00000.jpg   train/Annotations/<video>/00000.png   train/meta.json   every fifth frame
    valid/JPEGImages/...                 valid/Annotations/...                 valid/meta.json   masks of new objects
    valid_all_frames/JPEGImages/...                                                              30 frames per second

``meta.json`` lists the frames of every object. The object starts in the first of them; if its mask has no
pixel of it there, in the first listed frame that has (six objects of the training set). The frames listed for any
object are those the server requests. In valid and test a mask holds the objects that start there, and its zeros are
unlabelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, Problem, by_name
from vos_zoo.files.lists import read_meta
from vos_zoo.files.names import list_pictures, natural_key
from vos_zoo.files.text import read_list
from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.mask_reader import list_masks

LAYOUTS = (
    "{split}",
    "{year}/{split}",
    "all_frames/{split}",
    "{year}/all_frames/{split}",
    "YouTube{year}/{split}",
    "YouTube/{split}",
)
"""Folders below the root that may hold a split; the first that exists is used."""
ALL_FRAMES = "_all_frames"
SPLITS = ("train", "train3464", "jjtrain", "jjvalid", "valid", "test")
"""Known splits; valid and test with the suffix `_all_frames` are the same videos at 30 frames per second."""


class ListedObject(NamedTuple):
    """An object in ``meta.json``: its category and the names of its frames."""

    category: str
    frames: tuple[str, ...]


class YouTubeVosSequence(PictureSequence):
    """A video with its part of ``meta.json``.

    Args:
        name: name of the video.
        frames: frame stem -> image file.
        masks: frame stem -> mask file.
        listed: id -> object.
        mask_threshold: see `PictureSequence`.
    """

    def __init__(
        self,
        name: str,
        frames: Mapping[str, Path],
        masks: Mapping[str, Path],
        listed: Mapping[int, ListedObject],
        *,
        mask_threshold: int | None = None,
    ) -> None:
        super().__init__(name, frames, masks, mask_threshold=mask_threshold, listed=listed)
        self.listed = dict(listed)
        number = {stem: index for index, stem in enumerate(self.frame_names)}
        self._listed_frames = {
            identity: tuple(number[stem] for stem in entry.frames if stem in number)
            for identity, entry in listed.items()
        }

    @cached_property
    def wanted_frames(self) -> tuple[int, ...]:  # type: ignore[override]  # an attribute that is computed when first asked for
        """The frames that the server requests, ascending: those listed for any object."""
        return tuple(sorted({index for frames in self._listed_frames.values() for index in frames}))

    @property
    def categories(self) -> Mapping[int, str]:
        """Category per object id."""
        return {identity: entry.category for identity, entry in self.listed.items()}

    @cached_property
    def _starts(self) -> dict[int, int]:  # type: ignore[override]  # as in the base class, by another rule
        starts = {}
        for identity, frames in self._listed_frames.items():
            counts = self._counts.get(identity)
            visible = [index for index in frames if counts is not None and counts[index]]
            if visible:
                starts[identity] = visible[0]
        return dict(sorted(starts.items(), key=lambda item: (item[1], item[0])))

    @property
    def notes(self) -> list[str]:
        """Those of `PictureSequence`, and objects that start later than listed."""
        late = []
        for identity, entry in self.listed.items():
            start = self._starts.get(identity)
            if start is not None and entry.frames[0] != self.frame_names[start]:
                late.append(
                    f"{self.name}/{identity} starts in {self.frame_names[start]}, not {entry.frames[0]} as listed"
                )
        return [*late, *super().notes]

    def problems_at_sight(self) -> list[Problem]:
        """Missing frames or masks, found without opening a file."""
        problems = super().problems_at_sight()
        missing = sorted({stem for entry in self.listed.values() for stem in entry.frames} - set(self.frame_names))
        if not problems and missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            problems.append(Problem(self.name, f"frame {missing[0]}{more} listed in meta.json: there is no image"))
        if not problems and not self.listed:
            problems.append(Problem(self.name, "meta.json lists no object of it"))
        return problems


class YouTubeVosDataset(PictureDataset):
    """A split of YouTube-VOS.

    Args:
        root: the folder of the data set; see `LAYOUTS` for the folders between it and the splits.
        split: train, valid, test; valid_all_frames, test_all_frames; jjtrain and jjvalid (the published split of train
            into 3171 and 300 videos), train3464 (train without seven faulty videos).
        year: 2018 or 2019.
        layout: folder of a split below the root, with {split} and {year}; None finds it among `LAYOUTS`.
        sequences: use only these videos.
        skip_broken: leave broken videos out with a warning.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges; None reads ids.

    Raises:
        UsageError: no such split, year, folder or video, or no meta.json.
        VOSError: a video is broken and `skip_broken` is off, or meta.json cannot be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "jjvalid",
        year: int = 2019,
        layout: str | None = None,
        sequences: Sequence[str] | None = None,
        *,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
    ) -> None:
        root, base = Path(root), split.removesuffix(ALL_FRAMES)
        if int(year) not in (2018, 2019):
            raise UsageError(f"youtube_vos: year {year} is not known; use 2018 or 2019 (data.year)")
        if base not in SPLITS or (base not in ("valid", "test") and base != split):
            known = ", ".join((*SPLITS, f"valid{ALL_FRAMES}", f"test{ALL_FRAMES}"))
            raise UsageError(f"youtube_vos: split {split!r} is not known; there are {known}")
        if not root.is_dir():
            raise UsageError(f"youtube_vos: there is no folder {root}; check data.root")
        folder = base if base in ("valid", "test") else "train"
        home = _folder(root, folder, int(year), layout)
        pictures = home if base == split else _folder(root, split, int(year), layout)
        meta = listed_objects(home / "meta.json")
        names = by_name(_chosen(list(meta), base), sequences, f"youtube_vos {split}")
        found = [
            YouTubeVosSequence(
                name,
                list_pictures(pictures / "JPEGImages" / name, (".jpg", ".jpeg")),
                list_masks(home / "Annotations" / name),
                meta[name],
                mask_threshold=mask_threshold,
            )
            for name in names
        ]
        super().__init__(f"youtube_vos{year}-{split}", root, found, skip_broken=skip_broken)
        self.frame_step = 5 if base == split else 1


def _folder(root: Path, split: str, year: int, layout: str | None) -> Path:
    """The folder of a split.

    Raises:
        UsageError: there is none.
    """
    try:
        tried = [root / form.format(split=split, year=year) for form in ((layout,) if layout else LAYOUTS)]
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"data.layout: {layout!r} may hold {{split}} and {{year}} only") from error
    for folder in tried:
        if (folder / "JPEGImages").is_dir():
            return folder
    shown = ", ".join(str(folder.relative_to(root)) for folder in tried)
    raise UsageError(
        f"youtube_vos: no folder JPEGImages of split {split} in {root} (looked in {shown}); "
        "check data.root, or set data.layout, such as data.layout='{year}/{split}'"
    )


def _chosen(names: Sequence[str], split: str) -> list[str]:
    """The videos of a split; those of the published lists in the order of meta.json."""
    if split == "train3464":
        return [name for name in names if name not in published_list("erroneous")]
    if split in ("jjtrain", "jjvalid"):
        chosen = published_list(split)
        return [name for name in names if name in chosen]
    return list(names)


def published_list(name: str) -> frozenset[str]:
    """A list of videos in the package: jjtrain, jjvalid or erroneous."""
    path = Path(str(files("vos_zoo.data"))) / "lists" / f"youtube_vos_{name}.txt"
    return frozenset(read_list(path))


def listed_objects(path: Path) -> dict[str, dict[int, ListedObject]]:
    """What ``meta.json`` lists: video -> id -> object.

    Raises:
        UsageError: there is no such file.
        VOSError: it has another form.
    """
    try:
        return {
            name: {
                _identity(identity): ListedObject(
                    str(entry["category"]), tuple(sorted((str(stem) for stem in entry["frames"]), key=natural_key))
                )
                for identity, entry in video["objects"].items()
            }
            for name, video in sorted(read_meta(path).items())
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VOSError(f"{path}: is not a meta.json of YouTube-VOS ({error!r}); restore it from the archive") from error


def _identity(text: str) -> int:
    identity = int(text)
    if not MIN_ID <= identity <= MAX_ID:
        raise ValueError(f"object id {text}, ids go from {MIN_ID} to {MAX_ID}")
    return identity
