"""Masks with soft edges and JPEGs are told from object ids, and refused or thresholded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tests.helpers.mask_files import SIZE, ellipse, folder_of, save_grey, squares
from vos_zoo.data.datasets.checking import check_dataset, keep_sound
from vos_zoo.data.opening import open_dataset
from vos_zoo.labels import has_soft_edges
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.mask_reader import list_masks
from vos_zoo.video.masks import read_binary_mask, read_mask, write_mask


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


# -- JPEG and soft masks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mask.jpg", "mask.png", "MASK.PNG"])
def test_a_jpeg_is_refused_whatever_its_name(name: str, tmp_path: Path) -> None:
    ellipse().save(tmp_path / name, format="JPEG", quality=95)
    for read in (read_mask, read_binary_mask, lambda path: read_mask(path, threshold=128)):
        with pytest.raises(VOSError, match=rf"{name}: is a JPEG file"):
            read(tmp_path / name)


def test_a_data_set_of_jpeg_masks_names_them(tmp_path: Path) -> None:
    def save(path: Path, labels: np.ndarray) -> None:
        Image.fromarray(labels).save(path.with_suffix(".jpg"))

    root = folder_of(tmp_path, {"clip": [squares(255)] * 2}, save)
    report = check_dataset(open_dataset("folder", root, split="train"))
    assert [Path(problem.where).name for problem in report.problems] == ["00000.jpg", "00001.jpg"]
    assert all("JPEG" in problem.what for problem in report.problems)
    with pytest.raises(VOSError, match=r"00000\.jpg: is a JPEG"):
        keep_sound(open_dataset("folder", root, split="train"))


def test_pictures_beside_png_masks_are_no_masks_and_other_lossless_files_are(tmp_path: Path) -> None:
    write_mask(tmp_path / "one" / "00000.png", squares(1))
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "preview.jpg")
    assert list(list_masks(tmp_path / "one")) == ["00000"]
    (tmp_path / "two").mkdir()
    save_grey(tmp_path / "two" / "00000.bmp", squares(1, 2))
    np.testing.assert_array_equal(read_mask(list_masks(tmp_path / "two")["00000"]), squares(1, 2))
    assert list_masks(tmp_path / "three") == {}


def half(level: int) -> int:
    return level // 2


SOFT = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "widely blurred": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "shrunk by area": lambda image: image.resize((32, 24), Image.Resampling.BOX),
    "shrunk": lambda image: image.resize((40, 30), Image.Resampling.BILINEAR),
    "enlarged": lambda image: image.resize((200, 150), Image.Resampling.BICUBIC),
    "from JPEG": lambda image: as_jpeg(image, 90),
    "from coarse JPEG": lambda image: as_jpeg(image, 60),
    "with a grey rim": lambda image: ImageChops.lighter(image, image.filter(ImageFilter.MaxFilter(3)).point(half)),
}


@pytest.mark.parametrize("level", [255, 254, 200])
@pytest.mark.parametrize("kind", SOFT)
@settings(max_examples=10, deadline=None, derandomize=True)  # a rule of thumb: some are missed
@given(size=st.integers(9, 30), x=st.integers(1, 30), y=st.integers(1, 16))
def test_soft_edges_are_told_from_ids(kind: str, level: int, size: int, x: int, y: int) -> None:
    if kind in ("with a grey rim", "shrunk by area") and (level == 200 or size < 16):
        return  # a level or two beside one that is not white, or a handful of pixels: an id map may look like that
    assert has_soft_edges(np.array(SOFT[kind](ellipse(level, size, (x, y)))))


def test_a_jpeg_whose_white_became_two_levels_has_soft_edges() -> None:
    levels = np.array(as_jpeg(ellipse(254, 23, (4, 4)), 90))
    assert {254, 255} <= set(np.unique(levels))
    assert has_soft_edges(levels)


def test_void_around_objects_of_high_ids_is_no_ringing() -> None:
    labels = np.zeros((80, 120), np.uint8)
    for number, identity in enumerate((1, 2, 244, 254)):
        labels[8:28, 28 * number + 4 : 28 * number + 24] = 255
        labels[10:26, 28 * number + 6 : 28 * number + 22] = identity
    assert not has_soft_edges(labels)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(1, 254), min_size=1, max_size=12, unique=True),
    size=st.integers(1, 20),
    ring=st.booleans(),
    seed=st.integers(0, 999),
)
def test_objects_of_any_ids_are_not_taken_for_soft_edges(ids: list[int], size: int, ring: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = Image.new("L", (160, 120))
    for identity in ids:
        x, y = (int(value) for value in random.integers(1, 90, 2))
        ImageDraw.Draw(image).ellipse([x, y, x + size, y + size], fill=identity)
    labels = np.array(image)
    if ring:  # void around every object, as PASCAL VOC draws it
        rim = np.array(image.filter(ImageFilter.MaxFilter(3)))
        labels = np.where((labels == 0) & (rim > 0), 255, labels).astype(np.uint8)
    if size >= 6 or not ring:  # smaller ones inside a ring have no area to tell them by
        assert not has_soft_edges(labels)


def test_a_soft_file_is_refused_with_the_three_cures_and_thresholded_on_request(tmp_path: Path) -> None:
    soft = ellipse().filter(ImageFilter.GaussianBlur(1))
    expected = np.array(soft) >= 128
    forms = {"L": soft, "P": soft.convert("P"), "quantized": soft.quantize(64)}
    for name, image in forms.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        with pytest.raises(VOSError, match=r"soft edges.*--mask-threshold 128, data\.mask_threshold=128, mask_thr"):
            read_mask(path)
        found = read_mask(path, threshold=128)
        assert found.dtype == np.uint8 and (found == expected).mean() > (0.98 if name == "quantized" else 0.999999)
    soft.convert("RGB").save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png", threshold=128), expected)
    Image.fromarray(np.array(soft).astype(np.uint16) * 257).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "wide.png", threshold=128), expected)


def test_ids_in_the_davis_colours_are_never_soft(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    write_mask(tmp_path / "noise.png", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "noise.png"), labels)
    save_grey(tmp_path / "grey.png", labels)
    with pytest.raises(VOSError, match="soft edges"):
        read_mask(tmp_path / "grey.png")


def test_a_data_set_of_soft_masks_is_refused_or_thresholded(tmp_path: Path) -> None:
    maps = [np.array(ellipse(at=(8 + 2 * t, 8)).filter(ImageFilter.GaussianBlur(1))) for t in range(3)]
    root = folder_of(tmp_path, {"clip": maps}, save_grey)
    with pytest.raises(VOSError, match=r"00000\.png: has soft edges"):
        keep_sound(open_dataset("folder", root, split="train"))
    sequence = open_dataset("folder", root, split="train", mask_threshold=128)[0]
    assert sequence.object_ids == (1,)
    np.testing.assert_array_equal(sequence.labels(2), maps[2] >= 128)
    with pytest.raises(UsageError, match=r"data\.mask_threshold: 0"):
        open_dataset("folder", root, split="train", mask_threshold=0)
    with pytest.raises(UsageError, match="'synthetic' has no such masks"):
        open_dataset("synthetic", mask_threshold=128)
