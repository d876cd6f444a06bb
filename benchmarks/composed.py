"""Frames per second of composed clips on one core, by size and number of objects, decoding included.

Every clip is new: its pictures are decoded, its objects cut out and its paths drawn; then some of its frames are drawn,
as a training clip asks for them. Without FOLDER the pictures are drawn for the purpose, 200 of 384x256.

Run: ``python benchmarks/composed.py [FOLDER --kind instances] [--clips 60] [--frames 4]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from benchmarks.static_images import outline, picture
from vos_zoo.data.composed.videos import ComposedDataset
from vos_zoo.data.opening import open_dataset


def write_pictures(root: Path, count: int = 200) -> None:
    """Pictures of the size of small photographs, each with a masked object."""
    import cv2

    rng = np.random.default_rng(0)
    root.mkdir()
    for number in range(count):
        mask = np.zeros((256, 384), np.uint8)
        cv2.fillPoly(mask, [np.array(outline(rng, 256, 384)).reshape(-1, 2).astype(np.int32)], 255)
        Image.fromarray(picture(256, 384, rng)).save(root / f"{number}.jpg", quality=90)
        Image.fromarray(mask).save(root / f"{number}.png")


def measure(root: Path, kind: str, size: tuple[int, int], objects: int, clips: int, frames: int) -> tuple[float, float]:
    """Frames per second over clips of `frames` frames, and milliseconds to count an object's pixels in all 48."""
    settings: dict[str, Any] = {"kind": kind, "size": size, "min_objects": objects, "max_objects": objects}
    dataset = open_dataset("composed", root, split="train", composed=settings)
    assert isinstance(dataset, ComposedDataset)
    times = np.linspace(2, 46, frames).astype(int)
    dataset[0].frame(0)
    start = time.process_time()
    for number in range(1, clips + 1):
        for index in times:
            dataset[number].frame(int(index))
    drawn = time.process_time()
    for number in range(clips - 4, clips + 1):
        dataset[number].pixel_counts()
    return frames * clips / (drawn - start), 1000 * (time.process_time() - drawn) / 5


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--kind", default="instances")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--frames", type=int, default=4)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.folder or Path(scratch) / "pictures"
        if options.folder is None:
            write_pictures(root)
        print(f"{'size':>9}  objects  frames/s  counting ms   (one core, clips of {options.frames} frames)")
        for size in ((192, 336), (256, 448), (384, 672)):
            for objects in (1, 3, 6):
                speed, counting = measure(root, options.kind, size, objects, options.clips, options.frames)
                print(f"{size[0]:>4}x{size[1]:<4}  {objects:>7}  {speed:>8.0f}  {counting:>11.1f}")


if __name__ == "__main__":
    main()
