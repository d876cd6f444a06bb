"""`check-data` reads every split that lies in a folder, or names it as not read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.data_folders import names, write_frames, write_masks
from vos_zoo.cli import main
from vos_zoo.data.datasets.splits import find_splits
from vos_zoo.data.opening import open_dataset


def video(
    root: Path, name: str, count: int = 4, masks: int | None = None, parts: tuple[str, str] | None = None
) -> None:
    """A video in a folder of frames and one of masks."""
    frames, annotations = parts or ("JPEGImages", "Annotations")
    write_frames(root / frames / name, names(count))
    write_masks(root / annotations / name, dict.fromkeys(names(masks or count), (1,)))


def spoil(root: Path, name: str) -> Path:
    """Make one frame of a video unreadable."""
    path = next(each for each in sorted(root.rglob(f"{name}/00002.jpg")))
    path.write_bytes(b"no picture")
    return path


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, list[str]]:
    """Exit code, output, and the splits that were read."""
    code = main(["check-data", *words])
    said = capsys.readouterr().out
    return code, said, re.findall(r"^split (.+)$", said, re.M)


@pytest.mark.parametrize("splits", [("train", "valid"), ("train", "valid", "test"), ("mine", "yours")])
def test_every_sub_folder_with_videos_is_a_split_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], splits: tuple[str, ...]
) -> None:
    for split in splits:  # as MOSE and LVOS lay them out
        video(tmp_path / split, f"of_{split}", masks=1 if split != splits[0] else None)
        (tmp_path / f"meta_{split}.json").write_text("{}")
    code, said, read = check(capsys, str(tmp_path))
    assert code == 0 and sorted(read) == sorted(splits) and "not read" not in said
    assert f"without complete ground truth (no scores): 1 (of_{splits[1]})" in said
    broken = spoil(tmp_path / splits[-1], f"of_{splits[-1]}")
    code, said, _ = check(capsys, str(tmp_path))
    assert code == 1 and str(broken) in said


def test_splits_without_folders_for_frames_are_found_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        video(tmp_path, f"{split}/clip", parts=(".", "unused"))
        shutil.move(tmp_path / "unused" / split, tmp_path / f"{split}_masks")
    video(tmp_path, "extra", parts=(".", "unused"))
    shutil.rmtree(tmp_path / "unused")
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (0, ["train", "val"]) and "not read: extra (beside splits)" in said


def test_a_folder_of_lists_beside_plain_videos_is_no_davis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        video(tmp_path, name)
    (tmp_path / "ImageSets").mkdir()
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (0, []) and "3 sequences" in said
    (tmp_path / "ImageSets" / "train.txt").write_text("a\n")
    (tmp_path / "ImageSets" / "val.txt").write_text("b\n")
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (0, ["train", "val"]) and "not read: JPEGImages/c (in no list)" in said
    assert [each.name for each in open_dataset("folder", tmp_path, split="val")] == ["b"]
    (tmp_path / "ImageSets" / "2017").mkdir()
    (tmp_path / "ImageSets" / "2017" / "more.txt").write_text("c\n")
    assert "ImageSets/2017/more.txt" in check(capsys, str(tmp_path))[1]


def test_lists_of_a_folder_are_splits_and_other_texts_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        video(tmp_path, name)
    (tmp_path / "first.txt").write_text("a\n")
    (tmp_path / "second.txt").write_text("b\nnowhere\n")
    (tmp_path / "README.txt").write_text("Videos of mine\n")
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (1, ["first", "second"]) and "nowhere: the frames are missing" in said


def test_a_folder_in_which_nothing_can_be_used_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "clip", names(3))
    assert main(["check-data", str(tmp_path)]) == 2
    assert "no usable sequence" in (said := capsys.readouterr().err) and "clip: no frame has a mask" in said


def test_a_folder_without_splits_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(tmp_path, "a")
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (0, []) and said.count("1 sequences") == 1
    write_frames(tmp_path / "Depth" / "a", names(2))
    assert "not read: Depth (beside JPEGImages)" in check(capsys, str(tmp_path))[1]
    video(tmp_path / "valid", "v")
    code, said, read = check(capsys, str(tmp_path))
    assert (code, read) == (0, ["valid"]) and said.count("1 sequences") == 2


def davis(root: Path) -> Path:
    for name in ("bear", "dog", "cow"):
        video(root, name, parts=("JPEGImages/480p", "Annotations/480p"))
    for path, listed in {
        "2017/train": "bear",
        "2017/val": "dog",
        "2017/trainval": "bear\ndog",
        "2016/val": "bear",
    }.items():
        (root / "ImageSets" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / f"{path}.txt").write_text(listed)
    return root


def test_all_lists_of_davis_are_read_once_and_the_rest_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = davis(tmp_path)
    video(root, "dog", parts=("JPEGImages/1080p", "Annotations/1080p"))
    code, said, read = check(capsys, str(root))
    assert (code, read) == (0, ["train", "val"])  # trainval names no other video
    for unread in (
        "ImageSets/2016/val.txt (data.year or",
        "JPEGImages/1080p (data.resolution=1080p)",
        "480p/cow (in no list)",
    ):
        assert unread in said.split("not read: ")[1]
    (root / "ImageSets/2017/test-dev.txt").write_text("cow")
    assert check(capsys, str(root))[2] == ["train", "val", "test-dev"]


def test_a_list_whose_videos_are_not_there_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = davis(tmp_path)
    (root / "ImageSets/2017/trainval.txt").write_text("bear\ndog\nelk\n")
    code, said, read = check(capsys, str(root))
    assert code == 1 and read == ["train", "val", "trainval"] and "elk: the frames are missing" in said
    (root / "ImageSets/2017/trainval.txt").write_text("elk\n")
    code, said, read = check(capsys, str(root))
    assert (
        code == 1 and "split trainval\nnot read, because of a problem: davis2017-trainval: no usable sequence" in said
    )
    (root / "ImageSets/2017/trainval.txt").write_text("")
    assert "trainval.txt: the list is empty" in check(capsys, str(root))[1]
    assert check(capsys, str(root), "data.sequences=[dog]")[0] == 0


def test_every_folder_of_youtube_vos_is_read_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "valid", "test"):
        video(tmp_path / split, f"v_{split}", masks=1)
        listed = {"objects": {"1": {"category": "dog", "frames": names(4)}}}
        (tmp_path / split / "meta.json").write_text(json.dumps({"videos": {f"v_{split}": listed}}))
    write_frames(tmp_path / "test_all_frames" / "JPEGImages" / "v_test", names(7))
    write_frames(tmp_path / "train_all_frames" / "JPEGImages" / "v_train", names(7))
    write_frames(tmp_path / "2018" / "valid" / "JPEGImages" / "v", names(7))
    code, said, read = check(capsys, str(tmp_path))
    assert (code, sorted(read)) == (1, ["jjtrain", "jjvalid", "test", "test_all_frames", "train", "valid"])
    assert "not read: 2018/valid (data.year or data.layout), train_all_frames (data.year or data.layout)" in said
    (tmp_path / "valid" / "meta.json").unlink()
    code, said, read = check(capsys, str(tmp_path))
    assert code == 1 and "split valid\nnot read, because of a problem: " in said and "there is no such file" in said


def test_annotations_of_coco_without_their_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / "annotations" / f"instances_{split}.json").touch()
    (tmp_path / "images" / "train2017").mkdir(parents=True)
    found = find_splits("coco", tmp_path)
    assert found.names == ("train2017",) and found.unread == (
        "annotations/instances_val2017.json (its pictures are not there)",
    )
