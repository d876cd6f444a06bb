"""The estimate of the YouTube-VOS score G on videos from anywhere; its rules are in `vos_zoo.metrics.youtube_vos`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport, average
from vos_zoo.metrics.scoring import ObjectScores
from vos_zoo.metrics.youtube_vos import SEEN_CATEGORIES, ScoredFrames, listed_video

_GROUPS = (("seen", "J"), ("seen", "F"), ("unseen", "J"), ("unseen", "F"))


def score_youtube_vos(
    videos: Iterable[MaskVideo],
    meta: Mapping[str, Any],
    *,
    frames: ScoredFrames = "first_frame_excluded",
    seen_categories: Collection[str] = SEEN_CATEGORIES,
) -> ScoreReport:
    """Score videos as `evaluate_youtube_vos` does; predicted labels that are no object are background and reported.

    Args:
        videos: the videos.
        meta: content of ``meta.json``.
        frames: which frames of an object are scored.
        seen_categories: the categories of the training data.

    Raises:
        UsageError: the meta file has another form, or lacks a video.
        VOSError: a mask is missing or of another size.
    """
    objects: list[ScoredObject] = []
    unscored: list[tuple[str, str, str]] = []
    dropped: dict[tuple[str, int], int] = {}
    for video in videos:
        listed = listed_video(video.name, meta.get("videos", {}), "meta.json")
        listed.score(video.prediction, video.truth, frames)
        about = meta["videos"][video.name]["objects"]
        for one, scored in listed.scored.items():
            if scored:
                group = "seen" if about[str(one)].get("category", "") in seen_categories else "unseen"
                objects.append(_object(listed.scorer.scores_of(one, scored), group))
            else:
                unscored.append((video.name, str(one), "no listed frame after its first one"))
        unknown = listed.scorer.unknown_labels(listed.scored)
        dropped |= {(video.name, label): len(where) for label, where in unknown.items()}
    remarks = (f"G is a local estimate (frames: {frames}); the server's code is not public",)
    return ScoreReport("YouTube-VOS", False, tuple(objects), _combine, tuple(unscored), dropped, remarks)


def _object(scores: ObjectScores, group: str) -> ScoredObject:
    numbers = {"J": scores.region.mean, "F": scores.boundary.mean}
    values = {"J": scores.J, "F": scores.F}
    return ScoredObject(scores.sequence, str(scores.object_id), scores.frames, values, numbers, group)


def _combine(objects: Sequence[ScoredObject]) -> dict[str, float]:
    groups = {name: [one for one in objects if one.group == name] for name in ("seen", "unseen")}
    found = {f"{measure}_{group}": average(groups[group], measure) for group, measure in _GROUPS if groups[group]}
    return {"G": float(np.mean(list(found.values()))) if found else math.nan, **found}
