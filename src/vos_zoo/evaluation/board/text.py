"""The board for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from vos_zoo.evaluation.board.published import COST_FACTS, COST_TITLE, CostRow
from vos_zoo.evaluation.board.table import Board, Group, Row

_COST_HEADER = ["method", "network", "1 object", "5 objects", "GFLOP, 1 object", "GFLOP, 5 objects"]


def format_text(board: Board) -> str:
    """The board as text tables. Scores in percent, memory in MiB, parameters in millions."""
    parts = []
    for group in board.groups:
        lines = _text_table(group.heading, [header_cells(group), *(cells(group, row) for row in group.rows)])
        parts.append("\n".join([*lines, *(f"! {warning}" for warning in group.warnings)]))
    if board.costs:
        heading = " · ".join((COST_TITLE, *COST_FACTS))
        parts.append("\n".join(_text_table(heading, [_COST_HEADER, *map(_cost_cells, board.costs)])))
    if any(row.published for group in board.groups for row in group.rows):
        parts.append("* published, not measured here; their speeds are of the devices that the sources name")
    if any(row.scored for group in board.groups for row in group.rows):
        parts.append("+ masks made elsewhere, scored here")
    if board.warnings:
        parts.append("\n".join(f"! {warning}" for warning in board.warnings))
    return "\n\n".join(parts)


def _text_table(heading: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first row is the header."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    header, *body = (_line(row, widths) for row in rows)
    return [heading, header, "-" * len(header), *body]


def _cost_cells(row: CostRow) -> list[str]:
    numbers = [_number(value, 2) for value in (row.one, row.five)]
    return [row.method, row.model, *numbers, *(_number(value, 0) for value in (row.gflop_one, row.gflop_five))]


def header_cells(group: Group) -> list[str]:
    """Column names."""
    return ["method", "model", *group.scores, "fps", "memory", "params", "runs"]


def cells(group: Group, row: Row) -> list[str]:
    """A row's cells; published rows have an asterisk and no number of runs, scored masks a plus."""
    scores = [_number(row.scores.get(name), 1) for name in group.scores]
    memory = None if row.memory is None else row.memory / 2**20
    parameters = None if row.parameters is None else row.parameters / 1e6
    counts = [_number(row.fps, 1), _number(memory, 0), _number(parameters, 1), "-" if row.published else str(row.runs)]
    mark = " *" if row.published else " +" if row.scored else ""
    return [f"{row.method}{mark}", row.model, *scores, *counts]


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Names aligned left, numbers right."""
    padded = [
        text.ljust(width) if column < 2 else text.rjust(width)
        for column, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def format_markdown(board: Board) -> str:
    """The board as Markdown: a section per group; published rows in italics, with their source."""
    parts = ["# Leaderboard"]
    parts += [f"> {_escape(warning)}" for warning in board.warnings]
    for group in board.groups:
        header = [*header_cells(group), "date", "source"]
        rule = ["---", "---", *["---:"] * (len(header) - 4), "---", "---"]
        lines = [_table_line(header), _table_line(rule), *(_markdown_row(group, row) for row in group.rows)]
        parts += [f"## {_escape(group.heading)}", *(f"> {_escape(w)}" for w in group.warnings), "\n".join(lines)]
    if board.costs:
        rule = ["---", "---", *["---:"] * (len(_COST_HEADER) - 2)]
        rows = [_COST_HEADER, rule, *([_escape(cell) for cell in _cost_cells(row)] for row in board.costs)]
        parts += [f"## {COST_TITLE}", f"{', '.join(COST_FACTS)}.", "\n".join(map(_table_line, rows))]
    if any(row.published for group in board.groups for row in group.rows):
        parts.append("Rows in italics are published: reported by the source they name, not measured here.")
    if any(row.scored for group in board.groups for row in group.rows):
        parts.append("Rows marked (masks) are of masks that were made elsewhere and scored here.")
    return "\n\n".join(parts) + "\n"


def _markdown_row(group: Group, row: Row) -> str:
    source = f"[{_escape(row.source)}]({row.url})" if row.url else _escape(row.source)
    source += f" ({_escape(row.note)})" if row.note else ""
    if not row.published:
        name, *others = cells(group, row)
        name = f"{name.removesuffix(' +')} (masks)" if row.scored else name
        return _table_line([*map(_escape, (name, *others)), row.date, source])
    name, *others = cells(group, row)
    texts = [f"{name.removesuffix(' *')} (published)", *others]
    return _table_line([*(text if text == "-" else f"*{_escape(text)}*" for text in texts), row.date, source])


def _table_line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escape(text: str) -> str:
    """Text escaped for Markdown tables."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def format_csv(board: Board) -> str:
    """The board as one CSV table, a line per row with all facts of its group; percent, bytes, numbers."""
    names = list(dict.fromkeys(name for group in board.groups for name in group.scores))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    facts = ("size", "precision", "device", "date", "source", "url", "note")
    counts = ("fps", "memory", "parameters", "runs")
    table.writerow(["group", "data", "digest", "published", "method", "model", *names, *counts, *facts])
    for number, group in enumerate(board.groups, 1):
        for row in group.rows:
            scores = [_exact(row.scores.get(name)) for name in names]
            runs = "" if row.published else str(row.runs)
            cost = [_exact(row.fps), _plain(row.memory), _plain(row.parameters), runs]
            rest = [_plain(row.size), row.precision, row.device, row.date, row.source, row.url, row.note]
            whose = "yes" if row.published else "masks" if row.scored else "no"
            table.writerow([number, group.title, group.data, whose, row.method, row.model, *scores, *cost, *rest])
    return text.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _plain(value: int | None) -> str:
    return "" if value is None else str(value)
