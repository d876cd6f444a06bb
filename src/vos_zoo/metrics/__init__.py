"""Scores: J, F, their statistics, the evaluations of the field's data sets, and torchmetrics classes.

The functions need NumPy and OpenCV only; the classes, which need torch, are loaded lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vos_zoo.metrics.boundary import boundary_accuracy, boundary_map, boundary_tolerance
from vos_zoo.metrics.davis import DavisReport, SequenceScores, evaluate_davis, mean_scores, score_sequence
from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.jaccard import region_similarity
from vos_zoo.metrics.lvos import score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport
from vos_zoo.metrics.scoring import ObjectScores, SequenceScorer, score_frame
from vos_zoo.metrics.statistics import Statistics, decay, mean, recall, summarise
from vos_zoo.metrics.streaming import StreamScorer, why_unscored, with_given
from vos_zoo.metrics.vost import score_vost
from vos_zoo.metrics.youtube_vos import YouTubeReport, evaluate_youtube_vos

if TYPE_CHECKING:
    from vos_zoo.metrics.video_metric import BoundaryAccuracy, DavisScores, RegionSimilarity

__all__ = [
    "BoundaryAccuracy",
    "DavisReport",
    "DavisScores",
    "MaskVideo",
    "ObjectScores",
    "RegionSimilarity",
    "ScoreReport",
    "ScoredObject",
    "SequenceScorer",
    "SequenceScores",
    "Statistics",
    "StreamScorer",
    "YouTubeReport",
    "boundary_accuracy",
    "boundary_map",
    "boundary_tolerance",
    "decay",
    "evaluate_davis",
    "evaluate_youtube_vos",
    "mean",
    "mean_scores",
    "recall",
    "region_similarity",
    "score_davis",
    "score_frame",
    "score_lvos",
    "score_mosev2",
    "score_sa_v",
    "score_sequence",
    "score_visor",
    "score_vost",
    "summarise",
    "why_unscored",
    "with_given",
]

_NEED_TORCH = ("BoundaryAccuracy", "DavisScores", "RegionSimilarity")


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(import_module("vos_zoo.metrics.video_metric"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
