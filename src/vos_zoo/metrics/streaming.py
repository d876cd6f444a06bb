"""J and F of one video while its results stream in; shared by validation and evaluation.

Holds numbers only, no masks. Labels are compared by id; ids that are not an object of the video (void) are background.
Given masks overwrite predictions, and an object is scored only in frames after its given mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from vos_zoo.labels import MAX_ID, MIN_ID, objects_of
from vos_zoo.metrics.davis import SequenceScores
from vos_zoo.metrics.scoring import ObjectScores, score_frame
from vos_zoo.types import LabelMap, VideoSequence, VOSError

Rule = Literal["davis", "youtube_vos"]
"""Which of the requested frames are scored, after an object's given mask: "davis" all but the video's first and
last, "youtube_vos" all that have ground truth."""


NO_TRUTH = "it has no ground truth"
"""Reason why a video has no score."""


def why_unscored(sequence: VideoSequence, rule: Rule = "davis") -> str:
    """Why a video cannot be scored; empty if its length and its annotations allow it."""
    if len(sequence) < (3 if rule == "davis" else 2):
        left_out = "the first and the last frame are" if rule == "davis" else "the first frame is"
        frames = f"{len(sequence)} frame{'s' if len(sequence) > 1 else ''}"
        return f"it is too short to be scored: {left_out} left out, and it has {frames}"
    truth = sequence.has_labels([1]) if len(sequence) == 2 else sequence.has_truth
    return "" if truth else NO_TRUTH


def scored_frames(sequence: VideoSequence, first: int, rule: Rule = "davis") -> list[int]:
    """Frames that are scored if they have ground truth, with the first mask in frame `first`."""
    last = len(sequence) - 1 if rule == "davis" else len(sequence)
    return [index for index in wanted_frames(sequence) if first < index < last]


def wanted_frames(sequence: VideoSequence) -> Sequence[int]:
    """Frames of a video whose results an evaluation needs: those it lists, else all."""
    return range(len(sequence)) if sequence.wanted_frames is None else sequence.wanted_frames


def with_given(labels: LabelMap, given: LabelMap | None, *, first: bool = False) -> LabelMap:
    """The result of a frame, uint8 ``(H, W)``, overwritten by the given mask.

    Args:
        labels: the prediction.
        given: the given mask, or None; 255 in it is void.
        first: whether no frame was tracked before, so that the given mask is the result.
    """
    if given is None:
        return labels
    given = objects_of(given, one_object=False)
    return given if first else np.where(given > 0, given, labels)


class StreamScorer:
    """Collects J and F of every object of a video, frame by frame.

    Args:
        sequence: the video; its ground truth is read when a frame is scored.
        prompts: frame -> given mask, where each object starts (objects in no mask start with the first).
        rule: which frames are scored.

    Attributes:
        starts: object id -> frame of its given mask.

    Raises:
        VOSError: an object id is not in 1..254.
    """

    def __init__(self, sequence: VideoSequence, prompts: Mapping[int, LabelMap], rule: Rule = "davis") -> None:
        self.sequence = sequence
        wrong = [identity for identity in sequence.object_ids if not MIN_ID <= identity <= MAX_ID]
        if wrong:
            raise VOSError(
                f"{sequence.name} has an object with id {wrong[0]}; ids go from {MIN_ID} to {MAX_ID} (the object of "
                "masks of 0 and 255 is 1)"
            )
        first = min(prompts)
        self.starts = {
            identity: min((index for index, labels in prompts.items() if (labels == identity).any()), default=first)
            for identity in sequence.object_ids
        }
        self._counted = frozenset(scored_frames(sequence, first, rule))
        self._values: dict[int, dict[str, tuple[float, ...]]] = {identity: {} for identity in self.starts}
        self._frames: list[str] = []

    def add(self, index: int, labels: LabelMap) -> float | None:
        """Score frame `index` of the video.

        Args:
            index: number of the frame.
            labels: the prediction, uint8 ``(H, W)``.

        Returns:
            Mean of J and F over the objects scored in this frame; None if the frame is not scored.

        Raises:
            VOSError: prediction and ground truth differ in size.
        """
        if index not in self._counted:
            return None
        scored = [identity for identity, start in self.starts.items() if start < index]
        truth = self.sequence.labels(index) if scored else None
        if truth is None:
            return None
        name = self.sequence.frame_names[index]
        if truth.shape != labels.shape:
            raise VOSError(
                f"frame {name}: the ground truth is {truth.shape}, the prediction {labels.shape} (height, width); "
                "resize masks and frames to one size"
            )
        scores = score_frame(labels, truth, scored)
        self._frames.append(name)
        for identity, values in scores.items():
            self._values[identity][name] = values
        return float(np.mean(list(scores.values())))

    def scores(self) -> SequenceScores:
        """Scores of all objects that were scored in at least one frame, in the order of the sequence's ids."""
        objects = []
        for identity, values in self._values.items():
            if values:
                j, f = np.array(list(values.values()), dtype=np.float64).T
                start = self.sequence.frame_names[self.starts[identity]]
                category = self.sequence.categories.get(identity, "")
                scores = ObjectScores(self.sequence.name, identity, tuple(values), j, f, start=start, category=category)
                objects.append(scores)
        return SequenceScores(self.sequence.name, tuple(self._frames), tuple(objects), {})
