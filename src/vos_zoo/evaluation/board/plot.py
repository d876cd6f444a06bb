"""Accuracy against speed as an inline SVG plot: measured rows as discs, published ones as hollow diamonds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from vos_zoo.evaluation.board.table import Row

_WIDTH, _HEIGHT = 1040, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 120, 18, 46
_LINE, _LETTER = 14, 7  # pixels per line of text, and approximately per letter


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


def draw_plot(rows: Sequence[tuple[str, Row]], score: str, colours: Mapping[str, int]) -> str:
    """The plot, or an empty string if fewer than two rows have both a score and a speed.

    Args:
        rows: row identifier in the page, and row.
        score: name of the score on the vertical axis, in percent.
        colours: number of each method's colour.
    """
    points = [(identity, row) for identity, row in rows if row.fps and score in row.scores]
    if len(points) < 2:
        return ""
    x = _log_scale([float(row.fps or 0) for _, row in points])
    y = _linear_scale([row.scores[score] for _, row in points])
    parts = [*_axes(x, y, score), *_points(points, score, x, y, colours)]
    title = escape(f"{score} in percent against frames per second", quote=True)
    body = "\n".join(parts)
    return f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">\n{body}\n</svg>'


def _log_scale(values: Sequence[float]) -> _Scale:
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
    steps = [m * 10**e for e in range(math.floor(low) - 1, math.ceil(high) + 1) for m in (1, 1.5, 2, 3, 5, 7)]
    ticks = tuple(math.log10(step) for step in steps if low <= math.log10(step) <= high)
    return _Scale(low, high, _LEFT, _WIDTH - _RIGHT, ticks)


def _linear_scale(values: Sequence[float]) -> _Scale:
    span = max(max(values) - min(values), 1.0)
    low, high = min(values) - 0.15 * span, max(values) + 0.15 * span
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if (high - low) / step <= 7)
    ticks = tuple(step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1))
    return _Scale(low, high, _HEIGHT - _BOTTOM, _TOP, ticks)


def _axes(x: _Scale, y: _Scale, score: str) -> list[str]:
    parts = []
    for tick in x.ticks:
        at = f"{x(tick):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{y.stop:.0f}" y2="{y.start:.0f}"/>')
        parts.append(f'<text x="{at}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{10**tick:g}</text>')
    for tick in y.ticks:
        at = f"{y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{x.start:.0f}" x2="{x.stop:.0f}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at}" dy="4" text-anchor="end">{tick:g}</text>')
    middle = (x.start + x.stop) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">frames per second</text>')
    parts.append(f'<text x="{_LEFT - 8}" y="{_TOP - 6}" text-anchor="end">{escape(score)}</text>')
    return parts


def _points(
    points: Sequence[tuple[str, Row]], score: str, x: _Scale, y: _Scale, colours: Mapping[str, int]
) -> list[str]:
    """Marks with their names; a name is moved down if it would overlap another one."""
    parts, taken = [], list[tuple[float, float, float]]()
    for identity, row in sorted(points, key=lambda point: -point[1].scores[score]):
        left, top = x(math.log10(float(row.fps or 1))), y(row.scores[score])
        name, at = row.model if row.published else row.method, top
        right = left + 16 + _LETTER * len(name)
        while any(abs(at - line) < _LINE and left < end and start < right for start, end, line in taken):
            at += 2
        taken.append((left, right, at))
        mark = (
            f'<path class="mark" d="M{left:.1f} {top - 7:.1f}l7 7l-7 7l-7 -7z"/>'
            if row.published
            else f'<circle class="mark" cx="{left:.1f}" cy="{top:.1f}" r="6.5"/>'
        )
        whose = "published" if row.published else "measured"
        tip = escape(f"{row.method}, {row.model}: {score} {row.scores[score]:.1f}, {row.fps:.1f} fps, {whose}")
        parts.append(
            f'<g class="point {"theirs" if row.published else "ours"} c{colours[row.method]}" id="p-{identity}">'
            f'<title>{tip}</title>{mark}<text x="{left + 12:.1f}" y="{at:.1f}" dy="4">{escape(name)}</text></g>'
        )
    return parts
