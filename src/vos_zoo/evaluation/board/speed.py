"""The board's tables of speed: one per size of the frames, number format and device."""

from __future__ import annotations

from collections.abc import Iterable

from vos_zoo.evaluation.board.table import Group, Row
from vos_zoo.evaluation.speed import SpeedRow
from vos_zoo.evaluation.speed_record import SpeedRecord


def speed_groups(records: Iterable[SpeedRecord]) -> list[Group]:
    """A table per setting, fastest first for each number of objects; of equal measurements the newest counts."""
    tables: dict[tuple[str, ...], dict[tuple[str, int], tuple[SpeedRecord, SpeedRow, int]]] = {}
    for record in sorted(records, key=lambda record: record.time):
        title = f"speed on {record.width} x {record.height} frames"
        table = tables.setdefault((title, record.device, f"{record.threads} threads", record.precision), {})
        for row in record.rows:
            key = (record.weights, row.objects)
            runs = table[key][2] if key in table else 0
            table[key] = (record, row, runs + 1)
    groups = []
    for (title, *facts), table in sorted(tables.items()):
        ranked = sorted(table.values(), key=lambda entry: (entry[1].objects, -entry[1].fps))
        groups.append(Group(title, tuple(facts), tuple(_row(*entry) for entry in ranked)))
    return groups


def _row(record: SpeedRecord, row: SpeedRow, runs: int) -> Row:
    count = f"{row.objects} object{'s' if row.objects > 1 else ''}"
    return Row(
        published=False,
        method=record.method,
        model=f"{record.source}, {count}",
        scores={},
        fps=row.fps,
        memory=row.peak_memory,
        parameters=record.parameters,
        runs=runs,
        size=record.height,
        precision=record.precision,
        device=record.device,
        source=f"weights {record.weights[:12]}",
        note=f"{row.frames} frames behind {row.warm_up}; memory of the "
        + ("GPU" if row.memory_kind == "cuda" else "whole process"),
    )
