"""The report of an evaluation: scores per object, speed and memory per sequence; as table, JSON and CSV.

J and F are means over all objects of all sequences, J&F = (mean J + mean F) / 2.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.evaluation.protocols import PLAIN, Protocol
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.davis import DavisReport, SequenceScores
from vos_zoo.metrics.scoring import ObjectScores
from vos_zoo.metrics.youtube_vos import SEEN_CATEGORIES, YouTubeReport

_STATISTICS = ("J&F", "J", "F", "J-Recall", "J-Decay", "F-Recall", "F-Decay")


@dataclass(frozen=True)
class SequenceResult:
    """The result of one sequence.

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
        size: (height, width) of its frames in pixels.
        data: digest of the used frames, masks and lists; see `fingerprint.data_digest`.
        fingerprint: digest of everything that determines the result; only a result of equal fingerprint is reused.
        reused: whether it was read from an earlier run (times and memory are then that run's).
    """

    name: str
    frames: int
    tracked: int
    objects: tuple[ObjectScores, ...]
    note: str
    seconds: float
    tracking_seconds: float
    peak_memory: int
    memory_kind: str
    size: tuple[int, int]
    data: str
    fingerprint: str
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_json` reads it back."""
        content = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "reused"}
        return {**content, "size": list(self.size), "objects": [_object_to_json(one) for one in self.objects]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, reused: bool) -> SequenceResult:
        """The result that `to_json` wrote; raises KeyError or TypeError if it is not one."""
        values = dict(content)
        objects = tuple(_object_from_json(values["name"], one) for one in values.pop("objects"))
        height, width = values.pop("size")
        return cls(**values, size=(height, width), objects=objects, reused=reused)

    def scores(self) -> SequenceScores:
        """The scores in the metrics' form."""
        frames = sorted({name for score in self.objects for name in score.frames})
        return SequenceScores(self.name, tuple(frames), self.objects, {})


def _object_to_json(one: ObjectScores) -> dict[str, Any]:
    series = {"frames": list(one.frames), "j": one.J.tolist(), "f": one.F.tolist()}
    return {"id": one.object_id, "start": one.start, **series, "category": one.category}


