"""Files as users have them: order of frames, dangling links, 16-bit pictures, lists of any editor."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos_zoo.cli import main
from vos_zoo.data.datasets.checking import check_dataset, keep_sound
from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.datasets.folder import FolderDataset
from vos_zoo.data.datasets.packing import pack_dataset
from vos_zoo.data.datasets.static_images import SaliencyDataset
from vos_zoo.data.datasets.youtube_vos import listed_objects
from vos_zoo.files.frames import read_frame, read_reduced
from vos_zoo.files.names import list_files, list_pictures, natural_key
from vos_zoo.files.text import read_list, read_text
from vos_zoo.metrics.davis import evaluate_davis
from vos_zoo.metrics.youtube_vos import evaluate_youtube_vos
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask
from vos_zoo.video.prompts import parse_prompts
from vos_zoo.video.reader import open_video

SIZE = (32, 48)


def picture(value: int) -> np.ndarray:
    """A grey gradient of a brightness of its own, uint8 ``(H, W, 3)``."""
    frame = np.full((*SIZE, 3), value, dtype=np.uint8)
    frame[:, 24:] += np.arange(24, dtype=np.uint8)[None, :, None]
    return frame


def labels() -> np.ndarray:
    found = np.zeros(SIZE, dtype=np.uint8)
    found[8:20, 10:30] = 1
    return found


def davis(root: Path, videos: dict[str, int], form: str = "{:05d}") -> Path:
    """A DAVIS folder with whole masks; the list is for the test to write."""
    for name, count in videos.items():
        for index in range(count):
            for kind in ("JPEGImages", "Annotations"):
                (root / kind / "480p" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(10 * index)).save(root / "JPEGImages" / "480p" / name / f"{form.format(index)}.jpg")
            write_mask(root / "Annotations" / "480p" / name / f"{form.format(index)}.png", labels())
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("".join(f"{name}\n" for name in videos))
    return root


# -- order -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**30), unique=True), st.text("abc-_ ", max_size=5), st.integers(0, 8))
def test_names_are_ordered_by_their_numbers_with_or_without_leading_zeros(
    numbers: list[int], text: str, zeros: int
) -> None:
    names = [f"{text}{number:0{zeros}d}x" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{text}{number:0{zeros}d}x" for number in sorted(numbers)]


@given(st.lists(st.text("ab01239._-é٣", max_size=6)))
def test_the_order_of_names_does_not_depend_on_the_order_they_come_in(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_pictures_come_in_the_order_of_their_numbers_whatever_their_endings(tmp_path: Path) -> None:
    for name in ("f10.jpg", "f9.PNG", "f1.tif", "f010.bmp", ".f0.jpg", "notes.txt", "f2.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "f3.jpg").mkdir()
    assert [path.name for path in list_files(tmp_path)] == ["f1.tif", "f2.jpeg", "f9.PNG", "f010.bmp", "f10.jpg"]
    assert list(list_pictures(tmp_path, (".jpg",))) == ["f10"]
    assert list_pictures(tmp_path / "nowhere") == {}


def test_a_folder_of_frames_without_leading_zeros_is_read_in_time_with_a_warning(tmp_path: Path) -> None:
    for index in range(12):
        Image.fromarray(picture(10 * index)).save(tmp_path / f"frame_{index}.png")
    with pytest.warns(UserWarning, match=r"frame_9 before frame_10.*leading zeros"):
        video = open_video(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in video] == [10 * index for index in range(12)]
    assert video.names == tuple(f"frame_{index}" for index in range(12))


def test_no_warning_where_both_orders_agree(tmp_path: Path) -> None:
    for index in range(12):
        Image.fromarray(picture(index)).save(tmp_path / f"{index:05d}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_video(tmp_path)


def test_data_sets_and_scores_order_frames_by_their_numbers(tmp_path: Path) -> None:
    root = davis(tmp_path, {"a": 12, "b": 3}, "frame_{}")
    expected = [f"frame_{index}" for index in range(12)]
    with pytest.warns(UserWarning, match=r"davis2017-val: 1 sequences \(a\): .*frame_9 before frame_10"):
        dataset = DavisDataset(root)
    assert list(dataset[0].frame_names) == expected
    assert any("frame_9 before frame_10" in note for note in check_dataset(dataset).notes)
    report = evaluate_davis(root / "Annotations" / "480p", root)
    assert list(report.sequences[0].frames) == expected[1:-1]
    with pytest.warns(UserWarning, match="frame_9 before frame_10"):
        assert list(FolderDataset(root)[0].frame_names) == expected


def test_frames_listed_in_a_meta_json_are_ordered_and_its_encoding_is_free(tmp_path: Path) -> None:
    """An object listed from frame_2 on, written by a tool that sorts names as text, in UTF-16."""
    meta = {"videos": {"v": {"objects": {"1": {"category": "dog", "frames": ["frame_10", "frame_2", "frame_3"]}}}}}
    (tmp_path / "meta.json").write_bytes(json.dumps(meta).encode("utf-16"))
    assert listed_objects(tmp_path / "meta.json")["v"][1].frames == ("frame_2", "frame_3", "frame_10")
    for name in ("frame_2", "frame_3", "frame_10"):
        write_mask(tmp_path / "Annotations" / "v" / f"{name}.png", labels())
    report = evaluate_youtube_vos(tmp_path / "Annotations", tmp_path)
    assert len(report.objects[0].J) == 2 and report.scores["J_seen"] == 1


def test_masks_given_for_later_frames_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for index in (0, 2, 10):
        write_mask(tmp_path / f"{index}.png", labels())
    assert list(parse_prompts([tmp_path], size=SIZE)) == [0, 2, 10]


# -- links that lead nowhere -----------------------------------------------------------------------------------------


def dangling(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/moved/away")


def test_a_frame_that_is_a_link_to_nowhere_is_named_before_anything_is_tracked(tmp_path: Path) -> None:
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    dangling(tmp_path / "2.png")
    with pytest.raises(UsageError, match=r"2\.png: is a link to /moved/away, where there is no file"):
        open_video(tmp_path)


def test_a_mask_that_is_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write_mask(tmp_path / "0.png", labels())
    dangling(tmp_path / "1.png")
    with pytest.raises(UsageError, match=r"1\.png: is a link to /moved/away"):
        parse_prompts([tmp_path], size=SIZE)


def test_data_sets_name_links_to_nowhere(tmp_path: Path) -> None:
    root = davis(tmp_path, {"a": 4})
    dangling(root / "JPEGImages/480p/a/00002.jpg")
    report = check_dataset(DavisDataset(root))
    assert any("00002.jpg" in problem.where and "is a link to" in problem.what for problem in report.problems)


def test_a_video_folder_that_is_a_link_to_nowhere_is_not_left_out(tmp_path: Path) -> None:
    root = davis(tmp_path, {"a": 4})
    (root / "JPEGImages/480p/b").symlink_to("/moved/away")
    with pytest.raises(VOSError, match="b: the frames are missing"):
        FolderDataset(root)


def test_still_pictures_that_are_links_to_nowhere_are_named(tmp_path: Path) -> None:
    for name in ("1", "2"):
        Image.fromarray(picture(9)).save(tmp_path / f"{name}.jpg")
        Image.fromarray(labels() * 255).save(tmp_path / f"{name}.png")
    dangling(tmp_path / "2.png")
    with pytest.raises(VOSError, match=r"2\.png: .*is a link to /moved/away|2\.png.*there is no"):
        SaliencyDataset(tmp_path)


# -- more than 8 bits ------------------------------------------------------------------------------------------------

GREY = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def save_grey(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint16)).save(path)


def save_colour(path: Path, values: np.ndarray) -> None:
    cv2.imwrite(str(path), np.ascontiguousarray(values.astype(np.uint16)[..., ::-1]))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("save", "shown"), [(save_grey, GREY), (save_colour, COLOUR)], ids=["grey", "colour"])
def test_16_bit_frames_of_the_whole_range_become_the_8_bit_frames_they_are(
    tmp_path: Path, name: str, save: Callable[..., None], shown: np.ndarray
) -> None:
    save(tmp_path / name, shown.astype(np.uint16) * 257)
    expected = shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)
    assert np.array_equal(read_frame(tmp_path / name), expected)
    assert np.array_equal(read_reduced(tmp_path / name, 2), expected)
    assert np.array_equal(next(iter(open_video(tmp_path))), expected)


@given(values=st.lists(st.integers(0, 65535), min_size=4, max_size=4))
def test_16_bit_values_are_rounded_to_the_nearest_of_8_bits(tmp_path_factory: Any, values: list[int]) -> None:
    path = tmp_path_factory.mktemp("deep") / "a.png"
    row = np.array([0, *values, 65535], dtype=np.uint16)
    save_grey(path, row[None])
    assert np.array_equal(read_frame(path)[0, :, 0], np.rint(row / 257).astype(np.uint8))


THERMAL = [
    pytest.param(save_grey, 7000 + 4 * GREY.astype(np.uint16), id="14 bits of a thermal camera"),
    pytest.param(save_grey, 29000 + 8 * GREY.astype(np.uint16), id="hundredths of a kelvin"),
    pytest.param(save_grey, 16 * GREY.astype(np.uint16), id="12 bits"),
    pytest.param(save_colour, 4 * COLOUR.astype(np.uint16), id="10 bits in colour"),
]


@pytest.mark.parametrize(("save", "values"), THERMAL)
def test_16_bit_frames_that_would_lose_their_content_are_refused_alike_everywhere(
    tmp_path: Path, save: Callable[..., None], values: np.ndarray
) -> None:
    frames, masks = tmp_path / "d" / "JPEGImages" / "v", tmp_path / "d" / "Annotations" / "v"
    for folder in (frames, masks):
        folder.mkdir(parents=True)
    for index in range(3):
        save(frames / f"{index}.png", values)
        write_mask(masks / f"{index}.png", labels())
    words = rf"its 16-bit values, {values.min()} to {values.max()}, are a small part.*magick"
    with pytest.raises(UsageError, match=words):
        open_video(frames)
    dataset = FolderDataset(tmp_path / "d")
    with pytest.raises(VOSError, match=words):
        dataset[0].frame(1)
    with pytest.raises(VOSError, match=words):
        pack_dataset(dataset, tmp_path / "packs")
    with pytest.raises(VOSError, match="16-bit values"):
        keep_sound(dataset)
    report = check_dataset(dataset)
    assert len(report.problems) == 3 and all("16-bit values" in problem.what for problem in report.problems)


def test_a_16_bit_frame_of_one_value_has_nothing_to_lose(tmp_path: Path) -> None:
    for value, shown in ((0, 0), (5000, 19), (65535, 255)):
        save_grey(tmp_path / "a.png", np.full(SIZE, value))
        assert (read_frame(tmp_path / "a.png") == shown).all()


def test_frames_of_floats_or_32_bits_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32) / 255).save(tmp_path / "a.tif")
    Image.fromarray(GREY.astype(np.int32) * 100000).save(tmp_path / "b.tif")
    for name in ("a.tif", "b.tif"):
        with pytest.raises(VOSError, match=rf"{name}: has values of type (float|int)32.*8 or 16 bits"):
            read_frame(tmp_path / name)


def test_a_16_bit_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_frame(tmp_path / "a.png")[..., 0], np.rot90(GREY, -1))
    assert np.array_equal(read_frame(tmp_path / "a.png", upright=False)[..., 0], GREY)


def test_a_16_bit_picture_under_a_jpegs_name_is_read_as_what_it_is(tmp_path: Path) -> None:
    save_grey(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content + b"\xff\xd9")
    assert np.array_equal(read_frame(tmp_path / "a.jpg")[..., 0], GREY)


# -- lists -----------------------------------------------------------------------------------------------------------

NAMES = ["dog", "dog 2", "été", "a.b-c", "30e1204"]
TEXT = "".join(f"{name}\r\n" for name in NAMES)


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.replace("\r", "").encode(),
        TEXT.replace("\n", "").encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        "\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        ("\n  \n" + TEXT.replace("\r", " \t") + "\ndog\n").encode(),
    ],
    ids=["windows", "unix", "old mac", "utf-8 mark", "utf-16", "utf-16-le", "utf-16-be", "be mark", "utf-32", "blanks"],
)
def test_a_list_is_read_however_an_editor_saves_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "val.txt").write_bytes(content)
    assert read_list(tmp_path / "val.txt") == NAMES


def test_a_list_of_pictures_and_masks_names_their_folders(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text(
        "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n"
        "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png\n"
        "/JPEGImages/480p/a bear 2/00000.JPG /Annotations/480p/a bear 2/00000.png\n"
        "JPEGImages/480p/cow/00000.jpg\n"
        "camel/\n"
    )
    assert read_list(tmp_path / "val.txt") == ["bear", "a bear 2", "cow", "camel"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xe9t\xe9\n", "is not text in UTF-8 or UTF-16"), (b"\0\0\0", "is not text"), (b"\r\n \n", "the list is empty")],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "val.txt").write_bytes(content)
    with pytest.raises(UsageError, match=rf"val\.txt: {message}"):
        read_list(tmp_path / "val.txt")


@given(st.text(min_size=1))
def test_text_comes_back_from_every_encoding_with_a_mark(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    text = text.encode("utf-8", "ignore").decode().replace("\0", "") or "a"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding))
        assert read_text(path) == text


def test_a_name_with_a_space_is_that_video_everywhere_lists_are_read(tmp_path: Path) -> None:
    root = davis(tmp_path, {"dog": 5, "dog 2": 7})
    (root / "ImageSets/2017/val.txt").write_bytes("dog 2\r\n".encode("utf-16"))
    assert [(video.name, len(video)) for video in DavisDataset(root)] == [("dog 2", 7)]
    assert [one.name for one in evaluate_davis(root / "Annotations" / "480p", root).sequences] == ["dog 2"]
    (root / "val.txt").write_bytes(b"\xef\xbb\xbfdog 2\r\n")
    assert [video.name for video in FolderDataset(root, split="val")] == ["dog 2"]


def test_check_data_reads_a_list_in_utf_16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = davis(tmp_path, {"dog": 5})
    (root / "ImageSets/2017/val.txt").write_bytes("dog\r\n".encode("utf-16"))
    assert main(["check-data", str(root)]) == 0
    assert "problems: 0" in capsys.readouterr().out


# -- the package as a program ----------------------------------------------------------------------------------------


def test_the_package_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "vos_zoo", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("vos-zoo ")
