"""Sources of cut-outs and backgrounds of composed clips: images and videos with masks, plain images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vos_zoo.data.clips.gaps import annotated_frames
from vos_zoo.data.datasets.static_images import StaticDataset
from vos_zoo.files.frames import frame_size, read_frame, read_reduced
from vos_zoo.types import Frame, LabelMap, UsageError, VideoDataset, VOSError

MIN_FRAMES = 12
"""Videos with fewer annotated frames are used as single images: played back and forth they would jerk."""
_CACHED_BYTES = 48 << 20
_MIN_SIDE = 24  # pixels of the source; smaller objects are not cut out
_MIN_SHARE = 0.004  # of the image's area
_CUT_OFF = 0.12  # maximum share of the box's outline on the image border
_SOLID = 0.5  # minimum share of the area of the largest component, and without the border
_TRIES = 8  # images tried before an object that is no good cut-out is taken
_PICTURES = 200  # images tried before an error that the data sets show no object


class Extent(NamedTuple):
    """A box of whole pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    bottom: int
    left: int
    right: int


class Shot(NamedTuple):
    """A part of a source: a video played back and forth, or one image.

    Attributes:
        dataset: number of the data set; -1 for a plain image.
        video: number of the video in it, or of the plain image.
        frames: its frames in order.
        first: position in `frames` that is shown at time 0.
    """

    dataset: int
    video: int
    frames: tuple[int, ...]
    first: int = 0

    def frame(self, time: int) -> int:
        """The frame at a time; the video reverses at its ends."""
        period = max(2 * (len(self.frames) - 1), 1)
        phase = (self.first + time) % period
        return self.frames[min(phase, period - phase)]


class Found(NamedTuple):
    """An object of a source: the shot, its id there, and its extent in the shot's first frame, in full pixels."""

    shot: Shot
    identity: int
    extent: Extent


