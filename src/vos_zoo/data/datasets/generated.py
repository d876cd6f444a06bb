"""What the data sets of videos made on the fly share: videos by number, the last few of them kept."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import Generic, TypeVar, overload

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
