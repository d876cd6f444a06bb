"""Videos that a process tracks so that it takes part in a validation, but that are not scored."""

from __future__ import annotations

from vos_zoo.types import Frame, LabelMap, VideoDataset, VideoSequence


class SpareVideo(VideoSequence):
    """A video up to its first given mask, without ground truth, so that it is tracked and not scored."""

    def __init__(self, video: VideoSequence) -> None:
        self._video = video
        self._first = min(video.prompts(), default=0)
        self.name, self.object_ids = video.name, video.object_ids
        self.frame_names = video.frame_names[: self._first + 1]

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``."""
        return self._video.frame(index)

    def labels(self, index: int) -> LabelMap | None:
        """None."""
        return None

    def prompts(self) -> dict[int, LabelMap]:
        """The first given mask."""
        return {t: mask for t, mask in self._video.prompts().items() if t == self._first}


class WithSpares(VideoDataset):
    """The videos of a data set, and under the numbers that follow the same videos as spares."""

    def __init__(self, videos: VideoDataset) -> None:
        self._videos = videos
        self.name, self.frame_step, self.video_length = videos.name, videos.frame_step, videos.video_length

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int) -> VideoSequence:  # type: ignore[override]
        """Video `number`, any number from 0."""
        own = self._videos[number % len(self._videos)]
        return own if number < len(self._videos) else SpareVideo(own)
