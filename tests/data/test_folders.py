"""Folders of one's own, pictures of every kind, and data sets by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.data_folders import SIZE, names, write_frames, write_masks
from vos_zoo.data.datasets.folder import FolderDataset
from vos_zoo.data.datasets.sequence import frame_size, read_frame
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError, VOSError


def layout(tmp_path: Path, kind: str) -> Path:
    """A folder of one video (or of two, where the layout has several), three frames each, the first with a mask."""
    root = tmp_path / "videos"
    mask = {"00000": (1, 2)}
    frames, masks = {
        "sibling": (root, tmp_path / "videos_masks"),
        "beside": (root, root),
        "inside": (root, root / "masks"),
        "annotations": (root, root / "Annotations"),
        "many with sibling": (root / "b", tmp_path / "videos_masks" / "b"),
        "many inside": (root / "b", root / "masks" / "b"),
        "many beside": (root / "b", root / "b"),
        "many with inner": (root / "b", root / "b" / "masks"),
        "pairs": (root / "JPEGImages" / "b", root / "Annotations" / "b"),
        "images and masks": (root / "images" / "b", root / "masks" / "b"),
        "davis": (root / "JPEGImages" / "480p" / "b", root / "Annotations" / "480p" / "b"),
    }[kind]
    write_frames(frames, names(3))
    write_masks(masks, mask)
    if frames.name == "b":
        write_frames(frames.parent / "a", names(4))
        other = {"b": masks.parent / "a", "masks": frames.parent / "a" / "masks"}[masks.name]
        write_masks(other, mask)
    return root


@pytest.mark.parametrize(
    "kind",
    [
        *("sibling", "beside", "inside", "annotations", "many with sibling", "many inside", "many beside"),
        *("many with inner", "pairs", "images and masks", "davis"),
    ],
)
def test_folders_of_ones_own_open_in_every_documented_layout(tmp_path: Path, kind: str) -> None:
    root = layout(tmp_path, kind)
    data = FolderDataset(root)
    single = kind in {"sibling", "beside", "inside", "annotations"}
    assert [sequence.name for sequence in data] == (["videos"] if single else ["a", "b"])
    assert [len(sequence) for sequence in data] == ([3] if single else [4, 3])
    for sequence in data:
        assert sequence.object_ids == (1, 2)
        assert list(sequence.prompts()) == [0]
        assert not sequence.has_truth


def test_a_folder_takes_named_masks_splits_and_sequences(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("val", "b")):
        write_frames(tmp_path / split / name, names(2))
        write_masks(tmp_path / split / name, {"00000": (1,)})
    assert [sequence.name for sequence in FolderDataset(tmp_path, split="val")] == ["b"]
    assert FolderDataset(tmp_path / "train", split="val")[0].name == "a"
    (tmp_path / "train" / "val.txt").write_text("a\n")
    assert FolderDataset(tmp_path / "train", split="val")[0].name == "a"
    write_masks(tmp_path / "elsewhere" / "a", {"00001": (9,)})
    assert FolderDataset(tmp_path / "train", masks=tmp_path / "elsewhere")[0].object_ids == (9,)
    with pytest.raises(UsageError, match="no mask folder"):
        FolderDataset(tmp_path / "train", masks=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no sequence 'x'"):
        FolderDataset(tmp_path / "train", sequences=["x"])
    with pytest.raises(UsageError, match="there is no folder"):
        FolderDataset(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no frames"):
        FolderDataset(tmp_path / "empty")


def test_frames_without_any_mask_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", names(2))
    with pytest.raises(VOSError, match="no frame has a mask"):
        FolderDataset(tmp_path / "clip")


def test_png_frames_with_masks_in_their_own_folder_keep_apart(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", names(2), suffix=".png")
    write_masks(tmp_path / "clip_masks", {"00001": (7,)})
    sequence = FolderDataset(tmp_path / "clip")[0]
    assert sequence.object_ids == (7,)
    assert list(sequence.prompts()) == [1]
    assert sequence.frame(1).shape == (*SIZE, 3)


def test_pictures_of_every_kind_become_upright_rgb(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    picture[:10, :15] = (250, 20, 20)
    rgb = Image.fromarray(picture)
    rgb.convert("L").save(tmp_path / "grey.jpg", quality=95)
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    rgb.save(tmp_path / "plain.JPG", quality=95)
    rgb.convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.full((20, 30), 256 * 77, np.uint16)).save(tmp_path / "wide.png")
    for name in ("grey.jpg", "cmyk.jpg", "plain.JPG", "palette.png", "wide.png"):
        frame = read_frame(tmp_path / name)
        assert frame.shape == (20, 30, 3), name
        assert frame.dtype == np.uint8
        if name in {"cmyk.jpg", "plain.JPG", "palette.png"}:
            assert frame[4, 4].astype(int) == pytest.approx([250, 20, 20], abs=20), name
            assert frame[15, 25].astype(int) == pytest.approx([0, 0, 0], abs=20), name
    assert read_frame(tmp_path / "wide.png")[0, 0].tolist() == [77, 77, 77]
    exif = rgb.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    rgb.save(tmp_path / "turned.jpg", quality=95, exif=exif.tobytes())
    turned = read_frame(tmp_path / "turned.jpg")
    assert turned.shape == (30, 20, 3)
    assert frame_size(tmp_path / "turned.jpg") == (30, 20)
    assert turned[4, 15].astype(int) == pytest.approx([250, 20, 20], abs=20)
    assert turned[25, 4].astype(int) == pytest.approx([0, 0, 0], abs=20)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    for name in ("gone.jpg", "gone.png"):
        with pytest.raises(VOSError, match=rf"{name}: there is no such file"):
            read_frame(tmp_path / name)
        with pytest.raises(VOSError, match=rf"{name}: there is no such file"):
            frame_size(tmp_path / name)


def test_synthetic_videos_open_by_name_with_their_settings() -> None:
    settings = {"size": [32, 48], "frames": 4, "val_videos": 3, "device": "cpu"}
    data = open_dataset("synthetic", split="val", synthetic=settings, seed=1)
    assert len(data) == 3
    assert data[0].frame(0).shape == (32, 48, 3)
    one = open_dataset("synthetic", split="val", synthetic=settings, seed=1, sequences=[data[2].name])
    assert [sequence.name for sequence in one] == [data[2].name]
    with pytest.raises(UsageError, match=r"data.synthetic"):
        open_dataset("synthetic", synthetic={"colour": 3})
