"""What an evaluation found: scores per object, speed and memory per sequence; as table, JSON and CSV.

Scores follow the DAVIS convention: the mean over all objects of all sequences, J&F = (mean J + mean F) / 2.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_STATISTICS = ("J&F", "J", "F", "J-Recall", "J-Decay", "F-Recall", "F-Decay")


@dataclass(frozen=True)
class ObjectResult:
    """J and F of one object in every scored frame.

    Attributes:
        id: the object's id.
        start: name of the frame in which its mask was given (that frame is not scored).
        frames: names of the scored frames.
        j: region similarity per scored frame, 0..1.
        f: boundary accuracy per scored frame, 0..1.
    """

    id: int
    start: str
    frames: tuple[str, ...]
    j: tuple[float, ...]
    f: tuple[float, ...]

    @property
    def mean_j(self) -> float:
        """Mean J over the scored frames."""
        return float(np.mean(self.j))

    @property
    def mean_f(self) -> float:
        """Mean F over the scored frames."""
        return float(np.mean(self.f))

    @property
    def mean_jf(self) -> float:
        """(mean J + mean F) / 2."""
        return (self.mean_j + self.mean_f) / 2


@dataclass(frozen=True)
class SequenceResult:
    """What happened on one sequence.

    Attributes:
        name: the sequence.
        frames: number of its frames.
        tracked: number of frames tracked (frames before the first given mask are not).
        objects: scores per object; empty if the sequence could not be scored.
        note: why it was not scored; empty if it was.
        seconds: wall time with reading, tracking, writing and scoring.
        tracking_seconds: wall time inside the tracker alone.
        peak_memory: bytes at the highest point.
        memory_kind: "cuda" (allocated by the tracker on the GPU) or "process" (resident memory of the whole process).
        fingerprint: digest of all that decides the result; only a result of equal fingerprint is reused.
        reused: whether it was found finished on disk (times and memory are then those of the earlier run).
    """

    name: str
    frames: int
    tracked: int
    objects: tuple[ObjectResult, ...]
    note: str
    seconds: float
    tracking_seconds: float
    peak_memory: int
    memory_kind: str
    fingerprint: str
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_json` reads it back."""
        content = asdict(self)
        del content["reused"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, reused: bool) -> SequenceResult:
        """The result `to_json` wrote; raises KeyError or TypeError if it is none."""
        fields = dict(content)
        objects = tuple(
            ObjectResult(score["id"], score["start"], tuple(score["frames"]), tuple(score["j"]), tuple(score["f"]))
            for score in fields.pop("objects")
        )
        return cls(**fields, objects=objects, reused=reused)


@dataclass(frozen=True)
class Failure:
    """A sequence that could not be finished, and the one-line reason."""

    sequence: str
    message: str


