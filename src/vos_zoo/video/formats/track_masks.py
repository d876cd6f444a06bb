"""The objects of one video as masks that may overlap: what every interchange format is read into and written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import MAX_ID, MIN_ID, VOID
from vos_zoo.types import LabelMap, VOSError
from vos_zoo.video.formats.rle import decode, encode


@dataclass
class TrackMasks:
    """Masks of the objects of one video, held as runs.

    Attributes:
        name: name of the video.
        size: (height, width).
        frames: names of the frames, in order.
        objects: object -> frame -> runs, column by column; no entry where the object is absent.
    """

    name: str
    size: tuple[int, int]
    frames: tuple[str, ...]
    objects: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    @classmethod
    def from_labels(cls, name: str, maps: Mapping[str, LabelMap]) -> TrackMasks:
        """The objects of label maps, uint8 ``(H, W)``, by frame; 0 and 255 are none.

        Raises:
            VOSError: there is no frame, or the maps differ in size.
        """
        if not maps:
            raise VOSError(f"video {name}: it has no frame")
        size = next(iter(maps.values())).shape
        tracks = cls(name, (size[0], size[1]), tuple(maps))
        found = sorted({int(one) for labels in maps.values() for one in np.unique(labels)} - {0, VOID})
        for one in found:
            for frame, labels in maps.items():
                tracks.add(str(one), frame, labels == one)
        return tracks

    def add(self, name: str, frame: str, mask: NDArray[Any]) -> None:
        """Set the mask of an object, ``(H, W)``; an empty one only makes the object known.

        Raises:
            VOSError: it has another size than the video.
        """
        if mask.shape != self.size:
            raise VOSError(
                f"video {self.name}, frame {frame}: a mask is {mask.shape}, the video {self.size}; resize it"
            )
        masks = self.objects.setdefault(name, {})
        if mask.any():
            masks[frame] = encode(mask)

    def mask(self, name: str, frame: str) -> NDArray[np.bool_]:
        """The mask of an object in a frame, bool ``(H, W)``; empty where it is absent."""
        runs = self.objects[name].get(frame)
        return np.zeros(self.size, dtype=bool) if runs is None else decode(runs, self.size)

    def labels(self, frame: str) -> LabelMap:
        """All objects of a frame as a label map, uint8 ``(H, W)``.

        Raises:
            VOSError: objects overlap, or the name of one is no number of 1..254.
        """
        found = np.zeros(self.size, dtype=np.uint8)
        for name in self.objects:
            label = label_of(name, self.name)
            mask = self.mask(name, frame)
            if (found[mask] != 0).any():
                other = int(found[mask].max())
                raise VOSError(
                    f"video {self.name}, frame {frame}: objects {other} and {name} overlap, which a label map cannot "
                    "show; keep one file per object"
                )
            found[mask] = label
        return found


def label_of(name: str, video: str) -> int:
    """The label of an object's name.

    Raises:
        VOSError: it is no number of 1..254.
    """
    if not (name.isascii() and name.isdecimal() and MIN_ID <= int(name) <= MAX_ID):
        raise VOSError(f"video {video}: object {name!r} is no id of {MIN_ID}..{MAX_ID}, so no label map can show it")
    return int(name)


def by_name(videos: Iterable[TrackMasks]) -> dict[str, TrackMasks]:
    """The videos by name.

    Raises:
        VOSError: two have the same name.
    """
    found: dict[str, TrackMasks] = {}
    for video in videos:
        if video.name in found:
            raise VOSError(f"two videos are called {video.name!r}; videos need names of their own")
        found[video.name] = video
    return found


def frame_names(count: int, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of `count` frames: the given ones, or numbers with five digits from 0."""
    return tuple(names) if names else tuple(f"{index:05d}" for index in range(count))
