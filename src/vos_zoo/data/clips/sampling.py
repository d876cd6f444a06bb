"""Which frames of which object make a training clip of LWL, JOINT and LLB.

The rules are steps 1 to 4 of docs/methods/lwl.md, "Training clips".

Every draw is a pure function of (seed, item number): workers, restarts and the order of the calls change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import SamplingSettings
from vos_zoo.data.datasets.sequence import known_length
from vos_zoo.data.datasets.static_images import StaticDataset
from vos_zoo.types import UsageError, VideoDataset, VideoSequence, VOSError

Frames: TypeAlias = NDArray[np.int64]
"""Ascending frame indices, int64 ``(n,)``."""
_DRAWS = 1000  # sequences tried (plus 50 per object) before the data set is refused: nothing to train on


@dataclass(frozen=True)
class ClipPlan:
    """Frames and objects of a clip.

    Attributes:
        dataset: number of the data set.
        sequence: number of the video in it.
        ids: the object of every slot; at most `objects` of them, the one the frames were chosen for first.
        reference: frames whose masks are given, ascending.
        query: frames to be segmented, ascending, all later than the references (but for static images); a frame may
            occur twice.
    """

    dataset: int
    sequence: int
    ids: tuple[int, ...]
    reference: tuple[int, ...]
    query: tuple[int, ...]


def shares(datasets: int, weights: Sequence[float] | None) -> NDArray[np.float64]:
    """Weights of the data sets as probabilities; None: uniform.

    Raises:
        UsageError: no data set, or weights that do not fit them.
    """
    given = np.asarray([1.0] * datasets if weights is None else weights, dtype=np.float64)
    if not datasets or given.shape != (datasets,) or given.min() < 0 or given.sum() <= 0:
        raise UsageError(f"sampling: {datasets} data sets with weights {given.tolist()}; give one weight >= 0 each")
    return given / given.sum()


def visible_pixels(sequence: VideoSequence) -> Mapping[int, NDArray[np.int64]]:
    """Pixels of every object in every frame: id -> int64 ``(T,)``, 0 where nothing is annotated."""
    known = getattr(sequence, "pixel_counts", None)
    if known is not None:
        return dict(known())
    counts = {identity: np.zeros(len(sequence), dtype=np.int64) for identity in sequence.object_ids}
    for index in range(len(sequence)):
        labels = sequence.labels(index)
        if labels is not None:
            histogram = np.bincount(labels.reshape(-1), minlength=256)
            for identity, count in counts.items():
                count[index] = histogram[identity]
    return counts


def choose_frames(
    visible: Frames, length: int, settings: SamplingSettings, random: np.random.Generator
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Reference and query frames of one object, or None if the search failed.

    The base reference is any visible frame that leaves room for the others. Some visible frame must precede it within
    the gap even if no further reference is needed, so the first visible frame is never a reference (a quirk of the
    published sampler). Queries are drawn with replacement from the visible frames after the base. Where either is
    missing, the gap grows and the base is drawn again.

    Args:
        visible: frames that show the object.
        length: frames of the video.
        settings: the numbers.
        random: source of the draws.
    """
    wanted = settings.reference_frames, settings.query_frames
    bases = _between(visible, wanted[0] - 1, length - wanted[1])
    gap = settings.max_gap
    while len(bases) and gap - settings.max_gap <= settings.give_up_gap:
        base = int(random.choice(bases))
        earlier, later = _between(visible, base - gap, base), _between(visible, base + 1, base + gap)
        if len(earlier) and len(later):
            extra = random.choice(earlier, wanted[0] - 1)
            return _ascending([*extra, base]), _ascending(random.choice(later, wanted[1]))
        gap += settings.gap_step
    return None


def _between(frames: Frames, start: int, stop: int) -> Frames:
    """The frames in [start, stop)."""
    low, high = np.searchsorted(frames, [start, stop])
    return frames[low:high]


def _ascending(frames: Sequence[int] | Frames) -> tuple[int, ...]:
    return tuple(sorted(int(frame) for frame in frames))


