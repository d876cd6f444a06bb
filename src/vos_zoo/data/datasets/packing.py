"""Decoded training videos on disk: frames and masks after decoding, memory-mapped.

Decoding JPEG and PNG is a large part of the cost of a training clip of real video. A pack holds the decoded pixels,
bit-identical to the files (or resized once, see `short_side`), in two arrays per video. All loader processes of a
machine share their page cache, so they use only free memory, and pages can be
dropped. A video takes height x width x 4 bytes per frame: DAVIS 2017 train 7 GiB, YouTube-VOS train at 480 about
145 GiB. A pack is written at first use, completed if it is incomplete, and renewed for videos whose files
have changed since.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast, overload

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.datasets.sequence import PictureSequence, Problem, describe, known_length
from vos_zoo.data.datasets.threads import in_threads
from vos_zoo.files.atomic import atomic_folder
from vos_zoo.files.frames import frame_size
from vos_zoo.types import Frame, LabelMap, VideoDataset, VideoSequence, VOSError

_FORM = 2  # of the files; another number invalidates old packs


class PackedSequence(VideoSequence):
    """A video with its pixels in a pack; everything else is that of the source video.

    Args:
        source: the source video.
        folder: folder of its arrays.
    """

    def __init__(self, source: PictureSequence, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.name, self.frame_names, self.wanted_frames = source.name, source.frame_names, source.wanted_frames
        self.annotated = source.annotated
        self._number = {index: number for number, index in enumerate(self.annotated)}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_frames", "_labels")}

    @cached_property
    def _frames(self) -> NDArray[np.uint8]:
        return cast("NDArray[np.uint8]", np.load(self.folder / "frames.npy", mmap_mode="r"))

    @cached_property
    def _labels(self) -> NDArray[np.uint8]:
        return cast("NDArray[np.uint8]", np.load(self.folder / "labels.npy", mmap_mode="r"))

    @property
    def object_ids(self) -> tuple[int, ...]:  # type: ignore[override]  # read from the masks when first asked for
        """That of the source video."""
        return self.source.object_ids

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``, read-only; its pages are read on access."""
        return np.asarray(self._frames[index])

    def labels(self, index: int) -> LabelMap | None:
        """The label map of frame `index`, uint8 ``(H, W)``, read-only; None without annotation."""
        number = self._number.get(index)
        return None if number is None else np.asarray(self._labels[number])

    def files(self) -> Iterator[Path]:
        """Those of the source video."""
        return self.source.files()

    def has_labels(self, frames: Iterable[int]) -> bool:
        """That of the source video."""
        return self.source.has_labels(frames)

    def prompts(self) -> dict[int, LabelMap]:
        """Those of the source video, at the packed size."""
        return self.source.prompts()

    def pixel_counts(self) -> Mapping[int, NDArray[np.int64]]:
        """Visible pixels per object and frame, at the files' size."""
        return self.source.pixel_counts()


class PackedDataset(VideoDataset):
    """The videos of a data set with their pixels in a pack.

    Args:
        name: name of the data set.
        videos: its videos.
        frame_step: that of the data set.
    """

    def __init__(self, name: str, videos: Sequence[VideoSequence], frame_step: int) -> None:
        self.name, self.frame_step, self._videos = name, frame_step, list(videos)

    def __len__(self) -> int:
        return len(self._videos)

    @overload
    def __getitem__(self, index: int) -> VideoSequence: ...

    @overload
    def __getitem__(self, index: slice) -> list[VideoSequence]: ...

    def __getitem__(self, index: int | slice) -> VideoSequence | list[VideoSequence]:
        return self._videos[index]


