"""Which frames make a clip in order, with gaps whose limit changes during training.

Gaps are limited in frames of the *video*; a data set that holds every n-th frame only (`frame_step`; YouTube-VOS: 5)
gets the limit divided by n. Training progress is the number of the clip among all clips of the run,
so that a clip depends on nothing but seed, number and length of the run: workers and resuming change nothing.

Two rules draw the frames. `chain` counts every frame from the one before: a clip of 2N + 1 frames in parts of N
(docs/methods/pcvos.md, "Video training") has a gap of up to the limit before every part and of up to `within` inside
it, and with parts of one frame it is GIEL's (docs/methods/giel.md, "Training"). `jump` is the rule of STCN
for three frames, number for number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import SamplingSettings
from vos_zoo.config.settings.frames import GapSettings
from vos_zoo.data.clips.sampling import ClipPlan, shares
from vos_zoo.data.datasets.sequence import known_length
from vos_zoo.data.datasets.static_images import StaticDataset
from vos_zoo.types import UsageError, VideoDataset, VideoSequence, VOSError


def chain(length: int, gaps: Sequence[int], random: np.random.Generator) -> tuple[int, ...]:
    """Frames of a video of `length` frames, each `gaps` after the one before.

    Where they do not fit, the largest gap (of several the first) shrinks by one until they do. A video with fewer
    frames than the clip shows its last frame several times.

    Args:
        length: frames of the video.
        gaps: one per frame after the first, each at least 1.
        random: draws where the clip starts.
    """
    gaps = list(gaps)
    while sum(gaps) >= length and max(gaps) > 1:
        gaps[gaps.index(max(gaps))] -= 1
    start = int(random.integers(max(1, length - sum(gaps))))
    return tuple(min(start + sum(gaps[:count]), length - 1) for count in range(len(gaps) + 1))


def jump(length: int, limit: int, random: np.random.Generator) -> tuple[int, int, int]:
    """Three frames of a video by the rule of STCN's training; towards its end frames may be the same.

    Args:
        length: frames of the video.
        limit: largest jump; one more is drawn now and then, as published.
        random: source of the draws.
    """
    reach = min(length, limit)
    first = int(random.integers(length - reach + 1))
    second = min(first + int(random.integers(1, reach + 2)), length - reach, length - 1)
    third = min(second + int(random.integers(1, reach + 2)), length - reach // 2, length - 1)
    return first, second, third


def annotated_frames(sequence: VideoSequence) -> NDArray[np.int64]:
    """The frames of a video that have masks, ascending, int64 ``(n,)``; all, where the video does not say."""
    return np.asarray(getattr(sequence, "annotated", range(len(sequence))), dtype=np.int64)


class OrderedSampler:
    """Draws videos and frames in order from one or several data sets.

    A data set is drawn by its weight, a video of it evenly. Which objects the clip shows is not decided here.

    Args:
        datasets: where to draw from.
        settings: numbers of frames and slots.
        gaps: how far apart the frames are.
        seed: another seed gives other clips.
        probabilities: weight of every data set; None: uniform.
        frame_steps: video frames per frame of every data set; None asks the data sets.

    Attributes:
        total: clips of the whole run, over all processes; None while unknown: progress is then 0.
    """

    def __init__(
        self,
        datasets: Sequence[VideoDataset],
        settings: SamplingSettings | None = None,
        gaps: GapSettings | None = None,
        seed: int = 0,
        probabilities: Sequence[float] | None = None,
        frame_steps: Sequence[int] | None = None,
    ) -> None:
        self.settings, self.gaps, self.seed = settings or SamplingSettings(), gaps or GapSettings(), seed
        self.datasets = tuple(datasets)
        self.total: int | None = None
        self.probabilities = shares(len(datasets), probabilities)
        self.frame_steps = tuple(frame_steps or [dataset.frame_step for dataset in datasets])
        frames = self.settings.reference_frames + self.settings.query_frames
        if self.gaps.rule == "jump" and frames != 3:
            raise UsageError(f"data.gaps.rule: jump draws three frames, not {frames}; set data.sampling.query_frames=2")
        self._videos = [self._usable(dataset, frames) for dataset in datasets]

    def _usable(self, dataset: VideoDataset, frames: int) -> Sequence[int]:
        if isinstance(dataset, StaticDataset):
            return ()  # it draws for itself
        least = self.gaps.shortest if self.gaps.repeat else max(self.gaps.shortest, frames)
        length = known_length(dataset)
        if length is not None:
            usable: Sequence[int] = range(len(dataset)) if length >= least else ()
        else:
            usable = [number for number in range(len(dataset)) if len(annotated_frames(dataset[number])) >= least]
        if not usable:
            raise VOSError(
                f"data set {dataset.name}: no video has {least} frames with masks; lower data.gaps.shortest "
                "or data.sampling.query_frames, or use longer videos"
            )
        return usable

    def random(self, item: int, attempt: int = 0) -> np.random.Generator:
        """The random numbers of clip number `item`, as in `MiniSequenceSampler`."""
        return np.random.default_rng((self.seed, item, attempt) if attempt else (self.seed, item))

    def video(self, random: np.random.Generator) -> tuple[int, int]:
        """The number of a data set and that of a video in it."""
        dataset = int(random.choice(len(self.datasets), p=self.probabilities))
        source = self.datasets[dataset]
        if isinstance(source, StaticDataset):
            return dataset, source.draw(random)
        return dataset, self._videos[dataset][int(random.integers(len(self._videos[dataset])))]

    def plan(self, dataset: int, sequence: int, item: int, random: np.random.Generator) -> ClipPlan:
        """Frames of a video for clip number `item`; which objects (`ids`) is left open."""
        s, source = self.settings, self.datasets[dataset]
        if isinstance(source, StaticDataset):
            ids = source.draw_objects(sequence, s.objects, random)
            return ClipPlan(dataset, sequence, ids, (0,) * s.reference_frames, (0,) * s.query_frames)
        frames = annotated_frames(source[sequence])
        chosen = self.frames(len(frames), self.frame_steps[dataset], item, random)
        order = tuple(int(frames[number]) for number in chosen)
        return ClipPlan(dataset, sequence, (), order[: s.reference_frames], order[s.reference_frames :])

    def frames(self, length: int, frame_step: int, item: int, random: np.random.Generator) -> tuple[int, ...]:
        """Frames for clip number `item` out of `length`, in the order of the clip."""
        s, gaps = self.settings, self.gaps
        limit = gaps.steps(gaps.limit(min(item / self.total, 1.0) if self.total else 0.0), frame_step)
        if gaps.rule == "jump":
            chosen: tuple[int, ...] = jump(length, limit, random)
        else:
            within, before = gaps.steps(gaps.within, frame_step), s.reference_frames - 1
            tops = [limit] * before + [limit if number % gaps.part == 0 else within for number in range(s.query_frames)]
            chosen = chain(length, [int(random.integers(1, top + 1)) for top in tops], random)
        return chosen[::-1] if random.random() < gaps.reverse else chosen