class MiniSequenceSampler:
    """Draws clips from one or several data sets.

    With one object per clip every (video, object) pair is equally likely; with more, every video is, and then each of
    its objects that is visible often enough; the other slots take objects visible in the first reference frame.
    Visible frames are counted when a video is first drawn, and kept. Of a data set whose videos are drawn by their
    number (`VideoDataset.video_length`) every video is equally likely even with one object, and no count is kept. Of a
    data set of static images every picture serves, and all frames of a clip are frame 0.

    Args:
        datasets: where to draw from.
        settings: the numbers.
        seed: another seed gives other clips.
        probabilities: weight of every data set (they need not sum to one); None: uniform.

    Raises:
        UsageError: no data set, or weights that do not fit them.
    """

    def __init__(
        self,
        datasets: Sequence[VideoDataset],
        settings: SamplingSettings | None = None,
        seed: int = 0,
        probabilities: Sequence[float] | None = None,
    ) -> None:
        self.datasets, self.settings, self.seed = tuple(datasets), settings or SamplingSettings(), seed
        self.probabilities = shares(len(datasets), probabilities)
        self._units = [_units(dataset, self.settings.objects) for dataset in datasets]
        self._visible: dict[tuple[int, int], dict[int, Frames]] = {}

    def random(self, item: int, attempt: int = 0) -> np.random.Generator:
        """The random numbers of item number `item`, independent of process and order.

        Args:
            item: number of the clip.
            attempt: failed draws for it so far.
        """
        return np.random.default_rng((self.seed, item, attempt) if attempt else (self.seed, item))

    def plan(self, item: int) -> ClipPlan:
        """The clip of item number `item` (drawn with fresh `random(item)`)."""
        return self.draw(self.random(item))

    def draw(self, random: np.random.Generator) -> ClipPlan:
        """A clip drawn with `random`.

        Raises:
            VOSError: no object of the data set drawn is visible in enough frames.
        """
        dataset = int(random.choice(len(self.datasets), p=self.probabilities))  # once: rejections keep the mixture
        source, units, s = self.datasets[dataset], self._units[dataset], self.settings
        if isinstance(source, StaticDataset):
            number = source.draw(random)
            ids = source.draw_objects(number, s.objects, random)
            return ClipPlan(dataset, number, ids, (0,) * s.reference_frames, (0,) * s.query_frames)
        for _ in range(_DRAWS + 50 * len(units) if units else 0):
            unit = units[int(random.integers(len(units)))]
            sequence, identity = (unit, None) if isinstance(unit, int) else unit
            plan = self._clip(dataset, sequence, identity, random)
            if plan is not None:
                return plan
        raise VOSError(
            f"data set {source.name}: no object is visible (more than "
            f"{s.min_visible_pixels} pixels) in more than {self._least} frames that fit a clip; "
            "lower data.sampling.query_frames or min_visible_factor, or use longer videos with all masks"
        )

    @property
    def _least(self) -> int:
        s = self.settings
        return s.min_visible_factor * (s.reference_frames + s.query_frames)

    def _clip(self, dataset: int, sequence: int, identity: int | None, random: np.random.Generator) -> ClipPlan | None:
        visible = self.visible(dataset, sequence)
        often = [known for known in sorted(visible) if len(visible[known]) > self._least]
        if identity is None and often:
            identity = often[int(random.integers(len(often)))]
        if identity is None or identity not in often:
            return None
        chosen = choose_frames(visible[identity], len(self.datasets[dataset][sequence]), self.settings, random)
        if chosen is None:
            return None
        there = [known for known in sorted(visible) if known != identity and chosen[0][0] in visible[known]]
        others = [int(other) for other in random.permutation(there)[: self.settings.objects - 1]]
        return ClipPlan(dataset, sequence, (identity, *others), *chosen)

    def visible(self, dataset: int, sequence: int) -> dict[int, Frames]:
        """Frames in which each object of a video is visible: id -> ascending int64 ``(n,)``. Counted once."""
        key, known = (dataset, sequence), self._visible.get((dataset, sequence))
        if known is None:
            counts = visible_pixels(self.datasets[dataset][sequence])
            least = self.settings.min_visible_pixels
            known = {identity: np.flatnonzero(count > least) for identity, count in counts.items()}
            if known_length(self.datasets[dataset]) is None:
                self._visible[key] = known
        return known


def _units(dataset: VideoDataset, objects: int) -> Sequence[int] | Sequence[tuple[int, int]]:
    """What is drawn uniformly: (video, object) pairs, or whole videos where a clip holds several objects."""
    if isinstance(dataset, StaticDataset):
        return ()  # it draws for itself
    if objects > 1 or known_length(dataset) is not None:
        return range(len(dataset))
    return [(number, identity) for number in range(len(dataset)) for identity in dataset[number].object_ids]
