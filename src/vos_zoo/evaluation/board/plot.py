"""Accuracy against speed, parameters and cost as inline SVG: measured rows as discs, published ones as diamonds.

Speeds of different devices are never in one plot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from vos_zoo.evaluation.board.table import Row

_WIDTH, _HEIGHT = 640, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 120, 34, 46
_NARROW = 0.6  # decades
_LINE, _LETTER = 14, 7  # pixels per line of text, and approximately per letter

Rows = Sequence[tuple[str, Row]]
"""Identifier in the page, and row."""


@dataclass(frozen=True)
class Chart:
    """A quantity that accuracy is plotted against.

    Attributes:
        title: heading of the plot.
        axis: name of the horizontal axis.
        unit: what follows a value.
        value: a row's value, or None.
    """

    title: str
    axis: str
    unit: str
    value: Callable[[Row], float | None]


def _parameters(row: Row) -> float | None:
    return None if row.parameters is None else row.parameters / 1e6


PARAMETERS = Chart("parameters", "parameters in millions", "M parameters", _parameters)
COST = Chart(
    "cost on one CPU core, measured here",
    "ResNet-50 forward passes per frame, one object",
    "passes of a ResNet-50 per frame",
    lambda row: row.cost,
)


def speed_on(device: str) -> Chart:
    """Speed on one device."""
    return Chart(
        f"speed on {device or 'a device that is not named'}",
        "frames per second",
        "fps",
        lambda row: row.fps if row.device == device else None,
    )


def charts_of(rows: Sequence[Row], score: str) -> list[Chart]:
    """The charts that at least two rows can be in: speed per device, most rows first; parameters; cost."""
    devices = dict.fromkeys(row.device for row in rows if row.fps)
    speeds = sorted(map(speed_on, devices), key=lambda chart: -len(_points_in(rows, score, chart)))
    return [chart for chart in (*speeds, PARAMETERS, COST) if len(_points_in(rows, score, chart)) > 1]


def _points_in(rows: Sequence[Row], score: str, chart: Chart) -> list[Row]:
    return [row for row in rows if chart.value(row) and score in row.scores]


@dataclass(frozen=True)
class _Scale:
    """A mapping of values to pixels; `ticks` are the values of the grid lines."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def draw_plots(rows: Rows, score: str, colours: Mapping[str, int]) -> str:
    """All plots that the rows allow; an empty string if there is none."""
    charts = charts_of([row for _, row in rows], score)
    plots = "\n".join(draw_plot(rows, score, colours, chart) for chart in charts)
    return f'<div class="plots">\n{plots}\n</div>' if plots else ""


def draw_plot(rows: Rows, score: str, colours: Mapping[str, int], chart: Chart) -> str:
    """One plot, or an empty string if fewer than two rows have both a score and a value.

    Args:
        rows: row identifier in the page, and row.
        score: name of the score on the vertical axis, in percent.
        colours: number of each method's colour.
        chart: what is on the horizontal axis.
    """
    points = [(identity, row, float(chart.value(row) or 0)) for identity, row in rows if chart.value(row)]
    points = [point for point in points if score in point[1].scores]
    if len(points) < 2:
        return ""
    x = _log_scale([value for _, _, value in points])
    y = _linear_scale([row.scores[score] for _, row, _ in points])
    parts = [*_axes(x, y, score, chart), *_points(points, score, x, y, colours, chart)]
    title = escape(f"{score} in percent against {chart.title}", quote=True)
    body = "\n".join(parts)
    return f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">\n{body}\n</svg>'


def _log_scale(values: Sequence[float]) -> _Scale:
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
    steps = [m * 10**e for e in range(math.floor(low) - 1, math.ceil(high) + 1) for m in (1, 1.5, 2, 3, 5, 7)]
    if high - low < _NARROW:  # values close to each other: evenly spaced numbers
        step = _step(10**high - 10**low)
        steps = [step * number for number in range(math.ceil(10**low / step), math.floor(10**high / step) + 1)]
    ticks = tuple(math.log10(step) for step in steps if low <= math.log10(step) <= high)
    return _Scale(low, high, _LEFT, _WIDTH - _RIGHT, ticks)


