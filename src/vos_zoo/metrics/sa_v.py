"""The SA-V evaluation, which is also that of vos-benchmark (Cheng et al.), on videos of label maps or single objects.

Rules: the video's first and last annotated frame are not scored (`ends=True` scores them, too). The frames of an object
begin with the first scored one in which truth or prediction shows it; later ones without it count 1 if both are empty,
else 0. Only objects that the ground truth shows in some scored frame are scored. J and F are those of DAVIS; the final
numbers are plain means over all objects.

SA-V's program stops where the ground truth never shows an object in the scored frames; here such an object is left out,
as vos-benchmark leaves it out, with either setting of `official`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vos_zoo.labels import VOID
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, j_f_means
from vos_zoo.metrics.scoring import SequenceScorer, object_ids_in
from vos_zoo.types import LabelMap

UNSEEN = "the ground truth does not show it in the scored frames"


def score_sa_v(
    videos: Iterable[MaskVideo], *, official: bool = False, ends: bool = False, name: str = "SA-V"
) -> ScoreReport:
    """Score videos by the rules of SA-V and vos-benchmark.

    Args:
        videos: the videos; of SA-V one per object.
        official: count 255 as an object like any other, as the programs do for label maps. By default it is background
            in the ground truth and no object in the prediction.
        ends: score the first and the last frame, too.
        name: name of the protocol in the report.

    Raises:
        VOSError: a mask is missing or of another size.
    """
    objects: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    dropped: dict[tuple[str, int], int] = {}
    for video in videos:
        frames = {*video.frames} if ends else {*video.frames[1:-1]}
        scorer, truth_ids = SequenceScorer(video.name), {*video.objects}
        void = SequenceScorer(video.name)
        for frame in video.frames:
            truth = video.truth(frame)
            truth_ids |= {*object_ids_in(truth)}
            if frame not in frames:
                continue
            prediction = video.prediction(frame)
            scorer.add(frame, prediction, truth)
            if official:
                void.add(frame, _only_void(prediction), _only_void(truth))
        found = [(label, scorer, video.object_name(label)) for label in sorted(scorer.truth_ids)]
        found += [(1, void, str(VOID)) for _ in void.truth_ids]
        objects += [_score_object(video.name, title, one, label) for label, one, title in found]
        unscored += [(video.name, video.object_name(label), UNSEEN) for label in sorted(truth_ids - scorer.truth_ids)]
        unknown = scorer.unknown_labels(truth_ids | ({VOID} if void.truth_ids else set()))
        dropped |= {(video.name, label): len(where) for label, where in unknown.items()}
    return ScoreReport(name, official, tuple(objects), j_f_means, tuple(unscored), dropped)


def _score_object(video: str, title: str, scorer: SequenceScorer, label: int) -> ScoredObject:
    first = scorer.visible_frames(label)[0]
    frames, values = scorer.values_of(label, scorer.frames[scorer.frames.index(first) :])
    region, boundary = values.T
    scores = {"J": float(np.mean(region)), "F": float(np.mean(boundary))}
    return ScoredObject(video, title, frames, {"J": region, "F": boundary}, scores)


def _only_void(labels: LabelMap) -> LabelMap:
    return (labels == VOID).astype(np.uint8)
