"""The record of one evaluation: scores, environment and speed; versioned JSON, written atomically.

A record has three parts. `result` depends on the weights, the data and the settings alone: the same weights evaluated
twice give the same result, bit for bit. `environment` is where it was computed, `run` is what differs every time:
time, speed, memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vos_zoo.evaluation.report import EvaluationReport
from vos_zoo.files.atomic import write_text
from vos_zoo.types import VOSError

SCHEMA = 2
"""Version of the schema below; newer versions are refused. In version 1 the digest of the data covers the
given masks, but neither frames nor ground truth."""
RECORD_FILE = "record.json"


@dataclass(frozen=True)
class DataFacts:
    """The evaluated data.

    Attributes:
        name: name of the data set in the configuration.
        title: edition and split, e.g. "davis2017-val"; published rows use the same.
        split: name of the split.
        digest: SHA-256 of the used frames, masks and lists (`fingerprint.data_digest` of every video).
        videos: finished videos.
        frames: frames of these videos.
        objects: scored objects.
    """

    name: str
    title: str
    split: str
    digest: str
    videos: int
    frames: int
    objects: int


@dataclass(frozen=True)
class Result:
    """The result: a function of weights, data and settings.

    Attributes:
        method: the method's name.
        model: its hyper-parameters.
        weights: SHA-256 of the weights (names, types, shapes and values).
        parameters: number of them.
        data: the evaluated data.
        preset: named inference settings, "" for the model's own.
        track: all inference settings.
        size: shorter side in pixels of the network's input; None if videos differ.
        precision: number format of the convolutions.
        scores: name -> mean over the objects, 0..1, None if nothing could be scored.
        sequences: video -> object -> {"J": ..., "F": ..., "J&F": ...}, 0..1.
        unscored: video -> why it has no score.
        failures: video -> why it was not finished.
    """

    method: str
    model: Mapping[str, Any]
    weights: str
    parameters: int
    data: DataFacts
    preset: str
    track: Mapping[str, Any]
    size: int | None
    precision: str
    scores: Mapping[str, float | None]
    sequences: Mapping[str, Mapping[str, Mapping[str, float]]]
    unscored: Mapping[str, str]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Environment:
    """The environment: the device, the source's git revision (see `git_revision`), versions by package."""

    device: str
    git: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class RunFacts:
    """Facts that differ every time.

    Attributes:
        time: when the run ended, ISO 8601 with the time zone.
        source: the weights as named on the command line.
        seconds: wall time of all videos, with reading, tracking, writing and scoring.
        fps: frames per second over `seconds`.
        tracking_fps: frames per second inside the tracker alone.
        peak_memory: in bytes.
        memory_kind: "cuda" (allocated on the GPU) or "process" (resident memory of the whole process).
        reused: videos finished by an earlier run into the same folder (their times are that run's).
    """

    time: str
    source: str
    seconds: float
    fps: float | None
    tracking_fps: float | None
    peak_memory: int | None
    memory_kind: str
    reused: int


@dataclass(frozen=True)
class RunRecord:
    """A run of `vos-zoo test`.

    Attributes:
        result: the result.
        environment: the environment.
        run: facts that differ every time.
        schema: version of the schema it was written in.
    """

    result: Result
    environment: Environment
    run: RunFacts
    schema: int = SCHEMA

    @property
    def digest(self) -> str:
        """SHA-256 of the result: runs with equal digests are the same run."""
        return hashlib.sha256(json.dumps(asdict(self.result), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_json` reads back."""
        content = asdict(self)
        return {"schema": content.pop("schema"), "digest": self.digest, **json.loads(json.dumps(content))}

    @classmethod
    def from_json(cls, content: Any, source: str = "record") -> RunRecord:
        """The record that `to_json` made.

        Args:
            content: the parsed JSON.
            source: where it comes from, for the message.

        Raises:
            VOSError: it is of a newer schema, incomplete, not a record, or its result was edited.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("schema"), int):
            raise VOSError(f"{source}: not a run record (it names no schema)")
        if content["schema"] > SCHEMA:
            raise VOSError(f"{source}: a record of schema {content['schema']}, this version reads {SCHEMA}; update")
        try:
            result = dict(content["result"])
            result["data"] = DataFacts(**result["data"])
            where, clock = Environment(**content["environment"]), RunFacts(**content["run"])
            record = cls(Result(**result), where, clock, content["schema"])
        except (KeyError, TypeError, ValueError) as error:
            raise VOSError(f"{source}: not a complete run record ({error}); run vos-zoo test again") from error
        if record.digest != content.get("digest"):
            raise VOSError(f"{source}: the result does not fit its digest, so it was edited; run vos-zoo test again")
        return record


def scores_of(report: EvaluationReport) -> dict[str, float | None]:
    """The means of a report by name, without the number of objects."""
    scores = report.to_json()["scores"]
    return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}


def sequence_scores(report: EvaluationReport) -> dict[str, dict[str, dict[str, float]]]:
    """Video -> object -> J, F, J&F, 0..1; a video without a score has no objects."""
    return {
        sequence.name: {
            str(one.object_id): {"J": one.region.mean, "F": one.boundary.mean, "J&F": one.mean}
            for one in sequence.objects
        }
        for sequence in report.sequences
    }


def run_facts(report: EvaluationReport, time: str, source: str) -> RunFacts:
    """Speed and memory of a report."""
    return RunFacts(
        time=time,
        source=source,
        seconds=sum(sequence.seconds for sequence in report.sequences),
        fps=report.fps,
        tracking_fps=report.tracking_fps,
        peak_memory=report.peak_memory,
        memory_kind="+".join(sorted({sequence.memory_kind for sequence in report.sequences})),
        reused=sum(sequence.reused for sequence in report.sequences),
    )


def write_record(record: RunRecord, folder: str | Path) -> Path:
    """Write ``record.json`` into `folder` atomically."""
    path = Path(folder) / RECORD_FILE
    write_text(path, json.dumps(record.to_json(), indent=2) + "\n")
    return path


def read_record(path: str | Path) -> RunRecord:
    """Read a record.

    Raises:
        VOSError: the file cannot be read, or is not a record.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VOSError(f"{path}: cannot be read as a run record ({error})") from error
    return RunRecord.from_json(content, str(path))


def find_records(folders: Iterable[str | Path]) -> Iterator[Path]:
    """The record files in `folders` and below, sorted, without duplicates."""
    found = {path.resolve(): path for folder in folders for path in sorted(Path(folder).rglob(RECORD_FILE))}
    yield from (found[key] for key in sorted(found))