class Sources:
    """Samples objects and backgrounds, and reads them; a bounded number of decoded bytes is cached.

    Args:
        pictures: data sets of images with masks.
        videos: data sets of videos with masks.
        plain: images without masks, for backgrounds.

    Raises:
        UsageError: there are no sources.
    """

    def __init__(
        self,
        pictures: Sequence[VideoDataset] = (),
        videos: Sequence[VideoDataset] = (),
        plain: Sequence[Path] = (),
    ) -> None:
        if not pictures and not videos:
            raise UsageError("composed: no images or videos with masks; set data.root=FOLDER")
        self.datasets = (*pictures, *videos)
        self.plain, self._pictures = tuple(plain), len(pictures)
        self._cache: OrderedDict[tuple[int, int, int, int], Frame | LabelMap] = OrderedDict()
        self._cached = 0

    def __getstate__(self) -> dict[str, object]:
        """The state without pixels, for loader processes."""
        return {**self.__dict__, "_cache": OrderedDict(), "_cached": 0}

    def shot(self, random: np.random.Generator, video_share: float) -> Shot:
        """An image, or a video from a random frame on.

        Args:
            random: source of the draws.
            video_share: probability of a video, if there are both.
        """
        both = 0 < self._pictures < len(self.datasets)
        moving = random.random() < (video_share if both else float(not self._pictures))
        numbers = range(self._pictures, len(self.datasets)) if moving else range(self._pictures)
        sizes = np.array([len(self.datasets[number]) for number in numbers], dtype=np.float64)
        number = int(random.choice(numbers, p=sizes / sizes.sum()))
        dataset = self.datasets[number]
        if isinstance(dataset, StaticDataset):
            return Shot(number, dataset.draw(random), (0,))
        video = int(random.integers(len(dataset)))
        frames = tuple(int(frame) for frame in annotated_frames(dataset[video]))
        first = int(random.integers(len(frames)))
        moving = len(frames) >= MIN_FRAMES
        return Shot(number, video, frames, first) if moving else Shot(number, video, frames[first : first + 1])

    def background(self, random: np.random.Generator, video_share: float) -> Shot:
        """A background: a plain image if there are any."""
        return Shot(-1, int(random.integers(len(self.plain))), (0,)) if self.plain else self.shot(random, video_share)

    def objects(self, shot: Shot) -> list[Found]:
        """The objects that are large enough in the first frame of a shot, the largest first."""
        labels = self.labels(shot, 0)
        if labels is None:
            return []
        counts = np.bincount(labels.reshape(-1), minlength=256)
        found = []
        for identity in sorted(np.flatnonzero(counts[1:]) + 1, key=lambda known: -int(counts[known])):
            extent = extent_of(labels == identity)
            if extent is None or counts[identity] < _MIN_SHARE * labels.size:
                continue
            if min(extent.bottom - extent.top, extent.right - extent.left) >= _MIN_SIDE:
                found.append(Found(shot, int(identity), extent))
        return found

    def object(self, random: np.random.Generator, video_share: float) -> Found:
        """An object to cut out; objects cut off by the image border and fragments are avoided.

        Raises:
            VOSError: no object is large enough in many images.
        """
        fallback: Found | None = None
        for number in range(_PICTURES):
            objects = self.objects(self.shot(random, video_share))
            for found in (objects[place] for place in random.permutation(len(objects))):
                if self._whole(found):
                    return found
                fallback = found
            if fallback is not None and number >= _TRIES:
                return fallback
        raise VOSError(f"composed: no object of {_MIN_SIDE} pixels in {_PICTURES} images; use larger images")

    def sibling(self, found: Found, random: np.random.Generator) -> Found:
        """Another object of the same image, or the same one if there is no other."""
        others = [other for other in self.objects(found.shot) if other.identity != found.identity]
        return others[int(random.integers(len(others)))] if others else found

    def _whole(self, found: Found) -> bool:
        """Whether an object makes a good cut-out: neither cut off by the image border nor fragmented."""
        import cv2

        labels = self.labels(found.shot, 0)
        assert labels is not None
        borders = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
        on_border = sum(int((border == found.identity).sum()) for border in borders)
        top, bottom, left, right = found.extent
        if on_border > _CUT_OFF * 2 * (bottom - top + right - left):
            return False
        mask = np.pad((labels[top:bottom, left:right] == found.identity).astype(np.uint8), 1)
        area = int(mask.sum())
        pieces = np.bincount(cv2.connectedComponents(mask)[1].reshape(-1))
        if pieces[1:].max() < _SOLID * area:
            return False
        side = 2 * max(round(0.03 * float(np.sqrt(area))), 1) + 1
        return int(cv2.erode(mask, np.ones((side, side), np.uint8)).sum()) > _SOLID * area

    def size(self, shot: Shot) -> tuple[int, int]:
        """Height and width of a shot's frames at full size."""
        labels = self.labels(shot, 0)
        height, width = frame_size(self.plain[shot.video]) if labels is None else labels.shape
        return height, width

    def frame(self, shot: Shot, time: int, reduction: int = 1) -> Frame:
        """The image of a shot at a time, uint8 RGB ``(h, w, 3)``, its size divided by 1, 2, 4 or 8 (rounded up)."""
        frame = shot.frame(time)
        key = (shot.dataset, shot.video, frame, reduction)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if shot.dataset < 0:
            path = self.plain[shot.video]
            picture = read_frame(path) if reduction == 1 else read_reduced(path, reduction)
        else:
            video = self.datasets[shot.dataset][shot.video]
            reduce = getattr(video, "reduced_frame", None) if reduction > 1 else None
            picture = video.frame(frame) if reduce is None else reduce(frame, reduction)
        height, width = (-(-side // reduction) for side in self.size(shot))
        if picture.shape[:2] != (height, width):  # only JPEGs are decoded at reduced size
            import cv2

            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return self._kept(key, picture)

    def labels(self, shot: Shot, time: int) -> LabelMap | None:
        """The label map of a shot at a time, uint8 ``(H, W)`` at full size; None for a plain image."""
        if shot.dataset < 0:
            return None
        frame = shot.frame(time)
        key = (shot.dataset, shot.video, frame, 0)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        labels = self.datasets[shot.dataset][shot.video].labels(frame)
        assert labels is not None, "shots hold annotated frames"
        return self._kept(key, labels)

    def _kept(self, key: tuple[int, int, int, int], pixels: Frame | LabelMap) -> Frame | LabelMap:
        self._cache[key] = pixels
        self._cached += pixels.nbytes
        while self._cached > _CACHED_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return pixels


def extent_of(mask: LabelMap) -> Extent | None:
    """The box of the non-zero pixels of a mask ``(H, W)``, or None."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Extent(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else None
