"""Strip charts: the expected IoU of each object over the frames of a video, with the frames in which it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vos_zoo.types import Frame
from vos_zoo.video.masks import davis_palette

_WIDTH, _HEIGHT, _LEFT, _GAP, _BETWEEN = 960, 72, 64, 10, 22
_PAPER, _INK, _GRID, _LOST, _AGAIN = (255, 255, 255), (60, 60, 60), (225, 225, 225), (250, 205, 205), (40, 140, 60)


@dataclass(frozen=True)
class Strip:
    """One object of a strip chart.

    Attributes:
        object: its id.
        frames: numbers of the frames, ascending.
        values: expected IoU, 0..1.
        lost, reappeared: flags.
    """

    object: int
    frames: list[int]
    values: list[float]
    lost: list[bool]
    reappeared: list[bool]


def strip_chart(strips: Sequence[Strip]) -> Frame:
    """Draw a strip per object: the expected IoU as a line, frames in which it is lost shaded, returns marked.

    Returns:
        The chart, uint8 RGB ``(height, 960, 3)``.
    """
    from PIL import Image, ImageDraw, ImageFont

    last = max((strip.frames[-1] for strip in strips), default=0)
    height = _GAP + len(strips) * (_HEIGHT + _BETWEEN) + 18
    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    scale = (_WIDTH - _LEFT - _GAP) / (last + 1)
    palette = davis_palette()
    for number, strip in enumerate(strips):
        top = _GAP + number * (_HEIGHT + _BETWEEN)
        bottom = top + _HEIGHT
        for frame, lost in zip(strip.frames, strip.lost, strict=True):
            if lost:
                draw.rectangle((_LEFT + frame * scale, top, _LEFT + (frame + 1) * scale, bottom), fill=_LOST)
        for share in (0.0, 0.5, 1.0):
            y = bottom - share * _HEIGHT
            draw.line((_LEFT, y, _WIDTH - _GAP, y), fill=_GRID)
            draw.text((_LEFT - 24, y - 7), f"{share:g}", fill=_INK, font=font)
        line = [
            (_LEFT + (frame + 0.5) * scale, bottom - value * _HEIGHT)
            for frame, value in zip(strip.frames, strip.values, strict=True)
        ]
        red, green, blue = palette[3 * strip.object : 3 * strip.object + 3]
        draw.line([*line, line[-1]], fill=(red, green, blue), width=2)
        for (x, y), again in zip(line, strip.reappeared, strict=True):
            if again:
                draw.ellipse((x - 4, y - 4, x + 4, y + 4), outline=_AGAIN, width=2)
        draw.text((4, top + _HEIGHT / 2 - 7), f"{strip.object}", fill=_INK, font=font)
    note = f"expected IoU over frames 0 to {last}; shaded: lost; circle: reappeared"
    draw.text((_LEFT, height - 17), note, fill=_INK, font=font)
    return np.asarray(image)
