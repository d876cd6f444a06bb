"""What the notebooks share: drawn videos with exact masks, a small network trained on them, and pictures of numbers."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import vos_zoo
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.video.masks import write_mask

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|tqdm|torch")

SIZE = (64, 96)
"""Height and width of the drawn videos."""
NETWORK: dict[str, Any] = {
    "backbone": "timm:test_resnet",
    "feature_channels": 32,
    "label_channels": 8,
    "label_widths": [8, 16, 16],
    "decoder_width": 16,
    "train_iterations": 3,
    "losses": {"lovasz": 1.0, "bce": 1.0},
}
"""A few-shot network small enough to train in seconds."""
TRACK: dict[str, Any] = {
    "size": SIZE,
    "area_scale": 3.0,
    "capacity": 8,
    "first_iterations": 10,
    "update_iterations": 2,
}


def draw_video(folder: Path, name: str, seed: int, frames: int = 12) -> None:
    """Draw a coloured ellipse that crosses a blurred ground: JPEG frames and palette masks, as in a user's folder.

    Args:
        folder: gets ``JPEGImages/NAME`` and ``Annotations/NAME``.
        name: name of the video.
        seed: ground, colour, size and motion follow from it.
        frames: length.
    """
    random = np.random.default_rng(seed)
    height, width = SIZE
    ground = Image.fromarray(random.integers(40, 110, (height // 8, width // 8, 3), dtype=np.uint8))
    ground = ground.resize((width, height), Image.Resampling.BICUBIC)
    colour = tuple(int(value) for value in random.permutation([230, 60, random.integers(60, 230)]))
    radius = random.integers(10, 15)
    start = np.array([random.uniform(15, 30), random.uniform(20, 44)])
    motion = np.array([random.uniform(3, 4.5), random.uniform(-1, 1)])
    pictures = folder / "JPEGImages" / name
    pictures.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        x, y = start + index * motion
        box = (x - radius, y - 0.8 * radius, x + radius, y + 0.8 * radius)
        picture, mask = ground.copy(), Image.new("L", (width, height))
        ImageDraw.Draw(picture).ellipse(box, fill=colour)
        ImageDraw.Draw(mask).ellipse(box, fill=1)
        picture.save(pictures / f"{index:05d}.jpg", quality=95)
        write_mask(folder / "Annotations" / name / f"{index:05d}.png", np.asarray(mask))


def draw_videos(root: Path, train: int = 12, val: int = 3) -> None:
    """Draw `train` videos into ``root/train`` and `val` others into ``root/val``."""
    for number in range(train):
        draw_video(root / "train", f"train{number:02d}", number)
    for number in range(val):
        draw_video(root / "val", f"val{number:02d}", 100 + number)


def open_videos(root: Path, steps: int = 60) -> VOSDataModule:
    """The drawn videos as validation videos and as `steps` training batches of four small clips."""
    return VOSDataModule(
        name="folder",
        root=str(root),
        batch_size=4,
        batches_per_epoch=steps,
        workers=0,
        sampling={"query_frames": 2, "max_gap": 6},
        crop={"size": list(SIZE), "factor": 3.0},
        jitter={
            "reference_scale": 0.1,
            "reference_centre": [0.5, 0.5],
            "query_scale": 0.1,
            "query_centre": [1.0, 1.0],
        },
    )


def train(method: str, data: VOSDataModule, **hyperparameters: Any) -> vos_zoo.VOSModel:
    """A small network of `method`, trained for one short epoch on the CPU."""
    pl.seed_everything(0, verbose=False)
    network = {**NETWORK, **hyperparameters}
    model = vos_zoo.create_model(method, track=TRACK, optim={"groups": {"": 3e-3}}, **network)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    return model.eval()


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
) -> Image.Image:
    """Maps of numbers ``(h, w)`` (dark: lowest, bright: highest, each on its own scale) and RGB pictures, as one."""
    cells = []
    for number, values in enumerate(maps):
        picture = Image.fromarray(_colours(values))
        height = round(picture.height * width / picture.width)
        cell = Image.new("RGB", (width, height + (18 if captions else 0)), (24, 24, 24))
        cell.paste(picture.resize((width, height), Image.Resampling.NEAREST))
        if captions:
            ImageDraw.Draw(cell).text((4, height + 2), captions[number], fill=(235, 235, 235))
        cells.append(cell)
    rows = -(-len(cells) // columns)
    high = max(cell.height for cell in cells)
    sheet = Image.new("RGB", (min(columns, len(cells)) * (width + 4), rows * (high + 4)), (24, 24, 24))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * (width + 4), number // columns * (high + 4)))
    return sheet


def _colours(values: Any) -> NDArray[np.uint8]:
    """RGB of a map: from dark blue over green to yellow; pictures stay as they are."""
    array = values.detach().float().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim == 3:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    level = (array - low) / (high - low if high > low else 1.0)
    stops = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=float)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(level, places, stops[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)
