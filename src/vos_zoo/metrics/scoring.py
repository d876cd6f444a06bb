"""J and F of all objects of one video, collected frame by frame: shared by the evaluations of all data sets.

An object that neither label map shows has J = F = 1 in that frame. Such pairs are neither computed nor stored, so that
objects may appear at any frame and only the current frame is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import VOID, objects_of
from vos_zoo.metrics._masks import Mask, span_of
from vos_zoo.metrics.boundary import boundary_accuracy, boundary_tolerance
from vos_zoo.metrics.jaccard import region_similarity
from vos_zoo.metrics.statistics import Statistics, summarise
from vos_zoo.types import LabelMap, UsageError, VOSError

Measure: TypeAlias = Callable[[Mask, Mask, tuple[int, int]], tuple[float, ...]]
"""Prediction and ground truth of one object, bool ``(h, w)``, and (height, width) of the whole image -> values, each 1
if both masks are empty. The masks may be cropped to the labelled part of the image plus one pixel on each side."""


@dataclass(frozen=True)
class ObjectScores:
    """J and F of one object in the frames in which it is scored.

    Attributes:
        sequence: name of the video.
        object_id: id of the object in it.
        frames: names of the scored frames, in order.
        J: region similarity per frame, float64 ``(T,)``, 0..1.
        F: boundary accuracy per frame, float64 ``(T,)``, 0..1.
        official: whether the decay is the official toolkit's (wrong beyond 255 frames) or the correct one.
        start: name of the frame in which its mask was given, where that is known; that frame is not scored.
        category: its category, if the data set has categories, else empty.
    """

    sequence: str
    object_id: int
    frames: tuple[str, ...]
    J: NDArray[np.float64]
    F: NDArray[np.float64]
    official: bool = False
    start: str = ""
    category: str = ""

    @property
    def region(self) -> Statistics:
        """Mean, recall and decay of J."""
        return summarise(self.J, official=self.official)

    @property
    def boundary(self) -> Statistics:
        """Mean, recall and decay of F."""
        return summarise(self.F, official=self.official)

    @property
    def mean(self) -> float:
        """J&F of the object: (mean J + mean F) / 2."""
        return (self.region.mean + self.boundary.mean) / 2


def object_ids_in(labels: LabelMap) -> tuple[int, ...]:
    """Ids of the objects visible in a label map, uint8 ``(H, W)``, ascending; 0 and 255 are not objects."""
    span = span_of(labels)
    if span is None:
        return ()
    shown = np.ascontiguousarray(labels[span.window])
    counts = cv2.calcHist([shown], [0], None, [VOID + 1], [0, VOID + 1])  # a third of the time of np.bincount
    return tuple(int(label) for label in np.flatnonzero(counts) if label not in (0, VOID))


def j_and_f(prediction: Mask, truth: Mask, size: tuple[int, int]) -> tuple[float, ...]:
    """J and F of one object as DAVIS defines them; see `Measure`."""
    tolerance = boundary_tolerance(*size)
    return (
        float(region_similarity(prediction, truth)),
        float(boundary_accuracy(prediction, truth, tolerance=tolerance)),
    )


def score_frame(
    prediction: LabelMap, truth: LabelMap, ids: Iterable[int], measure: Measure = j_and_f, count: int = 2
) -> dict[int, tuple[float, ...]]:
    """The measures of several objects in one frame.

    Args:
        prediction: label map, uint8 ``(H, W)``.
        truth: label map, uint8 ``(H, W)``.
        ids: the objects to score; labels are compared by id.
        measure: the measure; J and F by default.
        count: number of its values.

    Returns:
        (J, F), or what `measure` gives, by id.

    Raises:
        UsageError: the label maps differ in size or are not ``(H, W)``.
    """
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise UsageError(f"label maps: prediction {prediction.shape}, truth {truth.shape}; both must be one (H, W)")
    span = span_of(prediction | truth)  # 0 is background in both, so no labelled pixel is lost
    if span is None:
        return dict.fromkeys(ids, (1.0,) * count)
    window = span.padded(1, truth.shape).window  # the margin that the boundary needs, see `boundary`
    predicted, true = prediction[window], truth[window]
    size = truth.shape[0], truth.shape[1]
    return {label: measure(predicted == label, true == label, size) for label in ids}


@dataclass
class SequenceScorer:
    """Collects the scores of one video.

    Attributes:
        name: name of the video, for messages.
        frames: names of the frames added so far.
        truth_ids: objects in the ground truth so far.
        measure: the measure; J and F by default.
        count: number of its values.
    """

    name: str
    frames: list[str] = field(default_factory=list)
    truth_ids: set[int] = field(default_factory=set)
    measure: Measure = j_and_f
    count: int = 2
    _scores: list[dict[int, tuple[float, ...]]] = field(default_factory=list)
    _true: list[frozenset[int]] = field(default_factory=list)
    _predicted: dict[int, list[str]] = field(default_factory=dict)

    def introduce(self, truth: LabelMap) -> None:
        """Record the objects in the ground truth, uint8 ``(H, W)``, of a frame that is not scored."""
        self.truth_ids.update(object_ids_in(truth))

    def add(self, frame: str, prediction: LabelMap, truth: LabelMap, ids: Iterable[int] | None = None) -> None:
        """Score one frame.

        Args:
            frame: its name.
            prediction: label map, uint8 ``(H, W)``.
            truth: label map, uint8 ``(H, W)``; 255 is background.
            ids: the objects to score in this frame; None scores the visible ones.

        Raises:
            UsageError: the label maps differ in size.
        """
        truth = objects_of(truth, one_object=False)  # void is background in the semi-supervised task
        shown, guessed = object_ids_in(truth), object_ids_in(prediction)
        labels = {*guessed, VOID} if prediction.max(initial=0) == VOID else guessed
        for label in labels:
            self._predicted.setdefault(label, []).append(frame)
        self.truth_ids.update(shown)
        visible = {*shown, *guessed}
        self.frames.append(frame)
        self._true.append(frozenset(shown))
        due = sorted(visible if ids is None else visible & {*ids})
        self._scores.append(score_frame(prediction, truth, due, self.measure, self.count))

    def visible_frames(self, object_id: int) -> list[str]:
        """Frames added, and scored for the object, in which the ground truth or the prediction shows it."""
        return [frame for frame, scores in zip(self.frames, self._scores, strict=True) if object_id in scores]

    def true_frames(self, object_id: int) -> list[str]:
        """Frames added in which the ground truth shows the object."""
        return [frame for frame, shown in zip(self.frames, self._true, strict=True) if object_id in shown]

    def unknown_labels(self, ids: Collection[int]) -> dict[int, list[str]]:
        """Predicted labels that are not in `ids`, with the names of their frames."""
        return {label: frames for label, frames in sorted(self._predicted.items()) if label not in ids}

    def check_labels(self, ids: Collection[int]) -> None:
        """Check that all predicted labels are in `ids`.

        Raises:
            VOSError: there are others; the message names sequence, frame and label.
        """
        unknown = self.unknown_labels(ids)
        if not unknown:
            return
        label, frames = next(iter(unknown.items()))
        known = ", ".join(map(str, sorted(ids))) or "none"
        more = f" (also labels {', '.join(map(str, list(unknown)[1:]))})" if len(unknown) > 1 else ""
        hint = f"; {VOID} is an object only if ground truth and results show one object" if VOID in unknown else ""
        raise VOSError(
            f"sequence {self.name}, frame {frames[0]}: the results have label {label}{more}, but the objects are "
            f"{known}; correct the results, or drop such labels with drop_unknown_labels=True, which the report then "
            f"notes{hint}"
        )

    def scores_of(self, object_id: int, frames: Sequence[str] | None = None, *, official: bool = False) -> ObjectScores:
        """J and F of one object.

        Args:
            object_id: the object.
            frames: the frames; None takes all that were added.
            official: take the decay as the official toolkit computes it.

        Raises:
            VOSError: there is no frame.
        """
        names, values = self.values_of(object_id, frames)
        return ObjectScores(self.name, object_id, names, values[:, 0], values[:, 1], official)

    def values_of(
        self, object_id: int, frames: Sequence[str] | None = None
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Names of the counted frames, and the measures of one object in them, float64 ``(T, count)``.

        Args:
            object_id: the object.
            frames: the frames; None takes all that were added.

        Raises:
            VOSError: there is no frame.
        """
        chosen = None if frames is None else set(frames)
        absent = (1.0,) * self.count
        rows = [
            (frame, scores.get(object_id, absent))
            for frame, scores in zip(self.frames, self._scores, strict=True)
            if chosen is None or frame in chosen
        ]
        if not rows:
            raise VOSError(f"sequence {self.name}: no frame is left to score; it needs a frame between first and last")
        return tuple(frame for frame, _ in rows), np.array([value for _, value in rows], dtype=np.float64)
