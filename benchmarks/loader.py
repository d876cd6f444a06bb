"""Training frames per second and core: the loader of every method's recipe beside a straightforward one.

Straightforward is what one writes first: every frame decoded from its JPEG and every mask from its PNG, one call of an
albumentations pipeline per frame (what a clip shares is replayed with `ReplayCompose`), float tensors, torch's own
collate. Ours is measured on the files as they are, on the files with the settings that make it fast (`data.compact`,
for object crops `data.augment.fused`, for whole frames `data.frame.interpolation=linear`), and with a pack besides
(`data.pack`). All in one process, in processor time, on the same videos.

Run: ``python -m benchmarks.loader DAVIS [--clips 40] [--gpu-frames 1000]`` with a folder in DAVIS layout.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.data.clips.numbered import NumberedClips, collate
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.sequence import PictureSequence, read_frame
from vos_zoo.video.masks import read_mask

CROPS: dict[str, Any] = {}
"""LWL, JOINT, LLB: one reference and three query frames, 480x832 around the object."""
WHOLE: dict[str, Any] = {
    "canvas": "frame",
    "sampling": {"query_frames": 6, "objects": 2},
    "gaps": {"limits": [[0, 15]], "part": 3, "reverse": 0.5},
    "crop": {"size": [384, 384]},
}
"""PCVOS, video stage: seven frames, a part of the frame at 384x384, each turned and sheared."""
SHORT: dict[str, Any] = {
    "canvas": "frame",
    "sampling": {"query_frames": 3, "objects": 6},
    "gaps": {"limits": [[0, 25]], "rounding": "up", "repeat": False, "shortest": 4},
    "crop": {"size": [384, 740]},
    "frame": {
        "window": "short_side",
        "turn": "frame",
        "place_jitter": 20,
        "scale": [0.95, 1.05],
        "shear": 0,
        "interpolation": "linear",
        "common_colour": [0.1, 0.1, 0.1],
        "colour": [0, 0, 0],
        "min_pixels": 100,
        "tries": 10,
        "empty": False,
    },
}
"""GIEL: four frames, short side 480 x 0.9..1.3, each turned and scaled, cut to 384x740."""


@dataclass(frozen=True)
class Recipe:
    """A recipe's name, its `data` settings, those that make it fast, and its straightforward pipeline."""

    name: str
    settings: dict[str, Any]
    fast: dict[str, Any]
    shared: Callable[[Any], list[Any]]
    own: Callable[[Any], list[Any]]


def crop_shared(a: Any) -> list[Any]:
    """What LWL's clips share: grey and mirror."""
    return [a.ToGray(p=0.05), a.HorizontalFlip(p=0.5)]


def crop_own(a: Any) -> list[Any]:
    """What each of their canvases gets: a crop of its own, resized; affine; brightness."""
    return [
        a.RandomResizedCrop((480, 832), scale=(0.2, 1.0), ratio=(1.6, 1.8), p=1),
        a.Affine(rotate=(-15, 15), scale=(0.82, 1.22), p=1),
        a.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=1),
    ]


def whole_shared(a: Any) -> list[Any]:
    """What PCVOS's clips share."""
    import cv2

    return [
        a.HorizontalFlip(p=0.5),
        a.RandomResizedCrop((384, 384), scale=(0.36, 1.0), ratio=(0.75, 1.333), interpolation=cv2.INTER_CUBIC, p=1),
        a.ColorJitter((0.9, 1.1), (0.97, 1.03), (0.97, 1.03), (0, 0), p=1),
        a.ToGray(p=0.05),
    ]


def whole_own(a: Any) -> list[Any]:
    """What each of their canvases gets."""
    import cv2

    affine: dict[str, Any] = {"rotate": (-15, 15), "shear": {"x": (-10, 10), "y": (0, 0)}, "fill": (124, 116, 104)}
    return [
        a.Affine(**affine, interpolation=cv2.INTER_CUBIC, p=1),
        a.ColorJitter((0.99, 1.01), (0.99, 1.01), (0.99, 1.01), (0, 0), p=1),
    ]


def short_shared(a: Any) -> list[Any]:
    """What GIEL's clips share."""
    return [
        a.SmallestMaxSize(max_size=[432, 480, 528, 576, 624], p=1),
        a.HorizontalFlip(p=0.5),
        a.ColorJitter((0.9, 1.1), (0.9, 1.1), (0.9, 1.1), (0, 0), p=1),
    ]


def short_own(a: Any) -> list[Any]:
    """What each of their canvases gets."""
    return [
        a.Affine(rotate=(-15, 15), scale=(0.95, 1.05), fill=(124, 116, 104), p=1),
        a.RandomCrop(384, 740, p=1),
    ]


RECIPES = (
    Recipe("lwl, joint, llb: 4 x 480x832", CROPS, {"augment": {"fused": True}}, crop_shared, crop_own),
    Recipe("pcvos: 7 x 384x384", WHOLE, {"frame": {"interpolation": "linear"}}, whole_shared, whole_own),
    Recipe("giel: 4 x 384x740", SHORT, {}, short_shared, short_own),
)


