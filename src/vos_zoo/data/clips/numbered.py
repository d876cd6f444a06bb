"""Training clips by number: from a sampler's plan to canvases, and from clips to a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from vos_zoo.data.clips.crops import Masks
from vos_zoo.data.clips.frame_clips import FrameClipTransform
from vos_zoo.data.clips.gaps import OrderedSampler
from vos_zoo.data.clips.pipeline import ClipPipeline
from vos_zoo.data.clips.sampling import ClipPlan, MiniSequenceSampler
from vos_zoo.data.clips.transforms import Clip, ClipTransform
from vos_zoo.data.clips.warps import WarpTransform
from vos_zoo.data.datasets.static_images import StaticImage
from vos_zoo.types import Batch, Frame, LabelMap, VideoSequence, VOSError

if TYPE_CHECKING:
    from vos_zoo.data.clips.pipeline import ClipPipeline

_UNREADABLE = 100  # clips in a row that cannot be read before the training ends
_VIDEOS = 1000  # videos tried before an error that the data set shows no object


class UnreadableError(VOSError):
    """An image or mask of a clip cannot be read."""


@contextmanager
def reading() -> Iterator[None]:
    """Raise errors inside as `UnreadableError`."""
    try:
        yield
    except VOSError as error:
        raise UnreadableError(str(error)) from error


class NumberedClips(Dataset[Clip]):
    """Training clips by number; clip n is the same in every process and in every run with the same seed.

    Args:
        sampler: chooses videos and frames.
        length: clips per epoch, as the length for loaders; every number from 0 on is a clip.
        warps: makes the clips of static images; None treats them as videos without motion.

    Attributes:
        reduced: whether images are decoded at reduced size if a canvas keeps at most half the pixels per axis.
        pipeline: further augmentation of finished clips; None: none.
        skip_broken: whether a clip with an unreadable file is replaced by the next one drawn for the same number.
    """

    def __init__(
        self, sampler: MiniSequenceSampler | OrderedSampler, length: int, warps: WarpTransform | None = None
    ) -> None:
        self.sampler, self.length, self.warps = sampler, length, warps
        self.reduced, self.skip_broken = False, False
        self.pipeline: ClipPipeline | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Clip:
        """Clip number `item`; only its frames are decoded.

        Raises:
            VOSError: a file cannot be read, and `skip_broken` is off or too many cannot; or no video shows an object.
        """
        skipped: list[str] = []
        while True:
            try:
                chance = self.sampler.random(item, len(skipped))
                clip = self.make(item, chance)
                clip = clip if self.pipeline is None else self.pipeline(clip, chance)
                return replace(clip, skipped=tuple(skipped)) if skipped else clip
            except UnreadableError as error:
                skipped.append(str(error))
                if not self.skip_broken:
                    cure = "fix it, or set data.skip_broken=true to train on other clips instead"
                    raise VOSError(f"{error}; {cure}") from error
                if len(skipped) == _UNREADABLE:
                    raise VOSError(f"{_UNREADABLE} clips in a row cannot be read, the last for: {error}") from error

    @abstractmethod
    def make(self, item: int, chance: np.random.Generator) -> Clip:
        """Clip number `item`, drawn with `chance`."""

    @property
    def slots(self) -> int:
        """Object slots of a clip, K."""
        return self.sampler.settings.objects

    def _warped(self, image: StaticImage, plan: ClipPlan, chance: np.random.Generator, warps: WarpTransform) -> Clip:
        """A clip of one warped image, with its objects in the first slots."""
        count, empty = len(plan.reference + plan.query), ((0, 0), (0, self.slots - len(plan.ids)))
        with reading():
            size, soft = image.size(), image.soft_masks(plan.ids)
        picture = self._picture(image, 0, warps.reduction(size))
        frames, masks, boxes = warps(picture, soft, count, chance)
        padded = np.pad(masks, (*empty, (0, 0), (0, 0)))
        return self._clip(image, plan, plan.ids, frames, padded, np.pad(boxes, (*empty, (0, 0))))

    def _picture(self, sequence: VideoSequence, index: int, reduction: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``, divided by `reduction` if it is enabled and the video supports it."""
        reduce = getattr(sequence, "reduced_frame", None) if self.reduced and reduction > 1 else None
        with reading():
            return sequence.frame(index) if reduce is None else reduce(index, reduction)

    def _clip(
        self,
        sequence: VideoSequence,
        plan: ClipPlan,
        ids: Sequence[int],
        frames: NDArray[Any],
        masks: NDArray[Any],
        boxes: NDArray[np.float32],
    ) -> Clip:
        name = f"{sequence.name}/{'+'.join(str(identity) for identity in ids) or 'none'}"
        return Clip(frames, masks, np.arange(self.slots) < len(ids), boxes, len(plan.reference), name)


