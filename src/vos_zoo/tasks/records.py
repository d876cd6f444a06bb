"""The record of a `vos-zoo test` run: in its folder, and at Weights & Biases if configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from vos_zoo.config.layers import RunConfig
from vos_zoo.evaluation.fingerprint import named_device
from vos_zoo.evaluation.record import (
    DataFacts,
    Environment,
    Result,
    RunRecord,
    run_facts,
    scores_of,
    sequence_scores,
    write_record,
)
from vos_zoo.evaluation.report import EvaluationReport
from vos_zoo.model import VOSModel
from vos_zoo.revision import git_revision
from vos_zoo.tasks.final_scores import FinalScores
from vos_zoo.types import VideoDataset


def record_run(
    *,
    config: RunConfig,
    model: VOSModel,
    videos: VideoDataset,
    report: EvaluationReport,
    weights: str,
    folder: Path,
    options: Mapping[str, Any] | None = None,
    final: FinalScores | None = None,
) -> RunRecord:
    """Write the run's record into its folder, and log it to Weights & Biases if `logger.name` is "wandb".

    Args:
        config: the configuration of the run.
        model: the evaluated model.
        videos: the data set.
        report: the report.
        weights: the weights as given.
        folder: the run's folder.
        options: keyword arguments of every call of `track`.
        final: the numbers of the data set's protocol, which then are the record's.
    """
    record = make_record(config, model, videos, report, weights, dict(options or {}), final)
    write_record(record, folder)
    if config.logger.name == "wandb":
        from vos_zoo.evaluation.wandb_runs import log_record

        log_record(record, folder, config.logger.project, config.logger.images)
    return record


def make_record(
    config: RunConfig,
    model: VOSModel,
    videos: VideoDataset,
    report: EvaluationReport,
    weights: str,
    options: Mapping[str, Any],
    final: FinalScores | None = None,
) -> RunRecord:
    """The record of a report; see `record_run`."""
    settings = model.track_settings(**options)
    content = report.to_json()
    result = Result(
        method=model.method,
        model=dict(model.hparams["model"]),
        weights=report.settings["tracker"]["weights"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        data=DataFacts(
            name=config.data.name,
            title=_title(videos, config.data.name, config.data.test_split),
            split=config.data.test_split,
            digest=report.data,
            videos=len(report.sequences),
            frames=content["frames"],
            objects=len(report.objects) if final is None else sum(map(len, final.sequences.values())),
        ),
        preset=str(options.get("preset") or model.hparams["track"].get("preset") or ""),
        track=asdict(settings),
        size=model.network.make_view(settings).working_size(sequence.size for sequence in report.sequences),
        precision=settings.precision,
        scores=scores_of(report) if final is None else final.scores,
        sequences=sequence_scores(report) if final is None else final.sequences,
        unscored=content["unscored"],
        failures=content["failures"],
    )
    environment = Environment(named_device(model), git_revision(), dict(report.settings["versions"]))
    stamp = datetime.now().astimezone().isoformat(timespec="seconds")
    return RunRecord(result, environment, run_facts(report, stamp, str(weights)))


def _title(videos: VideoDataset, name: str, split: str) -> str:
    """The data set's own name, with the split if that is not part of it."""
    own = str(getattr(videos, "name", "") or name)
    return own if split in own.split("-") else f"{own}-{split}"
