"""One evaluation by several processes: each runs its own videos, the first one merges the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vos_zoo.data.datasets.checking import Selection
from vos_zoo.evaluation import EvaluationReport, evaluate, write_report
from vos_zoo.processes import gather, processes
from vos_zoo.types import VideoDataset, VOSError

Part = tuple[EvaluationReport, dict[str, int]]
"""The report of one process, and the numbers of its videos by their names in the report."""


def evaluate_together(
    tracker: Any, videos: VideoDataset, *, output: str | Path | None = None, progress: bool = True, **options: Any
) -> EvaluationReport | None:
    """`evaluate` on all videos, shared by all processes of the run.

    Process r of R takes the videos r, r + R, ...; they write into one folder. With one process it is `evaluate`.

    Returns:
        In the first process the report of all videos, in the order of the data set, equal to that of a single process;
        None in the others.
    """
    size, rank = processes()
    if size == 1:
        return evaluate(tracker, videos, output=output, progress=progress, **options)
    part: Part | None = None
    numbers = range(rank, len(videos), size)
    if numbers:
        report = evaluate(
            tracker, Selection(videos, numbers), output=output, progress=progress and rank == 0, **options
        )
        part = report, {_name(videos, number, place): number for place, number in enumerate(numbers)}
    parts = gather(part)
    if parts is None:
        return None
    whole = _joined([found for found in parts if found is not None])
    if output is not None:
        write_report(whole, output)
    return whole


def _name(videos: VideoDataset, number: int, place: int) -> str:
    """A video's name in a report; a video that cannot be opened is named by its number."""
    try:
        return videos[number].name
    except (OSError, VOSError):
        return f"number {place}"


def _joined(parts: Sequence[Part]) -> EvaluationReport:
    """The merged report, in the order of the data set."""
    finished = {numbers[result.name]: result for report, numbers in parts for result in report.sequences}
    failures = {numbers[failure.sequence]: failure for report, numbers in parts for failure in report.failures}
    for number, failure in failures.items():
        if failure.sequence.startswith("number "):
            failures[number] = replace(failure, sequence=f"number {number}")
    first = parts[0][0]
    return replace(
        first,
        sequences=tuple(finished[number] for number in sorted(finished)),
        failures=tuple(failures[number] for number in sorted(failures)),
    )