class ClipDataset(NumberedClips):
    """Clips cropped around their object; only their frames are decoded.

    Args:
        sampler: chooses object and frames.
        transform: augments and crops them.
        length: see `NumberedClips`.
        warps: see `NumberedClips`.
    """

    sampler: MiniSequenceSampler

    def __init__(
        self, sampler: MiniSequenceSampler, transform: ClipTransform, length: int, warps: WarpTransform | None = None
    ) -> None:
        super().__init__(sampler, length, warps)
        self.transform = transform

    def make(self, item: int, chance: np.random.Generator) -> Clip:
        """Clip number `item`, drawn with `chance`."""
        plan = self.sampler.draw(chance)
        sequence = self.sampler.datasets[plan.dataset][plan.sequence]
        order = plan.reference + plan.query
        if isinstance(sequence, StaticImage):
            return self._static_clip(sequence, plan, chance)
        pictures = {
            index: (self._picture(sequence, index, 1), self._masks(sequence, index, plan))
            for index in sorted(set(order))
        }
        frames, masks, boxes = self.transform(
            [pictures[index][0] for index in order],
            [pictures[index][1] for index in order],
            len(plan.reference),
            chance,
        )
        return self._clip(sequence, plan, plan.ids, frames, masks, boxes)

    def _static_clip(self, image: StaticImage, plan: ClipPlan, chance: np.random.Generator) -> Clip:
        """A clip of one image, with its objects in the first slots."""
        if self.warps is not None:
            return self._warped(image, plan, chance, self.warps)
        count, box = len(plan.reference + plan.query), image.box()
        frame, mask = self._picture(image, 0, 1), self._masks(image, 0, plan)
        given = None if box is None else [box, *[None] * (self.slots - 1)]
        canvases = self.transform([frame] * count, [mask] * count, len(plan.reference), chance, given)
        return self._clip(image, plan, plan.ids, *canvases)

    def _masks(self, sequence: VideoSequence, index: int, plan: ClipPlan) -> Masks:
        labels = labels_of(sequence, index)
        slots = np.zeros((self.slots, *labels.shape), dtype=np.uint8)
        for slot, identity in enumerate(plan.ids):
            slots[slot] = labels == identity
        return slots


class FrameClips(NumberedClips):
    """Clips of whole frames; their objects are chosen from those visible in the first canvas.

    If there is none, other frames of the video are drawn, up to `tries` times, before images are decoded.

    Args:
        sampler: chooses videos and frames.
        transform: augments and crops them.
        length: see `NumberedClips`.
        warps: see `NumberedClips`.
    """

    sampler: OrderedSampler

    def __init__(
        self, sampler: OrderedSampler, transform: FrameClipTransform, length: int, warps: WarpTransform | None = None
    ) -> None:
        super().__init__(sampler, length, warps)
        self.transform = transform

    def make(self, item: int, chance: np.random.Generator) -> Clip:
        """Clip number `item`, drawn with `chance`.

        Raises:
            VOSError: no video shows an object in its first canvas, and empty clips are off.
        """
        for _ in range(_VIDEOS):
            dataset, number = self.sampler.video(chance)
            clip = self._of_video(dataset, number, item, chance)
            if clip is not None:
                return clip
        raise VOSError(
            f"no object shows {self.transform.settings.min_pixels} pixels on the first canvas of any clip; "
            "lower data.frame.min_pixels or set data.frame.empty=true"
        )

    def _of_video(self, dataset: int, number: int, item: int, chance: np.random.Generator) -> Clip | None:
        sequence = self.sampler.datasets[dataset][number]
        for _ in range(self.transform.settings.tries):
            plan = self.sampler.plan(dataset, number, item, chance)
            if isinstance(sequence, StaticImage) and self.warps is not None:
                return self._warped(sequence, plan, chance, self.warps)
            first = labels_of(sequence, plan.reference[0])
            draw = self.transform.draw((first.shape[0], first.shape[1]), len(plan.reference + plan.query), chance)
            ids = self.transform.choose(self.transform.labels(first, draw, 0), self.slots, chance)
            if ids:
                break
        if not ids and not self.transform.settings.empty:
            return None
        order, reduction = plan.reference + plan.query, self.transform.reduction(draw)
        pictures = {
            index: (self._picture(sequence, index, reduction), labels_of(sequence, index))
            for index in sorted(set(order))
        }
        frames = np.empty((len(order), 3, *self.transform.size), dtype=self.transform.dtype)
        canvases = []
        for position, index in enumerate(order):
            picture, labels = pictures[index]
            self.transform.picture(picture, draw, position, frames[position])
            canvases.append(self.transform.labels(labels, draw, position))
        masks, boxes = self.transform.masks(canvases, ids, self.slots)
        return self._clip(sequence, plan, ids, frames, masks, boxes)


def labels_of(sequence: VideoSequence, index: int) -> LabelMap:
    """The label map of an annotated frame, uint8 ``(H, W)``."""
    with reading():
        labels = sequence.labels(index)
    assert labels is not None, "samplers choose among annotated frames"
    return labels


def collate(clips: Sequence[Clip]) -> Batch:
    """Stack clips of one shape to a batch: frames ``(B, T, 3, h, w)``, masks ``(B, T, K, h, w)``.

    In a loader process torch stacks into memory shared with the trainer, which saves a copy.
    """
    stacked: dict[str, Any] = {
        name: default_collate([torch.from_numpy(getattr(clip, name)) for clip in clips])
        for name in ("frames", "masks", "valid", "boxes")
    }
    return Batch(
        **stacked,
        reference_frames=clips[0].reference_frames,
        names=[clip.name for clip in clips],
        skipped=[reason for clip in clips for reason in clip.skipped],
    )
