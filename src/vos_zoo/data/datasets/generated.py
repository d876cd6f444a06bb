"""What the data sets of videos made on the fly share: videos by number, the last few of them kept."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import Generic, TypeVar, overload

import numpy as np

from vos_zoo.config.settings.generated import ComposedSettings, SyntheticSettings
from vos_zoo.types import VideoDataset, VideoSequence

Video = TypeVar("Video", bound=VideoSequence)
_CACHED_VIDEOS = 8


class GeneratedDataset(VideoDataset, Generic[Video]):
    """Videos that are made when they are asked for.

    Args:
        videos: how many.
        noun: what a message calls one of them.
    """

    def __init__(self, videos: int, noun: str) -> None:
        self._videos, self._noun = videos, noun
        self._recent: OrderedDict[int, Video] = OrderedDict()

    @abstractmethod
    def make(self, index: int) -> Video:
        """Video `index`, from 0 on."""

    def __len__(self) -> int:
        return self._videos

    @overload
    def __getitem__(self, index: int) -> Video: ...
    @overload
    def __getitem__(self, index: slice) -> list[VideoSequence]: ...

    def __getitem__(self, index: int | slice) -> Video | list[VideoSequence]:
        """Video `index` (the last few are kept), or a list of videos for a slice."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"the {self.name} data set has {len(self)} {self._noun}s, there is no {self._noun} {index}"
            )
        index = int(index) % len(self)
        if index not in self._recent:
            self._recent[index] = self.make(index)
        self._recent.move_to_end(index)
        while len(self._recent) > _CACHED_VIDEOS:
            self._recent.popitem(last=False)
        return self._recent[index]


def draw_starts(rng: np.random.Generator, settings: SyntheticSettings | ComposedSettings) -> tuple[int, ...]:
    """First frame of every object of a video, ascending; the first is 0."""
    count = int(rng.integers(settings.min_objects, settings.max_objects + 1))
    late = rng.random(count - 1) < settings.late_objects
    first, last = max(settings.frames // 6, 1), max(settings.frames // 2, 1)
    frames = rng.integers(first, last + 1, count - 1)
    chosen = zip(frames, late, strict=True)
    return (0, *sorted(int(frame) if is_late and frame < settings.frames else 0 for frame, is_late in chosen))


def checked_frame(video: VideoSequence, index: int) -> int:
    """A frame's number from 0 on; negative ones count from the end.

    Raises:
        IndexError: the video has no such frame.
    """
    if not -len(video) <= index < len(video):
        raise IndexError(f"{video.name} has {len(video)} frames, there is no frame {index}")
    return index % len(video)
