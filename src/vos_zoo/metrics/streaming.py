"""J and F of one video while its results stream in: what training's validation and the evaluations share.

Holds numbers only, no masks. Given masks win over predictions where they lie, and a frame scores an object only after
its mask was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from vos_zoo.metrics.davis import SequenceScores
from vos_zoo.metrics.scoring import VOID, SequenceScorer
from vos_zoo.types import LabelMap, VideoSequence, VOSError

Rule = Literal["davis", "youtube_vos"]
"""Which of the wanted frames count, after an object's given mask: "davis" all but the video's first and
last, "youtube_vos" all that have a truth."""


def wanted_frames(sequence: VideoSequence) -> Sequence[int]:
    """Frames of a video whose results an evaluation wants: those it names, else all."""
    return range(len(sequence)) if sequence.wanted_frames is None else sequence.wanted_frames


def with_given(labels: LabelMap, given: LabelMap | None, *, first: bool = False) -> LabelMap:
    """The result of a frame, uint8 ``(H, W)``, once the mask given there is laid over it.

    Args:
        labels: the prediction.
        given: the given mask, or None where there is none.
        first: whether nothing was tracked before, so that the given mask is all there is.
    """
    if given is None:
        return labels
    return given if first else np.where(given > 0, given, labels)


class StreamScorer:
    """Collects J and F of every object of a video, frame by frame.

    Args:
        sequence: the video; its truth is read when a frame is scored.
        prompts: frame -> given mask; tells where each object starts (an object in none: with the first).
        rule: which frames count.

    Attributes:
        starts: object id -> frame of its given mask.
    """

    def __init__(self, sequence: VideoSequence, prompts: Mapping[int, LabelMap], rule: Rule = "davis") -> None:
        self.sequence, self.rule = sequence, rule
        first = min(prompts)
        self.starts = {
            identity: min((index for index, labels in prompts.items() if (labels == identity).any()), default=first)
            for identity in sequence.object_ids
            if identity != VOID
        }
        self._wanted = frozenset(wanted_frames(sequence))
        self._scorer = SequenceScorer(sequence.name)
        self._frames: dict[int, list[str]] = {identity: [] for identity in self.starts}

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
        if index not in self._wanted or (self.rule == "davis" and not 0 < index < len(self.sequence) - 1):
            return None
        scored = [identity for identity, start in self.starts.items() if start < index]
        truth = self.sequence.labels(index) if scored else None
        if truth is None:
            return None
        name = self.sequence.frame_names[index]
        if truth.shape != labels.shape:
            raise VOSError(
                f"frame {name}: its truth is {truth.shape}, the prediction {labels.shape} (height, width); "
                "bring masks and frames to one size"
            )
        values = self._scorer.add(name, labels, truth, scored)
        for identity in scored:
            self._frames[identity].append(name)
        return float(np.mean([values[identity] for identity in scored]))

    def scores(self) -> SequenceScores:
        """Scores of all objects that were scored in at least one frame, in the order of the sequence's ids."""
        objects = tuple(self._scorer.scores_of(identity, names) for identity, names in self._frames.items() if names)
        return SequenceScores(self.sequence.name, tuple(self._scorer.frames), objects, {})
