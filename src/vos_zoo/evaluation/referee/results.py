"""Anybody's masks: a folder of PNGs (label maps, or a folder per object), a zip of one, or COCO run-length JSON."""

from __future__ import annotations

import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vos_zoo.evaluation.referee.pngs import read_converted, read_ids
from vos_zoo.files.names import list_folders, list_pictures
from vos_zoo.labels import VOID, objects_of
from vos_zoo.metrics._masks import Mask
from vos_zoo.types import LabelMap, UsageError, VOSError
from vos_zoo.video.formats.coco import read_youtube_vis
from vos_zoo.video.formats.track_masks import TrackMasks, by_name, label_of
from vos_zoo.video.mask_reader import MaskReader

_DEPTH = 3
_ENTRIES = (".png", ".json")
MAX_UNPACKED = 64 * 2**30
"""A zip that holds more bytes than this is refused."""


class MaskResults(ABC):
    """Masks of videos, asked for by video, frame and (where each has a file of its own) object.

    Attributes:
        videos: names of the videos.
        remarks: what was decided about where the masks lie.
    """

    videos: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @abstractmethod
    def objects(self, video: str) -> tuple[str, ...] | None:
        """Names of the objects that have masks of their own; None where the video has label maps."""

    @abstractmethod
    def frames(self, video: str, name: str | None = None) -> tuple[str, ...]:
        """Names of the frames that have a label map, or a mask of the object `name`, in order."""

    @abstractmethod
    def labels(self, video: str, frame: str, *, stored: bool = False) -> LabelMap:
        """The label map of a frame, uint8 ``(H, W)``.

        Args:
            video: name of the video.
            frame: one of its frames.
            stored: keep 255 as it is; else it becomes object 1 in a video whose label maps hold no other value.

        Raises:
            VOSError: it cannot be read, or its objects cannot be one label map.
        """

    @abstractmethod
    def mask(self, video: str, name: str, frame: str) -> Mask:
        """The mask of an object, bool ``(H, W)``; raises `VOSError` where it cannot be read."""


class FolderResults(MaskResults):
    """Folders of PNGs: ``VIDEO/FRAME.png`` (label maps) or ``VIDEO/OBJECT/FRAME.png`` (non-zero is the object).

    Args:
        folder: where the videos' folders lie.
        threshold: the smallest level of the one object of label maps, see `MaskReader`.

    Attributes:
        converted: whether files are converted to palette mode, see `read_converted`.
    """

    def __init__(self, folder: Path, threshold: int | None = None) -> None:
        self.folder, self.threshold, self.converted = folder, threshold, False
        self.videos = tuple(path.name for path in list_folders(folder))
        self._readers: dict[str, MaskReader] = {}

    def objects(self, video: str) -> tuple[str, ...] | None:
        """See `MaskResults`.

        Raises:
            VOSError: the video has label maps and folders of objects.
        """
        found = tuple(path.name for path in list_folders(self.folder / video) if list_pictures(path, (".png",)))
        if found and list_pictures(self.folder / video, (".png",)):
            raise VOSError(f"{self.folder / video}: holds PNGs and folders of objects; keep one of the two")
        return found or None

    def frames(self, video: str, name: str | None = None) -> tuple[str, ...]:
        """See `MaskResults`."""
        return tuple(list_pictures(self._place(video, name), (".png",)))

    def entries(self, video: str, name: str | None = None) -> tuple[str, ...]:
        """All files by name, as programs see frames that take every file for one; only PNGs lose their ending."""
        names = sorted(path.name for path in self._place(video, name).iterdir())
        return tuple(one.removesuffix(".png") for one in names)

    def labels(self, video: str, frame: str, *, stored: bool = False) -> LabelMap:
        """See `MaskResults`."""
        path = self.folder / video / f"{frame}.png"
        labels = read_converted(path) if self.converted else read_ids(path, self.threshold)
        if stored or labels.max(initial=0) < VOID or not self._one_object(video):
            return labels
        return objects_of(labels, one_object=True)

    def _one_object(self, video: str) -> bool:
        if video not in self._readers:
            files = list_pictures(self.folder / video, (".png",)).values()
            self._readers[video] = MaskReader(files, self.threshold)
        return self._readers[video].one_object

    def mask(self, video: str, name: str, frame: str) -> Mask:
        """See `MaskResults`.

        Raises:
            VOSError: the file cannot be read, or has more than two values.
        """
        path = self._place(video, name) / f"{frame}.png"
        return one_object_of(read_ids(path), str(path))

    def _place(self, video: str, name: str | None) -> Path:
        return self.folder / video if name is None else self.folder / video / name


