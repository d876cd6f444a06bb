"""Mask files: ids survive a round trip, colours follow DAVIS, and whatever is no label map is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vos_zoo.types import VOSError
from vos_zoo.video.masks import davis_palette, overlay, read_binary_mask, read_mask, write_mask


@settings(max_examples=25, deadline=None)
@given(labels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_label_maps_survive_writing_and_reading(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("round") / "mask.png"
    write_mask(path, labels)
    np.testing.assert_array_equal(read_mask(path, size=labels.shape), labels)


def test_the_palette_is_the_voc_colour_map_for_all_256_indices() -> None:
    palette = np.asarray(davis_palette()).reshape(256, 3)
    assert palette[:6].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert palette[[8, 22, 255]].tolist() == [[64, 0, 0], [0, 192, 128], [224, 224, 192]]
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_written_masks_are_palette_pngs_in_davis_colours(tmp_path: Path) -> None:
    write_mask(tmp_path / "deep" / "mask.png", np.array([[0, 1], [2, 200]], dtype=np.int64))
    with Image.open(tmp_path / "deep" / "mask.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == davis_palette()
        assert image.convert("RGB").getpixel((1, 0)) == (128, 0, 0)


def test_a_failed_write_keeps_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    write_mask(path, np.ones((2, 2), dtype=np.uint8))

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_mask(path, np.zeros((2, 2), dtype=np.uint8))
    assert read_mask(path).sum() == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask.png"]


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 256), np.full((2, 2), -1), np.zeros((2, 2), np.float32)]
)
def test_writing_refuses_what_is_no_8_bit_label_map(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(VOSError, match=r"mask.png"):
        write_mask(tmp_path / "mask.png", labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "I", "F"])
def test_reading_refuses_colour_pictures_and_wide_pixels_with_a_cure(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("mask.tif" if mode in {"I", "F"} else "mask.png")
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(VOSError, match="save it as") as caught:
        read_mask(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_names_the_file_when_it_is_missing_or_no_image(tmp_path: Path) -> None:
    with pytest.raises(VOSError, match=r"gone.png: there is no such file"):
        read_mask(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(VOSError, match=r"text.png: cannot be read"):
        read_mask(tmp_path / "text.png")
    write_mask(tmp_path / "cut.png", np.arange(250, dtype=np.uint8).reshape(10, 25))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VOSError, match=r"cut.png"):
        read_mask(tmp_path / "cut.png")


def test_a_mask_of_another_size_than_the_frame_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", np.zeros((480, 853), dtype=np.uint8))
    with pytest.raises(VOSError, match=r"853x480 .* differs from the frame's 854x480"):
        read_mask(tmp_path / "mask.png", size=(480, 854))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_pngs_of_few_bits_keep_their_indices(bits: int, tmp_path: Path) -> None:
    labels = (np.arange(12, dtype=np.uint8).reshape(3, 4)) % (2**bits)
    image = Image.fromarray(labels)
    image.putpalette(davis_palette())
    image.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)


def test_grey_pngs_of_four_bits_are_not_stretched(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"\x00\x01\x2f" + b"\x00\x30\x0f"  # filter byte, then two 4-bit pixels per byte
    header = struct.pack(">IIBBBBB", 4, 2, 4, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "grey4.png").write_bytes(png)
    assert read_mask(tmp_path / "grey4.png").tolist() == [[0, 1, 2, 15], [3, 0, 0, 15]]


def test_the_binary_reader_takes_any_value_of_any_channel(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 3), dtype=np.uint8)
    values[0, 1] = (255, 0, 0)
    values[1, 2] = (7, 9, 9)
    values[1, 0] = (0, 255, 255)
    Image.fromarray(values).save(tmp_path / "rgb.png")
    assert read_binary_mask(tmp_path / "rgb.png").tolist() == [[0, 1, 0], [1, 0, 1]]
    Image.fromarray(values[..., 0]).save(tmp_path / "grey.png")
    assert read_binary_mask(tmp_path / "grey.png", size=(2, 3)).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_an_overlay_tints_objects_outlines_them_and_leaves_the_background() -> None:
    frame = np.full((9, 9, 3), 100, dtype=np.uint8)
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[2:7, 2:7] = 1
    picture = overlay(frame, labels, alpha=0.5)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[4, 4].tolist() == [114, 50, 50]
    assert picture[2, 2].tolist() == [128, 0, 0]
    assert frame[4, 4].tolist() == [100, 100, 100]
    with pytest.raises(VOSError, match="differ in size"):
        overlay(frame, labels[:5])
