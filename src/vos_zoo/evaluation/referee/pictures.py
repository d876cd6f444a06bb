"""Pictures of the worst objects of scored masks, where the data set's frames are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vos_zoo.evaluation.gallery import chosen_frames, strip
from vos_zoo.evaluation.referee.protocols import ScoringProtocol
from vos_zoo.evaluation.referee.results import MaskResults
from vos_zoo.evaluation.referee.scoring import same_object
from vos_zoo.evaluation.referee.truth import Truth
from vos_zoo.evaluation.referee.written import worst_objects
from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import list_pictures
from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport
from vos_zoo.types import VOSError

_PICTURES = 6
Key = tuple[str, str]
"""Video and object."""


def frames_beside(masks: Path) -> Path | None:
    """The folder of frames beside a folder of masks, ``JPEGImages...`` for ``Annotations...``; None without one."""
    for place in reversed(range(len(masks.parts))):
        if masks.parts[place].startswith("Annotations"):
            above, below = Path(*masks.parts[:place]), masks.parts[place + 1 :]
            found = [one.joinpath(*below) for one in sorted(above.glob("JPEGImages*"))]
            return next((folder for folder in found if folder.is_dir()), None)
    return None


def draw_worst(report: ScoreReport, protocol: ScoringProtocol, truth: Truth, results: MaskResults) -> dict[Key, str]:
    """Rows of frames of the worst objects, as addresses of images in a page; none without frames of their size."""
    folder = frames_beside(truth.masks.folder)
    if folder is None:
        return {}
    found = {}
    for one in worst_objects(report, protocol):
        row = _row(one, protocol, truth, results, folder / one.video) if one.frames else None
        if row is not None:
            found[one.video, one.name] = row
    return found


def _row(one: ScoredObject, protocol: ScoringProtocol, truth: Truth, results: MaskResults, folder: Path) -> str | None:
    """The row of an object; None if a frame is not there or has another size."""
    values = np.mean([one.values[name] for name in protocol.main], axis=0)
    shown = chosen_frames(values, _PICTURES)
    names, files = [one.frames[index] for index in shown], list_pictures(folder)
    if not set(names) <= set(files):
        return None
    truths = [_mask(truth.masks, one, name) for name in names]
    predictions = [_mask(results, one, name) for name in names]
    try:
        frames = [read_frame(files[name]) for name in names]
    except VOSError:
        return None
    filled, expected = [], []
    for frame, true, prediction in zip(frames, truths, predictions, strict=True):
        empty = np.zeros(frame.shape[:2], dtype=bool)
        expected.append(empty if true is None else true)
        filled.append(empty if prediction is None else prediction)
    shapes = {mask.shape for mask in (*filled, *expected)} | {frame.shape[:2] for frame in frames}
    if len(shapes) > 1:
        return None
    captions = [_caption(one, protocol.main, index) for index in shown]
    identity = int(one.name) if one.name.isdecimal() and MIN_ID <= int(one.name) <= MAX_ID else MIN_ID
    return strip(frames, filled, expected, captions, identity)


def _mask(masks: MaskResults, one: ScoredObject, frame: str) -> NDArray[np.bool_] | None:
    """The object in a frame, bool ``(H, W)``; None where there is no mask."""
    if one.video not in masks.videos:
        return None
    apart = masks.objects(one.video)
    if apart is None:
        known = frame in masks.frames(one.video)
        return masks.labels(one.video, frame) == int(one.name) if known and one.name.isdecimal() else None
    name = same_object(one.name, apart)
    return masks.mask(one.video, name, frame) if name is not None and frame in masks.frames(one.video, name) else None


def _caption(one: ScoredObject, measures: Sequence[str], index: int) -> str:
    return f"{one.frames[index]}   " + "  ".join(f"{name} {100 * one.values[name][index]:.0f}" for name in measures)
