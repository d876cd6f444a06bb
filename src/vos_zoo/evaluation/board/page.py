"""The board as one self-contained HTML file, without network or library; sortable, filterable, with plots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from vos_zoo.evaluation.board.plot import draw_plots
from vos_zoo.evaluation.board.published import COST_FACTS, COST_TITLE, CostRow
from vos_zoo.evaluation.board.table import Board, Group, Row

COLOURS = 8
"""Number of method colours in the style sheet; further methods share them in turn."""
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


@cache
def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def format_page(board: Board, title: str = "vos-zoo leaderboard") -> str:
    """The page. All text from records or files is escaped; the page may not load anything."""
    costs = {row.method for row in board.costs}
    methods = sorted({row.method for group in board.groups for row in group.rows} | costs)
    colours = {method: number % COLOURS for number, method in enumerate(methods)}
    sections = "\n".join(_section(number, group, colours) for number, group in enumerate(board.groups))
    warnings = "\n".join(f'<p class="warn">{escape(text)}</p>' for text in board.warnings)
    chips = "\n".join(
        f'<label class="c{colours[method]}"><input type="checkbox" name="method" value="{escape(method)}" checked>'
        f'<span class="dot"></span>{escape(method)}</label>'
        for method in methods
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
{_part("page.css")}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">Runs are in one table only if frames, masks, size, number format and device are the same.
Rows in grey italics are published: reported by the source they name, not measured here. Rows tagged masks are of
masks that were made elsewhere and scored here.</p>
<div class="bar">
<input type="search" id="search" placeholder="Filter rows" aria-label="Filter rows">
{chips}
<label><input type="checkbox" id="theirs" checked>published rows</label>
<span class="count" id="count"></span>
</div>
{warnings}
{sections}
{_costs(board.costs) if board.costs else ""}
<footer>Scores in percent, memory in MiB at the highest point, parameters in millions, speed in frames per second of the
tracker alone (published: as reported, on the device that is named); speeds of different devices are in plots of their
own. "Runs" counts runs with exactly this result.</footer>
</main>
<script>
{_part("page.js")}</script>
</body>
</html>
"""


def _section(number: int, group: Group, colours: dict[str, int]) -> str:
    rows = [(f"r{number}-{line}", row) for line, row in enumerate(group.rows)]
    scores = group.scores
    head = [_head("method"), _head("model"), *(_head(name, True, name == scores[0]) for name in scores)]
    head += [_head(name, True) for name in ("fps", "memory", "params", "runs")] + [_head("source")]
    body = "\n".join(_row(identity, row, scores) for identity, row in rows)
    warnings = "\n".join(f'<p class="warn">{escape(text)}</p>' for text in group.warnings)
    plots = draw_plots(rows, scores[0], colours) if scores else ""
    return _titled_table(group.title, group.facts, head, body, f"{warnings}\n{plots}\n")


def _costs(rows: tuple[CostRow, ...]) -> str:
    """The table of costs: a section of its own, since it has no scores."""
    head = [_head("method"), _head("network"), _head("1 object", True), _head("5 objects", True)]
    head += [_head("GFLOP, 1 object", True), _head("GFLOP, 5 objects", True)]
    body = "\n".join(
        f'<tr class="ours" data-method="{escape(row.method)}"><td class="name">{escape(row.method)}</td>'
        f'<td class="model">{escape(row.model)}</td>{_number(row.one, 2)}{_number(row.five, 2)}'
        f"{_number(row.gflop_one, 0)}{_number(row.gflop_five, 0)}</tr>"
        for row in rows
    )
    return _titled_table(COST_TITLE, COST_FACTS, head, body)


def _titled_table(title: str, facts: Sequence[str], head: Sequence[str], body: str, above: str = "") -> str:
    """A section with a table that the filter applies to; `above` stands between its facts and the table."""
    return f"""<section>
<h2>{escape(title)}</h2>
<p class="facts">{escape(" · ".join(facts))}</p>
{above}<div class="scroll"><table>
<thead><tr>{"".join(head)}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
<p class="none facts" hidden>No row passes the filter.</p>
</section>"""


def _head(name: str, number: bool = False, ranks: bool = False) -> str:
    kind = ' class="n"' if number else ""
    order = "descending" if ranks else "none"
    return f'<th scope="col"{kind} aria-sort="{order}"><button type="button">{escape(name)}</button></th>'


def _row(identity: str, row: Row, scores: tuple[str, ...]) -> str:
    kind = "published" if row.published else "masks" if row.scored else ""
    tag = f'<span class="tag">{kind}</span>' if kind else ""
    cells = [f'<td class="name">{escape(row.method)}{tag}</td>', f'<td class="model">{escape(row.model)}</td>']
    cells += [_number(row.scores.get(name), 1, "rank" if name == scores[0] else "") for name in scores]
    cells.append(_number(row.fps, 1))
    cells.append(_number(None if row.memory is None else row.memory / 2**20, 0))
    cells.append(_number(None if row.parameters is None else row.parameters / 1e6, 1))
    cells.append(_number(None if row.published else row.runs, 0))
    cells.append(f'<td class="from">{_source(row)}</td>')
    whose = "theirs" if row.published else "ours"
    return f'<tr id="{identity}" class="{whose}" data-method="{escape(row.method)}">{"".join(cells)}</tr>'


def _number(value: float | None, decimals: int, kind: str = "") -> str:
    """A cell with its exact value as sort key; an empty key goes last."""
    name = f"n {kind}".strip()
    if value is None:
        return f'<td class="{name}" data-sort="">–</td>'
    return f'<td class="{name}" data-sort="{value!r}">{value:.{decimals}f}</td>'


def _source(row: Row) -> str:
    linked = row.url.startswith("https://")
    text = f'<a href="{escape(row.url)}" rel="noreferrer">{escape(row.source)}</a>' if linked else escape(row.source)
    more = "; ".join(part for part in (row.date, row.note) if part)
    return text + (f"<br>{escape(more)}" if more else "")
