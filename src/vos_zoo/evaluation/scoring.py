"""Scores of one sequence while its results stream in: J and F per object and frame, and which frames were worst."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vos_zoo.evaluation.report import ObjectResult
from vos_zoo.metrics import score_frame
from vos_zoo.types import LabelMap, VideoSequence, VOSError


class StreamScorer:
    """J and F of every object by the DAVIS convention.

    The first and the last frame of the video are dropped; an object is scored from the frame after its mask was given.
    Void (255) in the truth counts as background. Holds numbers only, no masks.
    """

    def __init__(self, sequence: VideoSequence, prompts: Mapping[int, LabelMap]) -> None:
        """Prepare for the objects of `sequence`; `prompts` tells where each starts (an id in none: with the first)."""
        self.sequence = sequence
        first = min(prompts)
        self.starts = {
            identity: min((index for index, labels in prompts.items() if (labels == identity).any()), default=first)
            for identity in sequence.object_ids
        }
        self._values: dict[int, dict[int, tuple[float, float]]] = {identity: {} for identity in sequence.object_ids}

    def add(self, index: int, labels: LabelMap) -> float | None:
        """Score frame `index` of the video.

        Args:
            index: number of the frame.
            labels: the prediction, uint8 ``(H, W)``.

        Returns:
            Mean of J and F over the objects scored in this frame; None if the frame is not scored.

        Raises:
            VOSError: prediction and truth differ in size.
        """
        if not 0 < index < len(self.sequence) - 1:
            return None
        scored = [identity for identity, start in self.starts.items() if start < index]
        truth = self.sequence.labels(index) if scored else None
        if truth is None:
            return None
        if truth.shape != labels.shape:
            raise VOSError(
                f"frame {self.sequence.frame_names[index]}: its truth is {truth.shape}, the prediction {labels.shape} "
                "(height, width); bring masks and frames to one size"
            )
        for identity, values in score_frame(labels, truth, scored).items():
            self._values[identity][index] = values
        return float(np.mean([self._values[identity][index] for identity in scored]))

    def scores(self) -> tuple[ObjectResult, ...]:
        """Scores of all objects that were scored in at least one frame, in the order of the sequence's ids."""
        names = self.sequence.frame_names
        return tuple(
            ObjectResult(
                id=identity,
                start=names[self.starts[identity]],
                frames=tuple(names[index] for index in values),
                j=tuple(j for j, _ in values.values()),
                f=tuple(f for _, f in values.values()),
            )
            for identity, values in self._values.items()
            if values
        )


class FrameKeeper:
    """Keeps the predictions of a few frames for pictures: chosen ones, and those with the lowest scores.

    Frames beside each other look alike, so of every `spacing` frames only the worst one is kept.
    """

    def __init__(self, chosen: set[int], worst: int, spacing: int = 1) -> None:
        """Keep the frames `chosen` and up to `worst` frames with low scores, one of every `spacing` frames."""
        self.chosen: dict[int, LabelMap] = {}
        self._wanted, self._worst_count, self._spacing = chosen, worst, spacing
        self._blocks: dict[int, tuple[float, int, LabelMap]] = {}  # block number -> its worst frame

    def add(self, index: int, labels: LabelMap, score: float | None) -> None:
        """Look at frame `index` with its label map, uint8 ``(H, W)``, and its score (None: not scored)."""
        if index in self._wanted:
            self.chosen[index] = labels
        if score is None:
            return
        block = index // self._spacing
        if block not in self._blocks or score < self._blocks[block][0]:
            self._blocks[block] = (score, index, labels)
        if len(self._blocks) > self._worst_count:
            del self._blocks[max(self._blocks, key=lambda number: self._blocks[number][:2])]

    def worst(self) -> list[tuple[int, float, LabelMap]]:
        """(frame, score, label map) of the worst frames, worst first, equal ones in time order."""
        kept = sorted(self._blocks.values(), key=lambda entry: entry[:2])
        return [(index, score, labels) for score, index, labels in kept]
