"""The final numbers of `vos-zoo test` on a data set whose protocol `vos-zoo score` knows: one rule for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.evaluation import EvaluationReport
from vos_zoo.evaluation.referee.pictures import draw_worst
from vos_zoo.evaluation.referee.protocols import PROTOCOLS
from vos_zoo.evaluation.referee.results import FolderResults
from vos_zoo.evaluation.referee.score_record import board_scores
from vos_zoo.evaluation.referee.scoring import score_masks
from vos_zoo.evaluation.referee.truth import TruthSettings
from vos_zoo.evaluation.referee.written import write_scores
from vos_zoo.metrics.streaming import wanted_frames
from vos_zoo.types import VideoDataset
from vos_zoo.video.masks import read_mask, write_mask

MASKS, OBJECTS, SCORES = "masks", "objects", "protocol"
"""Folders of a run: label maps, masks per object (SA-V), and the protocol's scores with their page."""


@dataclass(frozen=True)
class FinalScores:
    """What a record takes.

    Attributes:
        scores: name on the board -> value, 0..1.
        sequences: video -> object -> measure -> value, 0..1.
    """

    scores: Mapping[str, float]
    sequences: Mapping[str, Mapping[str, Mapping[str, float]]]


def score_run(config: RunConfig, report: EvaluationReport, videos: VideoDataset, folder: Path) -> FinalScores | None:
    """Score a run's masks by the data set's protocol, print the scores, and write them into its folder.

    None if the data set has no such protocol, its ground truth is not public, or a video failed.
    """
    name, data = report.protocol.scoring, config.data
    if not name or report.failures or not any(sequence.objects for sequence in report.sequences):
        return None
    protocol = PROTOCOLS[name]
    settings = TruthSettings(
        root=str(data.root),
        split=data.test_split,
        resolution=data.resolution,
        sequences=tuple(video.name for video in videos),
        mask_threshold=data.mask_threshold,
    )
    truth = protocol.find(settings)
    apart = write_object_masks(folder / MASKS, videos, folder / OBJECTS)
    results = FolderResults(folder / OBJECTS if apart else folder / MASKS, truth.masks.threshold)
    scored = score_masks(protocol, settings, truth, results)
    pictures = draw_worst(scored.report, protocol, truth, results)
    write_scores(scored, protocol, truth.title, folder / SCORES, pictures)
    say(str(scored.report))
    say(f"{report.protocol.name}'s scores, with the worst objects: {folder / SCORES / 'report.html'}")
    objects: dict[str, dict[str, dict[str, float]]] = {video: {} for video in truth.videos}
    for one in scored.report.objects:
        known = {measure: float(value) for measure, value in one.scores.items() if not np.isnan(value)}
        joint = {"J&F": (known["J"] + known["F"]) / 2} if {"J", "F"} <= known.keys() else {}
        objects[one.video][one.name] = {**known, **joint}
    return FinalScores(board_scores(scored.report, protocol), objects)


def write_object_masks(masks: Path, videos: VideoDataset, output: Path) -> bool:
    """Write ``VIDEO/OBJECT/FRAME.png`` of videos whose ground truth has a folder per object; whether there are such.

    Args:
        masks: folder of label maps, ``VIDEO/FRAME.png``.
        videos: the videos.
        output: folder to write into.
    """
    found = False
    for video in videos:
        names = video.object_names
        for index in wanted_frames(video) if names else ():
            frame = f"{video.frame_names[index]}.png"
            labels = read_mask(masks / video.name / frame)
            for identity, name in names.items():
                write_mask(output / video.name / name / frame, (labels == identity).astype(np.uint8))
        found = found or bool(names)
    return found