def pack_dataset(
    dataset: VideoDataset, folder: str | Path, short_side: int | None = None, *, skip_broken: bool = False
) -> VideoDataset:
    """The data set read from a pack below `folder`, which is written first if needed; generated videos are unchanged.

    Args:
        dataset: the data set.
        folder: folder of packs of any number of data sets.
        short_side: larger frames are resized once so that their shorter side has this many pixels (new sizes truncated;
            images bicubic, masks nearest, as STCN prepares YouTube-VOS); None keeps the size.
        skip_broken: leave out videos with unreadable frames, with one warning.

    Raises:
        VOSError: the disk is too full, or a video is broken and `skip_broken` is off.
    """
    if known_length(dataset) is not None:  # its videos are generated, any number of them
        return dataset
    videos = [sequence for sequence in dataset if isinstance(sequence, PictureSequence)]
    if len(videos) < len(dataset):
        return dataset
    origin = json.dumps([_FORM, str(videos[0].frame_paths[0].parents[1].resolve()), short_side])
    home = Path(folder) / f"{dataset.name}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}"
    home.mkdir(parents=True, exist_ok=True)
    places = [home / f"{sequence.name}-{_digest(sequence)}" for sequence in videos]
    missing = [(video, place) for video, place in zip(videos, places, strict=True) if not place.is_dir()]
    _check_room(home, [video for video, _ in missing], short_side)
    problems = [problem for problem in in_threads(lambda pair: _pack(*pair, short_side), missing) if problem]
    if problems and not skip_broken:
        raise VOSError(f"{dataset.name}: {describe(problems)}; fix them or set data.skip_broken=true")
    if problems:
        warnings.warn(f"{dataset.name}: left out: {describe(problems, limit=20)}", stacklevel=2)
    packed = [PackedSequence(video, place) for video, place in zip(videos, places, strict=True) if place.is_dir()]
    if not packed:
        raise VOSError(f"{dataset.name}: every sequence is broken; vos-zoo check-data lists what to fix")
    return PackedDataset(dataset.name, packed, dataset.frame_step)


def packed_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width in the pack of frames of a size (h, w)."""
    if short_side is None or min(size) <= short_side:
        return size
    ratio = short_side / min(size)
    return int(size[0] * ratio + 1e-9), int(size[1] * ratio + 1e-9)


def _digest(video: PictureSequence) -> str:
    """A name for the state of a video's files, which depends on their sizes and modification times."""
    digest = hashlib.sha256(str(video.mask_threshold).encode())
    for path in (*video.frame_paths, *(path for path in video.mask_paths if path is not None)):
        state = path.stat()
        digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _check_room(home: Path, videos: Sequence[PictureSequence], short_side: int | None) -> None:
    needed = 0
    for video in videos:
        height, width = packed_size(frame_size(video.frame_paths[0]), short_side)
        needed += height * width * (3 * len(video) + len(video.annotated))
    free = shutil.disk_usage(home).free
    if needed > 0.98 * free:
        raise VOSError(
            f"data.pack: {home} needs {needed / 2**30:.1f} GiB more and has {free / 2**30:.1f} GiB; "
            "choose another folder, set data.pack_short_side, or leave data.pack out"
        )


def _pack(video: PictureSequence, place: Path, short_side: int | None) -> Problem | None:
    """Write the arrays of a video; the folder is renamed when they are complete. Unreadable files are reported."""
    size = packed_size(frame_size(video.frame_paths[0]), short_side)
    try:
        with atomic_folder(place) as draft:
            frames = _new(draft / "frames.npy", (len(video), *size, 3))
            for index in range(len(video)):
                frames[index] = _fitted(video.frame(index), size, picture=True)
            labels = _new(draft / "labels.npy", (len(video.annotated), *size))
            for number, index in enumerate(video.annotated):
                found = video.labels(index)
                assert found is not None, "annotated frames have a mask"
                labels[number] = _fitted(found, size, picture=False)
            frames.flush()
            labels.flush()
            del frames, labels
    except VOSError as error:
        return Problem(video.name, str(error))
    _remove_older(place)
    return None


def _remove_older(place: Path) -> None:
    """Remove older states of a packed video."""
    stem = place.name.rpartition("-")[0]
    for other in place.parent.iterdir():
        if other.name.rpartition("-")[0] == stem and other != place:
            shutil.rmtree(other, ignore_errors=True)


def _new(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _fitted(pixels: NDArray[np.uint8], size: tuple[int, int], picture: bool) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size:
        return pixels
    from PIL import Image

    kind = Image.Resampling.BICUBIC if picture else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), kind))
