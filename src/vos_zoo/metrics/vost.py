"""The VOST evaluation: J alone, over all frames (J) and over the last quarter (J_last).

Rules: the first and the last frame are not scored; frames without the object count 1 if the prediction is empty there,
else 0; recall and decay are those of DAVIS; the final numbers are plain means over all objects. 255 in the ground truth
marks pixels that are not to be evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vos_zoo.labels import VOID
from vos_zoo.metrics._masks import Mask
from vos_zoo.metrics.jaccard import region_similarity
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, average
from vos_zoo.metrics.scoring import SequenceScorer, object_ids_in
from vos_zoo.metrics.statistics import summarise

NAMES = ("J-Mean", "J-Recall", "J-Decay", "J_last-Mean", "J_last-Recall", "J_last-Decay")
"""The final numbers, in the order of the official CSV file."""

_OF_OBJECT = ("J", "J_recall", "J_decay", "J_last", "J_last_recall", "J_last_decay")
_LAST_PART = 0.75
TOO_SHORT = "the video has no frame between first and last"


def score_vost(videos: Iterable[MaskVideo], *, official: bool = False) -> ScoreReport:
    """Score videos by the rules of VOST.

    By default every id that the ground truth shows before its last frame is scored, and pixels of 255 in the ground
    truth are left out. A video of one or two frames has no scored frame and is left out; the official program stops
    there.

    Args:
        videos: the videos.
        official: score the ids 1..K, K = the highest label of the first frame, so that gaps in the ids count as perfect
            and objects with higher ids that come later are not scored; 255 in the ground truth is background; the decay
            overflows beyond 255 frames.

    Raises:
        VOSError: a mask is missing or of another size.
    """
    objects: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    dropped: dict[tuple[str, int], int] = {}
    for video in videos:
        scorer = SequenceScorer(video.name, measure=_region, count=1)
        first = video.truth(video.frames[0])
        scorer.introduce(first)
        for frame in video.frames[1:-1]:
            prediction, truth = video.prediction(frame), video.truth(frame)
            if not official and truth.max(initial=0) == VOID and prediction.shape == truth.shape:
                prediction = np.where(truth == VOID, np.uint8(0), prediction)
            scorer.add(frame, prediction, truth)
        ids = range(1, max(object_ids_in(first), default=0) + 1) if official else sorted(scorer.truth_ids)
        if scorer.frames:
            objects += [_score_object(video, scorer, label, official) for label in ids]
        else:
            unscored += [(video.name, video.object_name(label), TOO_SHORT) for label in ids]
        dropped |= {(video.name, label): len(where) for label, where in scorer.unknown_labels(ids).items()}
    return ScoreReport("VOST", official, tuple(objects), _combine, tuple(unscored), dropped)


def _region(prediction: Mask, truth: Mask, size: tuple[int, int]) -> tuple[float, ...]:
    return (float(region_similarity(prediction, truth)),)


def _score_object(video: MaskVideo, scorer: SequenceScorer, label: int, official: bool) -> ScoredObject:
    frames, values = scorer.values_of(label)
    region = values[:, 0]
    last = region[int(_LAST_PART * len(region)) :]
    numbers = (*summarise(region, official=official), *summarise(last, official=official))
    scores = dict(zip(_OF_OBJECT, numbers, strict=True))
    return ScoredObject(video.name, video.object_name(label), frames, {"J": region}, scores)


def _combine(objects: Sequence[ScoredObject]) -> dict[str, float]:
    return {name: average(objects, own) for name, own in zip(NAMES, _OF_OBJECT, strict=True)}