def _object_from_json(sequence: str, content: Mapping[str, Any]) -> ObjectScores:
    """Raises KeyError or TypeError for anything but what `_object_to_json` wrote."""
    j, f = (np.array(content[name], dtype=np.float64) for name in ("j", "f"))
    about = {"start": content["start"], "category": content.get("category", "")}
    return ObjectScores(sequence, content["id"], tuple(content["frames"]), j, f, **about)


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
        settings: tracker, options and package versions of the results.
        protocol: which frames were scored, and which numbers are reported.
        notes: caveats for readers of the numbers.
    """

    sequences: tuple[SequenceResult, ...]
    failures: tuple[Failure, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Protocol = PLAIN
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[ObjectScores, ...]:
        """Scores of all objects of all scored sequences."""
        return tuple(score for sequence in self.sequences for score in sequence.objects)

    @property
    def j(self) -> float | None:
        """Mean J over all objects, None if nothing was scored."""
        return float(np.mean([score.region.mean for score in self.objects])) if self.objects else None

    @property
    def f(self) -> float | None:
        """Mean F over all objects, None if nothing was scored."""
        return float(np.mean([score.boundary.mean for score in self.objects])) if self.objects else None

    @property
    def jf(self) -> float | None:
        """J&F = (mean J + mean F) / 2, None if nothing was scored."""
        return (self.j + self.f) / 2 if self.j is not None and self.f is not None else None

    @property
    def davis(self) -> DavisReport:
        """The scored sequences as the DAVIS evaluation reports them."""
        return DavisReport(tuple(sequence.scores() for sequence in self.sequences if sequence.objects))

    @property
    def youtube_vos(self) -> YouTubeReport | None:
        """The scored objects as YouTube-VOS groups them; None if their categories are unknown."""
        categories = {(one.sequence, one.object_id): one.category for one in self.objects}
        if not categories or not all(categories.values()):
            return None
        return YouTubeReport(self.objects, categories, SEEN_CATEGORIES, "first_frame_excluded")

    @property
    def scores(self) -> dict[str, float | None]:
        """J, F and J&F, and the protocol's further numbers, 0..1; None, or left out, where nothing was scored."""
        scores: dict[str, float | None] = {"J": self.j, "F": self.f, "J&F": self.jf}
        if self.objects and self.protocol.numbers == "davis":
            seven = self.davis.scores
            scores |= {name: seven[name] for name in _STATISTICS if name in seven}
        if self.protocol.numbers == "youtube_vos" and self.youtube_vos is not None:
            scores |= self.youtube_vos.scores
        return scores

    @property
    def unscored(self) -> tuple[str, ...]:
        """Names of the sequences that ran but have no score."""
        return tuple(sequence.name for sequence in self.sequences if not sequence.objects)

    @property
    def data(self) -> str:
        """SHA-256 of the frames, masks and lists of all finished sequences."""
        return hashlib.sha256("".join(sorted(sequence.data for sequence in self.sequences)).encode()).hexdigest()

    @property
    def fps(self) -> float | None:
        """Frames per second with reading, writing and scoring, None if nothing ran."""
        return _rate(self.sequences, sum(sequence.seconds for sequence in self.sequences))

    @property
    def tracking_fps(self) -> float | None:
        """Frames per second of the tracker alone, None if nothing ran."""
        return _rate(self.sequences, sum(sequence.tracking_seconds for sequence in self.sequences))

    @property
    def peak_memory(self) -> int | None:
        """Peak bytes over all sequences (see `SequenceResult.memory_kind`), None if nothing ran."""
        return max((sequence.peak_memory for sequence in self.sequences), default=None)

    @property
    def exit_code(self) -> int:
        """0, or 1 if a sequence failed."""
        return 1 if self.failures else 0

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON-ready dictionary: means per object and sequence, not the values of single frames."""
        return {
            "protocol": self.protocol.name,
            "data": self.data,
            "scores": {**self.scores, "objects": len(self.objects)},
            "notes": list(self.notes),
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
            str(score.object_id): {
                **({"category": score.category} if score.category else {}),
                "start": score.start,
                "frames": len(score.frames),
                **object_statistics(score),
            }
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
    more = {name: value for name, value in report.scores.items() if name not in ("J", "F", "J&F") and value is not None}
    if more:
        lines.append(f"{report.protocol.name}: " + "  ".join(f"{name} {100 * v:.1f}" for name, v in more.items()))
    lines += [f"note: {note}" for note in report.notes]
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


def object_statistics(score: ObjectScores) -> dict[str, float]:
    """Mean, recall and decay of an object's J and F, and its J&F, by their DAVIS names."""
    j, f = score.region, score.boundary
    means = {"J&F": score.mean, "J": j.mean, "F": f.mean}
    return means | {"J-Recall": j.recall, "J-Decay": j.decay, "F-Recall": f.recall, "F-Decay": f.decay}


def object_rows(report: EvaluationReport) -> str:
    """The table per object as CSV text: sequence, id, category, number of scored frames, `object_statistics`."""
    rows: list[list[Any]] = [["sequence", "object", "category", "start", "frames", *_STATISTICS]]
    for sequence in report.sequences:
        for score in sequence.objects:
            values = object_statistics(score)
            numbers = [f"{values[name]:.6f}" for name in _STATISTICS]
            rows.append([sequence.name, score.object_id, score.category, score.start, len(score.frames), *numbers])
    return _csv(rows)


def sequence_rows(report: EvaluationReport) -> str:
    """The table per sequence as CSV text: scores, frames, speed, peak memory, and the reason of a missing score."""
    rows: list[list[Any]] = [
        ["sequence", "objects", "frames", "J&F", "J", "F", "fps", "tracking_fps", "peak_memory", "note"]
    ]
    for sequence in report.sequences:
        part = EvaluationReport((sequence,))
        scores = ["" if value is None else f"{value:.6f}" for value in (part.jf, part.j, part.f)]
        speeds = ["" if value is None else f"{value:.3f}" for value in (part.fps, part.tracking_fps)]
        rows.append(
            [
                sequence.name,
                len(sequence.objects),
                sequence.frames,
                *scores,
                *speeds,
                sequence.peak_memory,
                sequence.note,
            ]
        )
    return _csv(rows)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_report(report: EvaluationReport, folder: str | Path) -> None:
    """Write ``scores.json`` and the tables per object and per sequence into `folder`, atomically.

    For DAVIS protocols the official toolkit's two result files are written, too.
    """
    folder = Path(folder)
    write_text(folder / "scores.json", json.dumps(report.to_json(), indent=2) + "\n")
    write_text(folder / "objects.csv", object_rows(report))
    write_text(folder / "sequences.csv", sequence_rows(report))
    if report.objects and report.protocol.numbers == "davis":
        write_text(folder / "global_results.csv", report.davis.csv())
        write_text(folder / "per-sequence_results.csv", report.davis.objects_csv())
