"""The confidence of a tracked video as a table (CSV) and as a strip chart (PNG)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from vos_zoo.files.atomic import write_text
from vos_zoo.files.outputs import report_paths
from vos_zoo.types import FrameResult, UsageError
from vos_zoo.video.panels import write_picture
from vos_zoo.video.strip_chart import Strip, strip_chart

_RECENT = 16 * 254
"""Rows among which a frame's are: overlays are drawn a few frames behind, with at most 254 objects each."""


@dataclass(frozen=True)
class ConfidenceRow:
    """The confidence of one object in one frame; see `vos_zoo.types.Confidence`.

    Attributes:
        index: number of the frame.
        frame: its name.
        object: id of the object.
        expected_iou, inside, border: 0..1.
        evidence: the method's; NaN: none.
        lost, reappeared: flags.
    """

    index: int
    frame: str
    object: int
    expected_iou: float
    inside: float
    border: float
    evidence: float
    lost: bool
    reappeared: bool


class ConfidenceReport:
    """Collects the confidence of results, frame by frame.

    Attributes:
        rows: by frame, then by object.
    """

    def __init__(self) -> None:
        self.rows: list[ConfidenceRow] = []

    def add(self, name: str, result: FrameResult) -> None:
        """Add the result of the frame `name`; trackers without confidence add nothing."""
        found = result.confidence
        if found is None:
            return
        numbers = [f.name for f in fields(ConfidenceRow)[3:]]
        columns = [getattr(found, number).tolist() for number in numbers]
        for identity, *values in zip(result.ids, *columns, strict=True):
            self.rows.append(ConfidenceRow(result.index, name, identity, *values))

    def caption(self, index: int) -> str:
        """A frame in words, as "1: 0.93   2: lost"; empty for a frame without rows."""
        found = takewhile(lambda row: row.index >= index, reversed(self.rows))
        words = [
            f"{row.object}: {'lost' if row.lost else f'{row.expected_iou:.2f}'}" for row in found if row.index == index
        ]
        return "   ".join(reversed(words))

    def write(self, output: str | Path) -> tuple[Path, Path]:
        """Write table and chart next to an output, atomically; returns their paths."""
        table, chart = report_paths(output)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([f.name for f in fields(ConfidenceRow)])
        writer.writerows([_cell(getattr(row, f.name)) for f in fields(row)] for row in self.rows)
        write_text(table, text.getvalue())
        write_picture(chart, strip_chart(strips(self.rows)))
        return table, chart


def strips(rows: Sequence[ConfidenceRow]) -> list[Strip]:
    """The rows of each object in order of its id, for the chart."""
    found: dict[int, Strip] = {}
    for row in sorted(rows, key=lambda row: (row.object, row.index)):
        strip = found.setdefault(row.object, Strip(row.object, [], [], [], []))
        strip.frames.append(row.index)
        strip.values.append(row.expected_iou)
        strip.lost.append(row.lost)
        strip.reappeared.append(row.reappeared)
    return list(found.values())


def read_report(path: Path) -> list[ConfidenceRow]:
    """The rows of a table that `ConfidenceReport.write` wrote.

    Raises:
        UsageError: there is no such file, or it is another table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(record) for record in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: is not a report of confidence ({error!r}); write one by track --report") from error


def _row(record: dict[str, Any]) -> ConfidenceRow:
    flags = {"0": False, "1": True}
    expected, inside, border, evidence = (
        float(record[name] or "nan") for name in ("expected_iou", "inside", "border", "evidence")
    )
    lost, reappeared = (flags[record[name]] for name in ("lost", "reappeared"))
    index, identity = int(record["index"]), int(record["object"])
    return ConfidenceRow(index, record["frame"], identity, expected, inside, border, evidence, lost, reappeared)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return value