def _step(span: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts a span into at most seven parts."""
    ten = 10.0 ** math.floor(math.log10(span / 7))
    return next(part * ten for part in (1, 2, 5, 10) if span / (part * ten) <= 7)


def _linear_scale(values: Sequence[float]) -> _Scale:
    span = max(max(values) - min(values), 1.0)
    low, high = min(values) - 0.15 * span, max(values) + 0.15 * span
    step = _step(high - low)
    ticks = tuple(step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1))
    return _Scale(low, high, _HEIGHT - _BOTTOM, _TOP, ticks)


def _axes(x: _Scale, y: _Scale, score: str, chart: Chart) -> list[str]:
    parts = [f'<text class="title" x="{_LEFT - 8}" y="14">{escape(score)} against {escape(chart.title)}</text>']
    for tick in x.ticks:
        at = f"{x(tick):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{y.stop:.0f}" y2="{y.start:.0f}"/>')
        parts.append(f'<text x="{at}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{10**tick:.3g}</text>')
    for tick in y.ticks:
        at = f"{y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{x.start:.0f}" x2="{x.stop:.0f}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at}" dy="4" text-anchor="end">{tick:g}</text>')
    middle = (x.start + x.stop) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(chart.axis)}</text>')
    return parts


def _points(
    points: Sequence[tuple[str, Row, float]],
    score: str,
    x: _Scale,
    y: _Scale,
    colours: Mapping[str, int],
    chart: Chart,
) -> list[str]:
    """Marks with their names, where these overlap no mark and no other name."""
    parts = []
    marks = [(x(math.log10(value)), y(row.scores[score])) for _, row, value in points]
    taken = [(left - 8, left + 8, top) for left, top in marks]
    for identity, row, value in sorted(points, key=lambda point: -point[1].scores[score]):
        left, top = x(math.log10(value)), y(row.scores[score])
        name = row.model if row.published else row.method
        at, side, box = _place(left, top, _LETTER * len(name), taken)
        taken.append(box)
        mark = (
            f'<path class="mark" d="M{left:.1f} {top - 7:.1f}l7 7l-7 7l-7 -7z"/>'
            if row.published
            else f'<circle class="mark" cx="{left:.1f}" cy="{top:.1f}" r="6.5"/>'
        )
        whose = f"published ({row.source})" if row.published else "measured"
        tip = escape(f"{row.method}, {row.model}: {score} {row.scores[score]:.1f}, {value:.1f} {chart.unit}, {whose}")
        kind = f"point {'theirs' if row.published else 'ours'} c{colours[row.method]}"
        parts.append(
            f'<g class="{kind}" data-row="{identity}">'
            f'<title>{tip}</title>{mark}<text x="{left + 12 * side:.1f}" y="{at:.1f}" dy="4"'
            f"{_ANCHORS[side]}>{escape(name)}</text></g>"
        )
    return parts


_ANCHORS = {1: "", -1: ' text-anchor="end"'}
"""Side of the mark that a name is on, and the attribute of its text."""
_Box = tuple[float, float, float]


def _place(left: float, top: float, width: float, taken: Sequence[_Box]) -> tuple[float, int, _Box]:
    """The free place of a name next to its mark: height, side, and the box (start, end, height) that it takes."""
    boxes = {1: (left + 9, left + 16 + width), -1: (left - 16 - width, left - 9)}
    for distance in range(0, _HEIGHT, 2):
        for at in (top + distance, top - distance):
            for side, (start, end) in boxes.items():
                inside = start > _LEFT and end < _WIDTH and _TOP < at < _HEIGHT - _BOTTOM + 4
                if inside and not any(abs(at - line) < _LINE and start < e and s < end for s, e, line in taken):
                    return at, side, (start, end, at)
    return top, 1, (*boxes[1], top)
