"""Frames per second of training clips from static images on one core, beside a straightforward version of the same.

COCO: pictures of 640x480 with polygons, LLB's four frames of 480x832 by jittered crops; the straightforward version
decodes the picture and draws the polygon for every frame, as a reader of videos does. Saliency: pictures of 400x300
with soft masks, three frames of 384x384 by warps; the straightforward version follows the published recipe step by step
on Pillow pictures with torchvision's transforms, and evaluates the spline in every pixel.

Run: ``python benchmarks/static_images.py [--clips 60] [--annotations 20000]``
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.data.clips.warps import thin_plate_basis, thin_plate_weights
from vos_zoo.data.datamodule import ClipDataset, VOSDataModule
from vos_zoo.data.datasets.coco import CocoDataset
from vos_zoo.data.datasets.sequence import read_frame

MEAN = (124, 116, 104)


def picture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth colour noise, about as hard to decode as a photograph."""
    import cv2

    coarse = cv2.resize(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8), (width, height))
    return np.clip(coarse.astype(int) + rng.integers(-12, 13, coarse.shape), 0, 255).astype(np.uint8)


def outline(rng: np.random.Generator, height: int, width: int, corners: int = 30) -> list[float]:
    """A star-shaped polygon."""
    angle, centre = np.linspace(0, 2 * np.pi, corners, endpoint=False), (width / 2, height / 2)
    radius = rng.uniform(0.15, 0.4, corners) * height
    points = np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)
    return points.round(2).reshape(-1).tolist()


def write_coco(root: Path, pictures: int, annotations: int, rng: np.random.Generator) -> None:
    """A folder in COCO's layout."""
    (root / "images" / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 480, "width": 640} for n in range(pictures)]
    for image in images:
        file = root / "images" / "train2017" / str(image["file_name"])
        Image.fromarray(picture(480, 640, rng)).save(file, quality=90)
    rows = []
    for n in range(annotations):
        polygon = outline(rng, 480, 640)
        x, y = polygon[::2], polygon[1::2]
        box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        rows.append(
            {"id": n, "image_id": n % pictures, "bbox": box, "segmentation": [polygon], "iscrowd": 0, "area": 9e3}
        )
    content = {"images": images, "annotations": rows, "categories": []}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


def write_saliency(root: Path, pictures: int, rng: np.random.Generator) -> None:
    """Pictures and soft masks side by side."""
    import cv2

    root.mkdir(parents=True)
    for n in range(pictures):
        mask = np.zeros((300, 400), np.uint8)
        cv2.fillPoly(mask, [np.array(outline(rng, 300, 400)).reshape(-1, 2).astype(np.int32)], 255)
        Image.fromarray(picture(300, 400, rng)).save(root / f"{n}.jpg", quality=90)
        Image.fromarray(cv2.GaussianBlur(mask, (0, 0), 1.5)).save(root / f"{n}.png")


def frame_by_frame(clips: ClipDataset, item: int) -> None:
    """The crops of a clip with the picture decoded, the polygon drawn and both mirrored for every frame."""
    chance = clips.sampler.random(item)
    plan = clips.sampler.draw(chance)
    image: Any = clips.sampler.datasets[plan.dataset][plan.sequence]
    order = plan.reference + plan.query
    frames = [image.frame(index) for index in order]
    masks = [image.labels(index)[None] for index in order]
    clips.transform(frames, masks, len(plan.reference), chance, [image.box()])


def step_by_step(path: Path, count: int, rng: np.random.Generator) -> None:
    """The published recipe on Pillow pictures: same seed for picture and mask, one step after another."""
    from torchvision import transforms as tv
    from torchvision.transforms.functional import pil_to_tensor

    nearest, bicubic = tv.InterpolationMode.NEAREST, tv.InterpolationMode.BICUBIC
    zoom = [tv.RandomAffine(0, scale=(0.8, 1.5), interpolation=nearest, fill=fill) for fill in (MEAN, 0)]
    shared = tv.Compose([tv.ColorJitter(0.1, 0.05, 0.05, 0.05), tv.RandomGrayscale(0.05)])
    turn = [
        tv.Compose(
            [
                tv.RandomAffine(20, scale=(0.9, 1.1), shear=10, interpolation=bicubic, fill=fill),
                tv.Resize(384, resize_mode),
                tv.RandomCrop((384, 384), pad_if_needed=True, fill=fill),
            ]
        )
        for fill, resize_mode in ((MEAN, bicubic), (0, nearest))
    ]
    alone = tv.ColorJitter(0.1, 0.05, 0.05)
    image, mask = Image.open(path).convert("RGB"), Image.open(path.with_suffix(".png")).convert("L")
    seed = int(rng.integers(2**31))
    for _ in range(count):
        own = int(rng.integers(2**31))
        pair = []
        for source, zoomed, turned in ((image, zoom[0], turn[0]), (mask, zoom[1], turn[1])):
            torch.manual_seed(seed)
            moved = tv.RandomHorizontalFlip()(zoomed(source))
            moved = shared(moved) if source is image else moved
            torch.manual_seed(own)
            pair.append(turned(moved))
        pair[0] = alone(pair[0])
        arrays = [np.asarray(part) for part in pair]
        if rng.random() < 0.33:
            arrays = bend(arrays, rng)
        pil_to_tensor(Image.fromarray(arrays[0])).float()
        torch.from_numpy(arrays[1].astype(np.float32) / 255)


