"""What the notebooks share: pictures small enough to keep, and quiet commands."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import torch
from IPython import display
from numpy.typing import NDArray
from PIL import Image, ImageDraw

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|tqdm|torch")


def picture(image: Image.Image | NDArray[np.uint8], width: int = 760) -> display.Image:
    """An image, or RGB ``(H, W, 3)``, as a JPEG of at most `width` pixels across."""
    shown = Image.fromarray(image) if isinstance(image, np.ndarray) else image.convert("RGB")
    shown.thumbnail((width, 10_000))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=80)
    return display.Image(data=file.getvalue(), format="jpeg")


@contextmanager
def quiet(bars_only: bool = False) -> Iterator[None]:
    """Hide progress bars, which fill a notebook with lines, and unless `bars_only` all that is printed."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(io.StringIO()))
        if not bars_only:
            stack.enter_context(redirect_stdout(io.StringIO()))
        yield


def tiles(
    maps: Sequence[Any], captions: Sequence[str] | None = None, columns: int = 4, width: int = 192
) -> display.Image:
    """Maps of numbers ``(h, w)`` (dark: lowest, bright: highest, each on its own scale) and RGB images, as one."""
    cells = []
    for number, values in enumerate(maps):
        shown = Image.fromarray(_colours(values))
        height = round(shown.height * width / shown.width)
        cell = Image.new("RGB", (width, height + (18 if captions else 0)), (24, 24, 24))
        cell.paste(shown.resize((width, height), Image.Resampling.NEAREST))
        if captions:
            ImageDraw.Draw(cell).text((4, height + 2), captions[number], fill=(235, 235, 235))
        cells.append(cell)
    rows = -(-len(cells) // columns)
    high = max(cell.height for cell in cells)
    sheet = Image.new("RGB", (min(columns, len(cells)) * (width + 4), rows * (high + 4)), (24, 24, 24))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * (width + 4), number // columns * (high + 4)))
    return picture(sheet)


def _colours(values: Any) -> NDArray[np.uint8]:
    """RGB of a map: from dark blue over green to yellow; images stay as they are."""
    array = values.detach().float().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim == 3:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    level = (array - low) / (high - low if high > low else 1.0)
    stops = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=float)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(level, places, stops[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)
