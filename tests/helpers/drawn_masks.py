"""Drawn masks and their reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport

SIZE = (80, 100)
BOX = (slice(20, 40), slice(30, 60))
HALF = (slice(20, 40), slice(30, 45))


def picture(**boxes: tuple[slice, slice]) -> np.ndarray:
    """A label map with boxes of the ids in the arguments' names: `picture(o3=BOX)`."""
    labels = np.zeros(SIZE, np.uint8)
    for name, where in boxes.items():
        labels[where] = int(name[1:])
    return labels


EMPTY, WHOLE, PART = picture(), picture(o1=BOX), picture(o1=HALF)


def video(
    truth: Sequence[np.ndarray],
    prediction: Sequence[np.ndarray] | None = None,
    *,
    step: int = 1,
    name: str = "v",
    **options: Any,
) -> MaskVideo:
    frames = tuple(f"{1 + step * index:08d}" for index in range(len(truth)))
    predicted = truth if prediction is None else prediction
    return MaskVideo(name, frames, lambda f: truth[frames.index(f)], lambda f: predicted[frames.index(f)], **options)


def only(report: ScoreReport) -> ScoredObject:
    (found,) = report.objects
    return found


def names(report: ScoreReport) -> list[str]:
    return [one.name for one in report.objects]


def left_out(report: ScoreReport) -> list[str]:
    return [name for _, name, _ in report.unscored]


BOTH = pytest.mark.parametrize("official", [False, True])
