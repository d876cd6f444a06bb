"""A line chart of scores against a number, for reports and pages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vos_zoo.types import Frame

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 400, 56, 150, 28, 44
_PAPER, _INK, _GRID = (255, 255, 255), (60, 60, 60), (225, 225, 225)
_COLOURS = ((31, 119, 180), (255, 127, 14), (127, 127, 127), (44, 160, 44), (214, 39, 40))


def curve_chart(curves: Mapping[str, Mapping[int, float]], across: str, up: str) -> Frame:
    """Draw a line per name, in percent.

    Args:
        curves: name -> number -> score, 0..1; at least one.
        across: what the horizontal axis counts.
        up: name of the score.

    Returns:
        The chart, uint8 RGB ``(400, 720, 3)``.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    points = [point for curve in curves.values() for point in curve.items()]
    width = max(number for number, _ in points) or 1
    low = np.floor(20 * min(score for _, score in points)) / 20
    high = max(np.ceil(20 * max(score for _, score in points)) / 20, low + 0.05)

    def place(number: float, score: float) -> tuple[float, float]:
        x = _LEFT + number / width * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    for score in np.arange(low, high + 1e-9, 0.05):
        draw.line((place(0, score), place(width, score)), fill=_GRID)
        draw.text((_LEFT - 30, place(0, score)[1] - 8), f"{100 * score:.0f}", fill=_INK, font=font)
    for number in sorted({number for number, _ in points}):
        draw.text((place(number, low)[0] - 4, _HEIGHT - _BOTTOM + 6), str(number), fill=_INK, font=font)
    draw.text((_LEFT, _HEIGHT - 20), across, fill=_INK, font=font)
    draw.text((_LEFT - 30, 4), up, fill=_INK, font=font)
    for row, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        line = [place(number, score) for number, score in sorted(curve.items())]
        draw.line(line, fill=colour, width=2)
        for x, y in line:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        y = _TOP + 20 + 20 * row
        draw.line((_WIDTH - _RIGHT + 12, y, _WIDTH - _RIGHT + 36, y), fill=colour, width=2)
        draw.text((_WIDTH - _RIGHT + 42, y - 8), name, fill=_INK, font=font)
    return np.asarray(image)
