"""Pictures with indexed masks: layouts, ids, void, and the clips made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.checking import check_dataset
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import davis_palette

SIZE = (60, 90)
COLOURS = {0: (0, 0, 0), 1: (250, 20, 20), 2: (20, 250, 20), 3: (20, 20, 250)}


def scene(ids: tuple[int, ...] = (1, 2), void: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colours say which object is where, and its label map."""
    labels = np.zeros(SIZE, np.uint8)
    for number, identity in enumerate(ids):
        labels[15:45, 8 + 28 * number : 28 + 28 * number] = identity
    picture = np.zeros((*SIZE, 3), np.uint8)
    for identity, colour in COLOURS.items():
        picture[labels == identity] = colour
    if void:
        labels[:3] = 255
    return picture, labels


def write(picture: np.ndarray, labels: np.ndarray, frame: Path, mask: Path, mode: str = "P") -> None:
    for path in (frame, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(frame, quality=100, subsampling=0)
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(davis_palette())
    image.save(mask)


@pytest.mark.parametrize(
    ("frame", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("JPEGImages/a.jpg", "SegmentationObject/a.png"),
        ("a.jpg", "a.png"),
        ("cats/images/a.jpg", "cats/masks/a.png"),
    ],
)
@pytest.mark.parametrize("mode", ["P", "L"])
def test_ids_are_read_in_every_layout_from_palette_and_grey_files(
    tmp_path: Path, frame: str, mask: str, mode: str
) -> None:
    picture, labels = scene((1, 2, 3))
    write(picture, labels, tmp_path / frame, tmp_path / mask, mode)
    (image,) = open_dataset("instances", tmp_path)
    assert image.object_ids == (1, 2, 3)
    assert np.array_equal(image.labels(0), labels)


def test_voc_pictures_without_a_mask_are_left_out_and_its_lists_choose(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(*scene(), tmp_path / f"JPEGImages/{name}.jpg", tmp_path / f"SegmentationObject/{name}.png")
    Image.fromarray(scene()[0]).save(tmp_path / "JPEGImages/unlabelled.jpg")
    assert [image.name for image in open_dataset("instances", tmp_path)] == ["one", "two"]
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("two\n")
    assert [image.name for image in open_dataset("instances", tmp_path, split="train")] == ["two"]


def test_void_is_no_object_unless_there_is_nothing_else(tmp_path: Path) -> None:
    write(*scene((1, 2), void=True), tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    picture, labels = scene((1,))
    write(picture, labels * np.uint8(255), tmp_path / "images/b.jpg", tmp_path / "masks/b.png", "L")
    first, second = open_dataset("instances", tmp_path)
    assert first.object_ids == (1, 2)
    assert not (first.labels(0) == 255).any()
    assert second.object_ids == (1,)
    assert np.array_equal(second.labels(0), labels)


def test_small_objects_are_left_out_with_min_area(tmp_path: Path) -> None:
    picture, labels = scene((1, 2))
    labels[labels == 2] = 0
    labels[0, 0] = 2
    write(picture, labels, tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    (image,) = open_dataset("instances", tmp_path, min_area=10)
    assert image.object_ids == (1,)


@pytest.mark.parametrize("broken", ["empty", "size", "alone"])
def test_what_is_broken_is_named_and_can_be_left_out(tmp_path: Path, broken: str) -> None:
    write(*scene(), tmp_path / "images/good.jpg", tmp_path / "masks/good.png")
    picture, labels = scene()
    if broken == "empty":
        write(picture, labels * 0, tmp_path / "images/bad.jpg", tmp_path / "masks/bad.png")
    elif broken == "size":
        write(picture, labels[:-1], tmp_path / "images/bad.jpg", tmp_path / "masks/bad.png")
    else:
        Image.fromarray(picture).save(tmp_path / "images/bad.jpg")
    with pytest.raises(VOSError, match="bad"):
        open_dataset("instances", tmp_path)
    with pytest.warns(UserWarning, match="bad"):
        dataset = open_dataset("instances", tmp_path, skip_broken=True)
    assert [image.name for image in dataset] == ["good"]
    assert [Path(problem.where).stem for problem in check_dataset(dataset).problems] == ["bad"]


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images with masks"):
        open_dataset("instances", tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        open_dataset("instances", tmp_path / "nowhere")


def clips(root: Path, canvas: str, motion: str, objects: int):
    data = VOSDataModule(
        "instances",
        str(root),
        batch_size=2,
        workers=0,
        canvas=canvas,
        sampling={"query_frames": 2, "objects": objects},
        crop={"size": [48, 64]},
        static={"motion": motion, "common_colour": [0, 0, 0, 0], "colour": [0, 0, 0]},
        frame={"common_colour": [0, 0, 0], "colour": [0, 0, 0], "min_pixels": 1, "interpolation": "linear"},
        augment={"grayscale": 0.0, "brightness": 0.0},
    )
    return data.clips()


@pytest.mark.parametrize(
    ("canvas", "motion", "objects"),
    [("frame", "warps", 3), ("frame", "crops", 3), ("object", "crops", 1), ("object", "warps", 1)],
)
def test_clips_show_each_object_where_its_mask_is(tmp_path: Path, canvas: str, motion: str, objects: int) -> None:
    for name in "abc":
        write(*scene((1, 2, 3)), tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png")
    made, seen = clips(tmp_path, canvas, motion, objects), set()
    for number in range(12):
        clip = made[number]
        assert clip.masks.shape == (3, objects, 48, 64)
        used = set()
        for slot in np.flatnonzero(clip.valid):
            inside = clip.masks[:, slot] > 0.5
            if inside.sum() < 200:
                continue
            mean = np.moveaxis(clip.frames, 1, -1)[inside].mean(axis=0)
            channel = int(mean.argmax())
            assert mean[channel] > 150 and mean.sum() - mean[channel] < 140, "a mask shows one colour"
            assert channel not in used, "every slot has an object of its own"
            used.add(channel)
        seen |= used
        assert (clip.masks.sum(axis=1) <= 1).all(), "objects do not overlap"
    assert seen == {0, 1, 2}


def test_the_same_seed_gives_the_same_clip(tmp_path: Path) -> None:
    write(*scene((1, 2, 3)), tmp_path / "images/a.png", tmp_path / "masks/a.png")
    for motion in ("warps", "crops"):
        one, two = (clips(tmp_path, "frame", motion, 2)[5] for _ in range(2))
        assert np.array_equal(one.frames, two.frames)
        assert np.array_equal(one.masks, two.masks)