@dataclass(frozen=True)
class EvaluationReport:
    """All results of an evaluation.

    Attributes:
        sequences: finished sequences in the order of the data set.
        failures: the others.
        settings: tracker, options and package versions the results were made with.
    """

    sequences: tuple[SequenceResult, ...]
    failures: tuple[Failure, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def objects(self) -> tuple[ObjectResult, ...]:
        """Scores of all objects of all scored sequences."""
        return tuple(score for sequence in self.sequences for score in sequence.objects)

    @property
    def j(self) -> float | None:
        """Mean J over all objects, None where nothing was scored."""
        return float(np.mean([score.mean_j for score in self.objects])) if self.objects else None

    @property
    def f(self) -> float | None:
        """Mean F over all objects, None where nothing was scored."""
        return float(np.mean([score.mean_f for score in self.objects])) if self.objects else None

    @property
    def jf(self) -> float | None:
        """J&F = (mean J + mean F) / 2, None where nothing was scored."""
        return (self.j + self.f) / 2 if self.j is not None and self.f is not None else None

    @property
    def unscored(self) -> tuple[str, ...]:
        """Names of the sequences that ran but have no score."""
        return tuple(sequence.name for sequence in self.sequences if not sequence.objects)

    @property
    def fps(self) -> float | None:
        """Frames per second with reading, writing and scoring, None where nothing ran."""
        return _rate(self.sequences, sum(sequence.seconds for sequence in self.sequences))

    @property
    def tracking_fps(self) -> float | None:
        """Frames per second of the tracker alone, None where nothing ran."""
        return _rate(self.sequences, sum(sequence.tracking_seconds for sequence in self.sequences))

    @property
    def peak_memory(self) -> int | None:
        """Bytes at the highest point of all sequences (see `SequenceResult.memory_kind`), None where nothing ran."""
        return max((sequence.peak_memory for sequence in self.sequences), default=None)

    @property
    def exit_code(self) -> int:
        """0, or 1 if a sequence failed."""
        return 1 if self.failures else 0

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON-ready dictionary: means per object and sequence, not the values of single frames."""
        return {
            "scores": {"J": self.j, "F": self.f, "J&F": self.jf, "objects": len(self.objects)},
            "speed": {"fps": self.fps, "tracking_fps": self.tracking_fps},
            "peak_memory": {
                "bytes": self.peak_memory,
                "kinds": sorted({sequence.memory_kind for sequence in self.sequences}),
            },
            "frames": sum(sequence.frames for sequence in self.sequences),
            "unscored": {sequence.name: sequence.note for sequence in self.sequences if not sequence.objects},
            "failures": {failure.sequence: failure.message for failure in self.failures},
            "sequences": {sequence.name: _sequence_summary(sequence) for sequence in self.sequences},
            "settings": dict(self.settings),
        }


def _rate(sequences: Sequence[SequenceResult], seconds: float) -> float | None:
    return sum(sequence.tracked for sequence in sequences) / seconds if seconds > 0 else None


def _sequence_summary(sequence: SequenceResult) -> dict[str, Any]:
    return {
        "frames": sequence.frames,
        "objects": {
            str(score.id): {"start": score.start, "frames": len(score.frames), **object_statistics(score)}
            for score in sequence.objects
        },
        "fps": _rate([sequence], sequence.seconds),
        "tracking_fps": _rate([sequence], sequence.tracking_seconds),
        "peak_memory": sequence.peak_memory,
    }


def format_table(report: EvaluationReport) -> str:
    """The report as a text table for the terminal: a line per sequence, the means, what was not scored or failed.

    Scores are in percent, memory in MiB, speed in frames per second.
    """
    width = max([len("sequence"), len("all"), *(len(sequence.name) for sequence in report.sequences)])
    header = f"{'sequence':<{width}}  objects  frames     J     F   J&F     fps  tracking  memory"
    lines = [header, "-" * len(header)]
    for sequence in report.sequences:
        part = EvaluationReport((sequence,))
        lines.append(_line(sequence.name, part, width) + ("  (from an earlier run)" if sequence.reused else ""))
    if len(report.sequences) > 1:
        lines += ["-" * len(header), _line("all", report, width)]
    notes: dict[str, list[str]] = {}
    for sequence in report.sequences:
        if not sequence.objects:
            notes.setdefault(sequence.note, []).append(sequence.name)
    lines += [f"not scored ({note}): {', '.join(names)}" for note, names in notes.items()]
    lines += [f"failed: {failure.sequence}: {failure.message}" for failure in report.failures]
    return "\n".join(lines)


def _line(name: str, part: EvaluationReport, width: int) -> str:
    scores = "".join(_number(None if value is None else 100 * value, 6, 1) for value in (part.j, part.f, part.jf))
    memory = None if part.peak_memory is None else part.peak_memory / 2**20
    frames = sum(sequence.frames for sequence in part.sequences)
    return (
        f"{name:<{width}}  {len(part.objects):>7}  {frames:>6}{scores}  "
        f"{_number(part.fps, 6, 1)}  {_number(part.tracking_fps, 8, 1)}  {_number(memory, 6, 0)}"
    )


def _number(value: float | None, width: int, decimals: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{decimals}f}"


def object_statistics(score: ObjectResult) -> dict[str, float]:
    """Mean, recall and decay of an object's J and F, and its J&F, by their DAVIS names."""
    from vos_zoo.metrics.statistics import summarise

    j, f = summarise(score.j), summarise(score.f)
    means = {"J&F": score.mean_jf, "J": j.mean, "F": f.mean}
    return means | {"J-Recall": j.recall, "J-Decay": j.decay, "F-Recall": f.recall, "F-Decay": f.decay}


def object_rows(report: EvaluationReport) -> str:
    """The per-object table as CSV text: sequence, object, start frame, number of scored frames, `object_statistics`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["sequence", "object", "start", "frames", *_STATISTICS])
    for sequence in report.sequences:
        for score in sequence.objects:
            values = object_statistics(score)
            row = (f"{values[name]:.6f}" for name in _STATISTICS)
            table.writerow([sequence.name, score.id, score.start, len(score.frames), *row])
    return text.getvalue()


def write_report(report: EvaluationReport, folder: str | Path) -> None:
    """Write ``scores.json`` and ``objects.csv`` into `folder`, each complete or not at all."""
    folder = Path(folder)
    write_text(folder / "scores.json", json.dumps(report.to_json(), indent=2) + "\n")
    write_text(folder / "objects.csv", object_rows(report))


def write_text(path: Path, text: str) -> None:
    """Write a text file by way of a temporary one, so that nobody ever sees half of it; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
