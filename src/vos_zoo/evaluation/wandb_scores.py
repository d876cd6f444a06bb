"""Scored masks at Weights & Biases: a run per `vos-zoo score`, and its record read back for the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.evaluation.referee.protocols import ScoringProtocol
from vos_zoo.evaluation.referee.score_record import ScoreRecord, parse_score_record, score_record_text
from vos_zoo.evaluation.referee.written import main_score
from vos_zoo.evaluation.wandb_runs import fetch_configs, wandb_run
from vos_zoo.metrics.score_report import ScoreReport

CONFIG_KEY = "score_record"
"""Entry of a run's configuration that holds the whole record as JSON text."""
SCORING = "score"
"""Job type of these runs."""


def log_score(record: ScoreRecord, report: ScoreReport, protocol: ScoringProtocol, folder: Path, project: str) -> None:
    """Log scored masks: final numbers as summary, tables of objects and videos, a chart per video, page and record.

    Args:
        record: the record.
        report: the scores.
        protocol: what they were scored by.
        folder: the folder of the results, with their page.
        project: name of the project.
    """
    import wandb

    config = {name: getattr(record, name) for name in ("name", "source", "protocol", "title", "official", "masks")}
    with wandb_run(folder, project, record.name, SCORING, {**config, CONFIG_KEY: score_record_text(record)}) as run:
        main = "&".join(protocol.main)
        names = list(dict.fromkeys(name for one in report.objects for name in one.scores))
        columns = ["video", "object", "group", main, *(f"object {name}" for name in names)]
        rows: list[list[Any]] = [
            [one.video, one.name, one.group, _number(main_score(one, protocol)), *_numbers(one.scores, names)]
            for one in report.objects
        ]
        finals = list(report.scores)
        videos = [[video, *_numbers(scores, finals)] for video, scores in report.videos.items()]
        tables = {
            "objects": wandb.Table(columns=columns, data=rows),
            "videos": wandb.Table(columns=["video", *finals], data=videos),
        }
        run.log(tables)
        lowest = sorted((row for row in rows if row[3] is not None), key=lambda row: row[3])
        bars = wandb.Table(columns=["object", main], data=[[f"{row[0]}/{row[1]}", row[3]] for row in lowest])
        run.log({"objects by score": wandb.plot.bar(bars, "object", main, title=f"{record.title}: {main} per object")})
        page = folder / "report.html"
        if page.is_file():
            run.log({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
        for name, value in record.scores.items():
            run.summary[name] = value


def _numbers(scores: Mapping[str, float], names: list[str]) -> list[float | None]:
    return [_number(scores.get(name, np.nan)) for name in names]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def fetch_score_records(project: str) -> list[ScoreRecord]:
    """The records of all scored masks in a project; see `fetch_configs`."""
    found = [(name, config.get(CONFIG_KEY)) for name, config in fetch_configs(project, SCORING)]
    return [parse_score_record(text, f"wandb run {name}") for name, text in found if text is not None]


def score_record_of(config: Mapping[str, Any], source: str) -> ScoreRecord | None:
    """The record in a run's configuration; None if the run scored no masks.

    Raises:
        VOSError: it holds no valid record.
    """
    text = config.get(CONFIG_KEY)
    return None if text is None else parse_score_record(text, source)
