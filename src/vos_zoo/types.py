"""Shared types: boxes, label maps, video sequences, training batches, results.

Axes (one glossary for the whole package): ``B`` canvases of a batch, ``T`` frames of a clip, ``K`` object slots per
canvas, ``N`` objects alive in the video, ``C`` channels, ``h w`` canvas size, ``H W`` video size. Label maps are uint8
``(H, W)`` with 0 = background. Probabilities are float32 ``(N+1, H, W)``, background first. Frames are uint8 RGB
``(H, W, 3)``. This module imports neither torch nor any other part of the package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Frame: TypeAlias = NDArray[np.uint8]
"""RGB image, uint8 ``(H, W, 3)``."""
LabelMap: TypeAlias = NDArray[np.uint8]
"""Object ids per pixel, uint8 ``(H, W)``: 0 = background, 1..254 ids; for 255 see `vos_zoo.labels`."""


class VOSError(Exception):
    """A failure that a user can fix; the command line prints its message as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(VOSError):
    """A usage error (unknown key, wrong type, missing file), raised before any work is done."""

    exit_code = 2


class Box(NamedTuple):
    """Axis-aligned box in pixels: left, top, width, height.

    Examples:
        >>> Box(40, 30, 120, 80).w
        120
    """

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Points:
    """Clicks that show an object, in pixels: (x, y) from the upper left corner of the frame.

    Attributes:
        positive: on the object; at least one.
        negative: beside the object.

    Examples:
        >>> Points([(120, 80)], negative=[(20, 20)])
        Points(positive=[(120, 80)], negative=[(20, 20)])
    """

    positive: Sequence[tuple[float, float]]
    negative: Sequence[tuple[float, float]] = ()


Prompt: TypeAlias = "LabelMap | Mapping[int, Box | Points | Sequence[float]]"
"""What a user gives in a frame: a label map of integers ``(H, W)``, or a box (x, y, w, h) or `Points` per object id."""


@dataclass(frozen=True)
class Confidence:
    """How sure a tracker is of the objects of one frame; tensors ``(N,)``, in the order of `FrameResult.ids`.

    Attributes:
        expected_iou: float32, 0..1, the expected IoU of the mask and the true one, calibrated if the weights are; 1
            where the mask was given.
        soft_iou: float32, 0..1, the IoU that the probabilities themselves expect.
        inside: float32, 0..1, mean certainty inside the mask; 0 if it is empty.
        border: float32, 0..1, mean certainty of the pixels along the mask's border.
        shrink: float32, -2..0, logarithm of the mask's area against the given one, 0 if it is larger.
        evidence: float32, the method's own (it says what it is); NaN where it has none.
        lost: bool, whether the object is lost: there is no mask, or it is probably wrong.
        reappeared: bool, whether the object was lost in the result before this one and is not in this one.
    """

    expected_iou: Tensor
    soft_iou: Tensor
    inside: Tensor
    border: Tensor
    shrink: Tensor
    evidence: Tensor
    lost: Tensor
    reappeared: Tensor


@dataclass(frozen=True)
class FrameResult:
    """The tracker's result for one frame, at the size of the input frame.

    Attributes:
        index: number of the frame in the stream, from 0.
        ids: object ids in this frame, in the order of `probabilities[1:]`.
        probabilities: float32 ``(N+1, H, W)``, background first; sums to one over the first axis.
        scores: float32 ``(N,)``, probability of each object being in sight (1 where its mask was given), from a method
            that says so; None from others, and where every object was given in this frame.
        confidence: how sure the tracker is of each object; None from trackers that do not say.
    """

    index: int
    ids: tuple[int, ...]
    probabilities: Tensor
    scores: Tensor | None = None
    confidence: Confidence | None = None

    def label_map(self) -> LabelMap:
        """The most probable id of every pixel, uint8 ``(H, W)``; ties go to the background, then the older object."""
        winners = self.probabilities.max(dim=0).indices.byte().cpu().numpy()  # ids are below 255: one byte each
        return np.asarray((0, *self.ids), dtype=np.uint8)[winners]


