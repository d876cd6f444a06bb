"""Small copies of the field's data sets in their true layouts: a square or two per video, late objects, gaps, void."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo.video.masks import write_mask

SIZE = (24, 40)


def boxes(*ids: int, shift: int = 0) -> np.ndarray:
    """A label map with a box per id, next to each other."""
    labels = np.zeros(SIZE, np.uint8)
    for place, identity in enumerate(ids):
        labels[6:16, 3 + 12 * place + shift : 12 + 12 * place + shift] = identity
    return labels


def write_video(
    frames: Path, masks: Path, name: str, stems: Sequence[str], maps: Mapping[str, np.ndarray | Sequence[int]]
) -> None:
    """Frames of a shade per frame, with the objects drawn on them, and masks of the frames in `maps`."""
    (frames / name).mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(stems):
        picture = np.full((*SIZE, 3), 40 + number, np.uint8)
        shown = maps.get(stem)
        if shown is not None:
            labels = boxes(*shown) if not isinstance(shown, np.ndarray) else shown
            picture[labels > 0] = 200
            write_mask(masks / name / f"{stem}.png", labels)
        Image.fromarray(picture).save(frames / name / f"{stem}.jpg")


def numbers(count: int, start: int = 0, step: int = 1, form: str = "{:05d}") -> list[str]:
    return [form.format(start + step * index) for index in range(count)]


def make_sav(root: Path) -> Path:
    """25 frames, every fourth annotated; object 001 starts late and overlaps object 000."""
    base, stems = root / "sav_val", numbers(25)
    write_video(base / "JPEGImages_24fps", base / "none", "sav_000001", stems, {})
    for name, first in (("000", 0), ("001", 4)):
        for stem in numbers(7, step=4):
            mask = np.zeros(SIZE, np.uint8)
            mask[4:18, 4:30] = name == "000"
            if name == "001" and int(stem) >= first:
                mask[8:14, 10:20] = 1
            path = base / "Annotations_6fps" / "sav_000001" / name / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if int(stem) >= first:
                Image.fromarray(mask * 255).save(path)
    (base / "sav_val.txt").write_text("sav_000001\n")
    return root


def make_lvos(root: Path) -> Path:
    """Names step by five from 1; object 3 is late; label 9 is in no meta file; the folder is called val."""
    stems = numbers(6, start=1, step=5, form="{:08d}")
    for split, meta in (("val", "valid_meta.json"), ("train", "train_meta.json")):
        maps = {stem: (1,) if index < 2 else (1, 3, 9) for index, stem in enumerate(stems)}
        write_video(root / split / "JPEGImages", root / split / "Annotations", f"{split}Video", stems, maps)
        ranges = {"1": ("1", "31", "6"), "3": ("11", "31", "4")}
        objects = {
            one: {"frame_range": {"start": start, "end": end, "frame_nums": count}}
            for one, (start, end, count) in ranges.items()
        }
        (root / split / meta).write_text(json.dumps({"videos": {f"{split}Video": {"objects": objects}}}))
    return root


def make_vost(root: Path) -> Path:
    """Names step by six; 255 marks an area to ignore; the ids have a gap."""
    stems = numbers(6, start=12, step=6, form="frame{:05d}")
    maps = {stem: np.where(boxes(0, 0, 1) > 0, 255, boxes(1, 4)).astype(np.uint8) for stem in stems}
    write_video(root / "JPEGImages", root / "Annotations", "1234_cut", stems, maps)
    (root / "ImageSets").mkdir()
    for split in ("train", "val"):
        (root / "ImageSets" / f"{split}.txt").write_text("1234_cut\n")
    return root


def make_mose(root: Path, meta: bool = False) -> Path:
    """Complete masks to train on, the first one of valid; MOSEv2 has a meta file, here with an object nobody shows."""
    stems = numbers(6)
    for split, known in (("train", stems), ("valid", stems[:1])):
        maps = dict.fromkeys(known, (1, 2))
        write_video(root / split / "JPEGImages", root / split / "Annotations", f"{split}1", stems, maps)
        about = {"length": 6, "height": SIZE[0], "width": SIZE[1], "objects": ["1", "2"]}
        if meta:
            (root / split / "meta.json").write_text(json.dumps({"videos": {f"{split}1": about}}))
    return root


def make_visor(root: Path) -> Path:
    """Names far apart and not evenly spaced, frames and masks in 480p, lists in ImageSets/2022."""
    stems = [f"P01_01_frame_{number:010d}" for number in (140, 189, 231, 280, 500)]
    maps = dict.fromkeys(stems, (1, 2))
    write_video(root / "JPEGImages" / "480p", root / "Annotations" / "480p", "P01_01_seq_00001", stems, maps)
    (root / "ImageSets" / "2022").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "ImageSets" / "2022" / f"{split}.txt").write_text("P01_01_seq_00001\n")
    return root


MAKERS = {
    "sav": make_sav,
    "lvos": make_lvos,
    "lvos_v1": make_lvos,
    "vost": make_vost,
    "mose": make_mose,
    "mosev2": lambda root: make_mose(root, meta=True),
    "visor": make_visor,
}
"""Writes a copy of a data set below a folder; returns the root."""