class TrackResults(MaskResults):
    """Masks of `TrackMasks`, e.g. from a JSON file."""

    def __init__(self, videos: Collection[TrackMasks]) -> None:
        self._videos = by_name(videos)
        self.videos = tuple(self._videos)

    def objects(self, video: str) -> tuple[str, ...] | None:
        """See `MaskResults`."""
        return tuple(self._videos[video].objects)

    def frames(self, video: str, name: str | None = None) -> tuple[str, ...]:
        """See `MaskResults`; a frame of the video has a mask of each object, empty where there is none."""
        return self._videos[video].frames

    def labels(self, video: str, frame: str, *, stored: bool = False) -> LabelMap:
        """See `MaskResults`."""
        return self._videos[video].labels(frame)

    def mask(self, video: str, name: str, frame: str) -> Mask:
        """See `MaskResults`."""
        return self._videos[video].mask(name, frame)


def one_object_of(values: LabelMap, what: str) -> Mask:
    """The object of a mask file of one object, bool ``(H, W)``: all pixels that are not zero.

    Raises:
        VOSError: it has more than two values.
    """
    found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if len(found) > 2:
        raise VOSError(f"{what}: has {len(found)} values; the mask of one object is 0 and one other value")
    return values != 0


def label_map_of(results: MaskResults, video: str, frame: str) -> LabelMap:
    """A frame's masks of single objects as one label map, uint8 ``(H, W)``; the names of the objects are the labels.

    Raises:
        VOSError: a mask cannot be read, objects overlap, or a name is no id.
    """
    tracks: TrackMasks | None = None
    for name in results.objects(video) or ():
        label_of(name, video)
        if frame in results.frames(video, name):
            mask = results.mask(video, name, frame)
            tracks = tracks or TrackMasks(video, (mask.shape[0], mask.shape[1]), (frame,))
            tracks.add(name, frame, mask)
    if tracks is None:
        raise VOSError(f"video {video}, frame {frame}: there is no mask")
    return tracks.labels(frame)


@contextmanager
def open_results(source: str | Path, known: Collection[str], threshold: int | None = None) -> Iterator[MaskResults]:
    """The masks at `source`; a zip is unpacked for as long as they are open.

    Args:
        source: a folder, a zip of one (or of a JSON file), or a JSON file.
        known: names of the videos that are looked for; they tell at which depth the videos' folders lie.
        threshold: see `FolderResults`.

    Raises:
        UsageError: there is nothing, or nothing that can be read.
        VOSError: none of the videos is there, or in several places.
    """
    path = Path(source)
    if path.is_dir():
        yield _in_folder(path, known, threshold, str(source))
    elif path.suffix.lower() == ".json" and path.is_file():
        yield TrackResults(read_youtube_vis(path))
    elif path.is_file() and zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="vos-zoo-") as temporary:
            _unpack(path, Path(temporary))
            files = sorted(Path(temporary).rglob("*.json"))
            if len(files) == 1 and not any(Path(temporary).rglob("*.png")):
                yield TrackResults(read_youtube_vis(files[0]))
            else:
                yield _in_folder(Path(temporary), known, threshold, str(source))
    elif path.exists():
        raise UsageError(f"{source}: is no folder, zip or JSON file of masks")
    else:
        raise UsageError(f"{source}: there is no such file or folder")


def _unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = [one for one in archive.infolist() if one.filename.lower().endswith(_ENTRIES)]
        if sum(one.file_size for one in entries) > MAX_UNPACKED:
            raise UsageError(f"{path}: holds more than {MAX_UNPACKED >> 30} GiB; unpack it and give the folder")
        for entry in entries:
            if "__MACOSX" not in entry.filename:
                archive.extract(entry, folder)  # names that lead out of the folder are cut


def _in_folder(folder: Path, known: Collection[str], threshold: int | None, source: str) -> FolderResults:
    """The results in the folder, at any depth up to three, in which folders have names of the videos."""
    level = [folder]
    for _ in range(_DEPTH):
        places = [place for place in level if any((place / name).is_dir() for name in known)]
        if len(places) > 1:
            names = ", ".join(str(place.relative_to(folder)) for place in places)
            raise VOSError(f"{source}: the videos' folders lie in several places ({names}); name one of them")
        if places:
            found = FolderResults(places[0], threshold)
            if places[0] != folder:
                found.remarks = (f"the videos' folders lie in {places[0].relative_to(folder)}",)
            return found
        level = [inner for place in level for inner in list_folders(place)]
    some = ", ".join(sorted(known)[:3])
    raise VOSError(
        f"{source}: holds no folder of any video of the data set (such as {some}); name the folder they lie in"
    )