class VideoSequence(ABC):
    """One video with (some of) its masks; frames and masks are read lazily.

    Attributes:
        name: name of the sequence, unique in its data set.
        frame_names: file stems of the frames, sorted; kept for output.
        object_ids: ids, 1..254, in order of introduction.
        wanted_frames: the frames whose results are evaluated, ascending; None for all.
    """

    name: str
    frame_names: tuple[str, ...]
    object_ids: tuple[int, ...]
    wanted_frames: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.frame_names)

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``."""

    @abstractmethod
    def labels(self, index: int) -> LabelMap | None:
        """Label map of frame `index`, uint8 ``(H, W)``, or None if there is no annotation."""

    @abstractmethod
    def prompts(self) -> dict[int, LabelMap]:
        """The given masks: frame index -> label map of the objects that start there."""

    def frame_content(self, index: int) -> bytes:
        """Content of frame `index` for digests: its pixels, or the file they are decoded from."""
        frame = self.frame(index)
        return f"{frame.shape};".encode() + frame.tobytes()

    def files(self) -> Iterator[Path]:
        """The files of the video; none if it is not read from files."""
        return iter(())

    @property
    def categories(self) -> Mapping[int, str]:
        """Category per object id, if the data set has them (YouTube-VOS), else empty."""
        return {}

    @property
    def object_names(self) -> Mapping[int, str]:
        """Name per object id, if each object has a folder of masks of its own (SA-V), else empty."""
        return {}

    def has_labels(self, frames: Iterable[int]) -> bool:
        """Whether all of these frames have a complete label map, with every visible object."""
        return all(self.labels(index) is not None for index in frames)

    @property
    def has_truth(self) -> bool:
        """Whether there are frames between the first and the last, and all of them have a complete label map."""
        return len(self) > 2 and self.has_labels(range(1, len(self) - 1))

    def frames(self) -> Iterator[Frame]:
        """All frames in order, read lazily."""
        return (self.frame(index) for index in range(len(self)))


class VideoDataset(Sequence[VideoSequence]):
    """A data set of videos: a `Sequence` of `VideoSequence`.

    Attributes:
        name: its name, for messages.
        frame_step: frames of the filmed video per frame of a sequence (YouTube-VOS holds every fifth).
        video_length: length of every video of a generated data set, in which all videos have one length and
            masks in all frames; None if samplers must check each video.
    """

    name: str
    frame_step: int = 1
    video_length: int | None = None


@dataclass
class Batch:
    """A training batch of mini-sequences (clips cropped to one canvas size).

    Attributes:
        frames: float32 ``(B, T, 3, h, w)``, RGB, 0..255 (each network normalises its input). Frames and masks of a
            compact batch (`data.compact`) are uint8 until `to` moves them to their device.
        masks: float32 ``(B, T, K, h, w)``, 0 or 1, one channel per object slot (soft masks of static images, if
            `data.static.soft_masks` asks for them, are between; above 0.5 is the object).
        valid: bool ``(B, K)``, slots that hold an object.
        boxes: float32 ``(B, T, K, 4)``, x y w h of the objects in canvas pixels; zero where unknown.
        reference_frames: number of leading frames of T that are references (their masks are given); the rest are
            queries.
        names: ``B`` names "sequence/object" for messages.
        step: optimiser steps taken before this batch; losses with a schedule follow it.
        skipped: unreadable files whose clips were replaced by others (`data.skip_broken`), with the reason.
    """

    frames: Tensor
    masks: Tensor
    valid: Tensor
    boxes: Tensor
    reference_frames: int = 1
    names: list[str] = field(default_factory=list)
    step: int = 0
    skipped: list[str] = field(default_factory=list)

    def to(self, device: torch.device | str, **options: Any) -> Batch:
        """The same batch with its tensors on `device`, frames and masks as float32; the host does not wait for it."""
        options = {"non_blocking": str(device).startswith("cuda"), **options}
        moved = {name: getattr(self, name).to(device, **options) for name in ("frames", "masks", "valid", "boxes")}
        moved.update({name: moved[name].float() for name in ("frames", "masks")})
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by torch's loader)."""
        pinned = {name: getattr(self, name).pin_memory() for name in ("frames", "masks", "valid", "boxes")}
        return replace(self, **pinned)


@dataclass(frozen=True)
class Conversion:
    """The mapping from an authors' state dict to ours.

    Attributes:
        model: keyword arguments of the target model that the entries imply.
        track: inference settings that belong to these weights.
        names: our entry name -> the authors' entry name; every entry of both sides must appear.
        unused: authors' entries that our network does not need (documented by the method).
        families: start of our names -> start of the authors', to name entries that a file lacks.
    """

    model: dict[str, Any]
    track: dict[str, Any]
    names: dict[str, str]
    unused: frozenset[str] = frozenset()
    families: dict[str, str] = field(default_factory=dict)

    def authors_name(self, ours: str) -> str:
        """The authors' name of our entry `ours`; our own name if no family matches."""
        for start, theirs in self.families.items():
            if ours.startswith(start):
                return theirs + ours.removeprefix(start)
        return ours
