"""Contact sheets: frames with their masks in a grid, for loggers, reports and the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vos_zoo.files.atomic import atomic_file
from vos_zoo.types import Frame, LabelMap, UsageError
from vos_zoo.video.masks import overlay

_BACKGROUND = (24, 24, 24)
_INK = (235, 235, 235)
_GAP = 4


def overlay_panel(
    frames: Sequence[Frame],
    labels: Sequence[LabelMap],
    truth: Sequence[LabelMap | None] | None = None,
    *,
    columns: int = 4,
    width: int = 256,
    title: str = "",
    captions: Sequence[str] | None = None,
    alpha: float = 0.5,
) -> Frame:
    """Draw frames with their masks as a grid in reading order, with the ground truth under the prediction.

    Args:
        frames: images, uint8 RGB ``(H, W, 3)``; each is scaled to `width` pixels.
        labels: one label map per frame, uint8 ``(H, W)``.
        truth: label map per frame, or None for frames without ground truth (the plain frame is shown); None: no ground
            truth.
        columns: maximum number of images per line.
        width: width of one image in pixels.
        title: text above the grid; empty: none.
        captions: a short text per frame, written under it.
        alpha: share of the palette colour inside an object, 0..1.

    Returns:
        The sheet, uint8 RGB ``(sheet height, sheet width, 3)``.

    Raises:
        UsageError: there is no frame, the lists differ in length, or a label map does not fit its frame.
    """
    _check(frames, labels, truth, captions, columns, width)
    cells = []
    for number, frame in enumerate(frames):
        rows = [_scaled_overlay(frame, labels[number], width, alpha)]
        if truth is not None:
            rows.append(_scaled_overlay(frame, truth[number], width, alpha))
        if captions is not None:
            rows.append(_text_strip(captions[number], width, size=12))
        cells.append(np.concatenate(rows))
    sheet = _grid(cells, columns)
    if title:
        sheet = np.concatenate([_text_strip(title, sheet.shape[1], size=14), sheet])
    return sheet


def spread(count: int, picks: int) -> list[int]:
    """At most `picks` distinct numbers of ``range(count)``, evenly spread, including the first and the last."""
    return sorted({round(value) for value in np.linspace(0, count - 1, min(picks, count))}) if count > 0 else []


def with_caption(picture: Frame, text: str) -> Frame:
    """An image, uint8 RGB ``(H, W, 3)``, with a line of text in its upper left corner; empty: unchanged."""
    if not text:
        return picture
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    draw.rectangle(draw.textbbox((_GAP, _GAP), text, font=font), fill=_BACKGROUND)
    draw.text((_GAP, _GAP), text, fill=_INK, font=font)
    return np.asarray(image)


def write_picture(path: str | Path, picture: Frame) -> None:
    """Write an image, uint8 RGB ``(H, W, 3)``, as PNG, atomically. Its folder is created."""
    from PIL import Image

    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _check(
    frames: Sequence[Frame],
    labels: Sequence[LabelMap],
    truth: Sequence[LabelMap | None] | None,
    captions: Sequence[str] | None,
    columns: int,
    width: int,
) -> None:
    if not len(frames) or columns < 1 or width < 8:
        raise UsageError(
            f"panel: {len(frames)} frames, {columns} columns, width {width}; give at least 1 frame, 1 and 8"
        )
    for name, others in (("label maps", labels), ("truth maps", truth), ("captions", captions)):
        if others is not None and len(others) != len(frames):
            raise UsageError(f"panel: {len(frames)} frames but {len(others)} {name}; give one per frame")
    for index, frame in enumerate(frames):
        for name, maps in (("labels", labels), ("truth", truth)):
            candidate = maps[index] if maps is not None else None
            if candidate is not None and candidate.shape != frame.shape[:2]:
                raise UsageError(
                    f"panel: the {name} of frame {index} are {candidate.shape}, the frame {frame.shape[:2]}"
                )


def _scaled_overlay(frame: Frame, labels: LabelMap | None, width: int, alpha: float) -> Frame:
    """The overlay at `width`: scaled before tinting, so that outlines are one pixel wide."""
    from PIL import Image

    size = (width, max(1, round(frame.shape[0] * width / frame.shape[1])))
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    if labels is None:
        return small
    return overlay(small, np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)), alpha)


def _text_strip(text: str, width: int, *, size: int) -> Frame:
    """A strip with one line of text, shortened to fit, uint8 ``(size + 8, width, 3)``."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width, size + 8), _BACKGROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size)
    shown = text
    while len(shown) > 1 and draw.textlength(shown, font=font) > width - 2 * _GAP:
        shown = shown.removesuffix("...")[:-1] + "..."
        if shown == "...":
            break
    draw.text((_GAP, 2), shown, fill=_INK, font=font)
    return np.asarray(strip)


def _grid(cells: Sequence[Frame], columns: int) -> Frame:
    """Cells side by side, line by line, with a gap around each; cells of unequal height are aligned at the top."""
    columns = min(columns, len(cells))
    height, width = max(cell.shape[0] for cell in cells), cells[0].shape[1]
    lines = -(-len(cells) // columns)
    sheet = np.full((lines * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _BACKGROUND, dtype=np.uint8)
    for number, cell in enumerate(cells):
        top, left = (_GAP + (number // columns) * (height + _GAP)), (_GAP + (number % columns) * (width + _GAP))
        sheet[top : top + cell.shape[0], left : left + width] = cell
    return sheet
