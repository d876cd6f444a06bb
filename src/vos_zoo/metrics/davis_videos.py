"""The DAVIS evaluation on videos from anywhere, and VISOR's, which is the same with the last frame scored, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vos_zoo.metrics.davis import SCORE_NAMES, score_sequence
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, average
from vos_zoo.metrics.scoring import ObjectScores, object_ids_in

_OF_OBJECT = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")


def score_davis(
    videos: Iterable[MaskVideo], *, official: bool = False, last_frame: bool = False, name: str = "DAVIS"
) -> ScoreReport:
    """Score videos by the rules of `score_sequence`.

    By default predicted labels that are no object count as background and are reported. A video without a scored frame
    is left out; the official program stops there.

    Args:
        videos: the videos.
        official: reproduce the official program, see `score_sequence`; a predicted label that is no object is refused.
        last_frame: score the last frame, too.
        name: name of the protocol in the report.

    Raises:
        VOSError: a mask is missing or of another size; with `official`, a predicted label is no object.
    """
    objects: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    dropped: dict[tuple[str, int], int] = {}
    why = "the video has no frame " + ("after the first" if last_frame else "between first and last")
    for video in videos:
        if len(video.frames) < (2 if last_frame else 3):
            ids = object_ids_in(video.truth(video.frames[0]))
            unscored += [(video.name, video.object_name(label), why) for label in ids]
            continue
        found = score_sequence(
            video.name,
            video.frames,
            video.prediction,
            video.truth,
            official=official,
            drop_unknown_labels=not official,
            last_frame=last_frame,
        )
        objects += [_object(video, scores) for scores in found.objects]
        dropped |= {(video.name, label): count for label, count in found.dropped.items()}
    return ScoreReport(name, official, tuple(objects), _combine, tuple(unscored), dropped)


def score_visor(videos: Iterable[MaskVideo], *, official: bool = False) -> ScoreReport:
    """Score videos by the rules of VISOR: those of DAVIS, with all frames but the first; see `score_davis`."""
    return score_davis(videos, official=official, last_frame=True, name="VISOR")


def _object(video: MaskVideo, scores: ObjectScores) -> ScoredObject:
    numbers = dict(zip(_OF_OBJECT, (*scores.region, *scores.boundary), strict=True))
    title = video.object_name(scores.object_id)
    return ScoredObject(video.name, title, scores.frames, {"J": scores.J, "F": scores.F}, numbers)


def _combine(objects: Sequence[ScoredObject]) -> dict[str, float]:
    means = [average(objects, name) for name in _OF_OBJECT]
    return dict(zip(SCORE_NAMES, ((means[0] + means[3]) / 2, *means), strict=True))