class Straightforward:
    """Clips as one writes them first."""

    def __init__(self, clips: NumberedClips, recipe: Recipe) -> None:
        from vos_zoo.data.clips.transforms import albumentations

        a = albumentations()
        self.clips, self.library = clips, a
        self.shared, self.own = a.ReplayCompose(recipe.shared(a)), a.Compose(recipe.own(a))

    def __getitem__(self, item: int) -> dict[str, Any]:
        sampler: Any = self.clips.sampler
        chance = sampler.random(item)
        plan = sampler.draw(chance) if hasattr(sampler, "draw") else sampler.plan(*sampler.video(chance), item, chance)
        video: Any = sampler.datasets[plan.dataset][plan.sequence]
        assert isinstance(video, PictureSequence)
        replay: Any = None
        frames, labels = [], []
        for index in plan.reference + plan.query:
            path = video.mask_paths[index]
            assert path is not None
            picture, mask = read_frame(video.frame_paths[index]), read_mask(path)
            if replay is None:
                done = self.shared(image=picture, mask=mask)
                replay = done["replay"]
            else:
                done = self.library.ReplayCompose.replay(replay, image=picture, mask=mask)
            done = self.own(image=done["image"], mask=done["mask"])
            frames.append(torch.from_numpy(done["image"].transpose(2, 0, 1).astype(np.float32)))
            labels.append(torch.from_numpy(done["mask"]))
        stacked = torch.stack(labels)
        ids = [int(i) for i in torch.unique(stacked[0]) if i][: self.clips.slots]
        masks = torch.zeros(len(labels), self.clips.slots, *stacked.shape[1:])
        for slot, identity in enumerate(ids):
            masks[:, slot] = (stacked == identity).float()
        return {"frames": torch.stack(frames), "masks": masks, "valid": torch.arange(self.clips.slots) < len(ids)}


def rates(variants: dict[str, tuple[Any, Callable[[Sequence[Any]], Any]]], count: int, batch: int) -> dict[str, float]:
    """Frames per second of processor time of every variant; they take turns, batch by batch, on the same clips."""
    frames, seconds = dict.fromkeys(variants, 0), dict.fromkeys(variants, 0.0)
    for first in range(0, count + batch, batch):
        for name, (clips, gather) in variants.items():
            start = time.process_time()
            made = gather([clips[item] for item in range(first, first + batch)])
            taken = time.process_time() - start
            if first:  # the first batch opens files and counts pixels
                pictures = made["frames"] if isinstance(made, dict) else made.frames
                frames[name] += pictures.shape[0] * pictures.shape[1]
                seconds[name] += taken
    return {name: frames[name] / seconds[name] for name in variants}


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """Settings one over the other, two levels deep."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            result[key] = {**result.get(key, {}), **value} if isinstance(value, dict) else value
    return result


def measure(recipe: Recipe, source: dict[str, Any], pack: str, count: int) -> dict[str, float]:
    """Frames per second and core of a recipe, by variant."""

    def module(*changes: dict[str, Any]) -> NumberedClips:
        return VOSDataModule(**merged(source, recipe.settings, *changes)).clips()

    fast = {"compact": True, **recipe.fast}
    plain = module()
    variants: dict[str, tuple[Any, Any]] = {
        "straightforward": (Straightforward(plain, recipe), default_collate),
        "files": (plain, collate),
        "files, exact, compact": (module({"compact": True}), collate),
        "pack, exact, compact": (module({"compact": True, "pack": pack}), collate),
        "files, fast": (module(fast), collate),
        "pack, fast": (module(fast, {"pack": pack}), collate),
    }
    return rates(variants, count, 4)


def main() -> None:
    """Prints a table, and how many cores keep one GPU busy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder in DAVIS layout, every frame with its mask")
    parser.add_argument("--split", default="val")
    parser.add_argument("--year", type=int, default=2016)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--gpu-frames", type=float, default=400, help="frames a second one GPU is assumed to train on")
    parser.add_argument("--output", help="JSON file for the numbers")
    options = parser.parse_args()
    one_thread()
    source = {
        "name": "davis",
        "root": options.root,
        "year": options.year,
        "train_split": options.split,
        "workers": 0,
    }
    results = {}
    print(f"frames/s of one core ({platform.processor() or platform.machine()}); in brackets: times straightforward")
    with tempfile.TemporaryDirectory() as pack:
        for recipe in RECIPES:
            found = results[recipe.name] = measure(recipe, source, pack, options.clips)
            print(recipe.name)
            for name, value in found.items():
                times, cores = value / found["straightforward"], options.gpu_frames / value
                print(f"  {name:24}{value:8.0f}  ({times:4.1f})   {cores:5.1f} cores for {options.gpu_frames:.0f}/s")
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