def bend(arrays: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A thin-plate warp with the spline evaluated in every pixel."""
    import cv2

    points, shifts = rng.random((12, 2)), rng.normal(0, 0.02, (12, 2))
    y, x = np.mgrid[:384, :384].reshape(2, -1)
    places = (np.stack([x, y], axis=1) + 0.5) / 384
    bent = 384 * (places + thin_plate_basis(places, points) @ thin_plate_weights(points, shifts)) - 0.5
    across, down = bent.astype(np.float32).reshape(384, 384, 2).transpose(2, 0, 1).copy()
    modes = (cv2.INTER_LINEAR, cv2.INTER_NEAREST)
    return [cv2.remap(part, across, down, mode) for part, mode in zip(arrays, modes, strict=True)]


def speed(run: Callable[[int], Any], clips: int, frames: int) -> float:
    """Frames per second of processor time."""
    for item in range(3):
        run(item)
    start = time.process_time()
    for item in range(clips):
        run(item)
    return frames * clips / (time.process_time() - start)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--annotations", type=int, default=20000)
    options = parser.parse_args()
    one_thread()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        coco, saliency = Path(folder) / "coco", Path(folder) / "saliency"
        write_coco(coco, 40, options.annotations, rng)
        write_saliency(saliency, 40, rng)
        report_opening(coco)
        print(f"{'':24}{'frames/s':>10}{'straightforward':>17}{'ratio':>7}   (one core)")
        clips = VOSDataModule("coco", str(coco), workers=0).clips()
        ours, plain = clips.__getitem__, lambda item: frame_by_frame(clips, item)
        report("coco, 4 x 480x832", speed(ours, options.clips, 4), speed(plain, options.clips, 4))
        settings: dict[str, Any] = {
            "crop": {"size": [384, 384]},
            "sampling": {"query_frames": 2},
            "static": {"motion": "warps"},
        }
        ours = VOSDataModule("saliency", str(saliency), workers=0, **settings).clips().__getitem__
        stepwise = lambda item: step_by_step(saliency / f"{item % 40}.jpg", 3, rng)  # noqa: E731
        report("saliency, 3 x 384x384", speed(ours, options.clips, 3), speed(stepwise, options.clips, 3))
        parts(coco, saliency, options.clips)


def peak_memory() -> float:
    """MiB this process has held at most (Linux; not what the process that started it held, as getrusage says)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def opening(root: str) -> tuple[int, float, float]:
    """Annotations, seconds, and MiB the process grew by at its peak."""
    before = peak_memory()
    start = time.process_time()
    dataset = CocoDataset(root)
    seconds = time.process_time() - start
    return len(dataset), seconds, peak_memory() - before


def report_opening(coco: Path) -> None:
    """Time and memory of opening the annotations, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        count, seconds, grown = pool.submit(opening, str(coco)).result()
    size = (coco / "annotations" / "instances_train2017.json").stat().st_size / 2**20
    print(f"coco: {count} annotations ({size:.0f} MiB) opened in {seconds:.1f} s, {grown:.0f} MiB at the peak")


def report(name: str, ours: float, theirs: float) -> None:
    print(f"{name:24}{ours:>10.0f}{theirs:>17.0f}{ours / theirs:>7.1f}")


def parts(coco: Path, saliency: Path, clips: int) -> None:
    """Where the time of a clip goes before it is warped."""
    images, path = CocoDataset(coco), next(saliency.glob("*.jpg"))
    rates = (
        ("decoding 640x480", lambda item: images[item].frame(0)),
        ("polygon to mask", lambda item: images[item].labels(0)),
        ("decoding 400x300", lambda item: read_frame(path)),
    )
    for name, run in rates:
        print(f"{name:24}{1000 / speed(run, clips, 1):>10.2f} ms")


if __name__ == "__main__":
    main()
