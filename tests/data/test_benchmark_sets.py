"""SA-V, LVOS, VOST, MOSE and VISOR in their true layouts: splits, ids, starts, ignored areas, steps, and faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmark_sets import MAKERS, SIZE, make_lvos, make_mose, make_sav
from vos_zoo.cli import main
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.splits import find_splits
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError, VideoSequence, VOSError


def starts(sequence: VideoSequence) -> dict[int, list[int]]:
    return {index: sorted(set(np.unique(labels)) - {0}) for index, labels in sequence.prompts().items()}


@pytest.mark.parametrize(
    ("name", "split", "title", "step", "given", "scored"),
    [
        ("sav", "val", "sav-val", 1, {0: [1], 4: [2]}, True),
        ("lvos", "valid", "lvos_v2-valid", 5, {0: [1], 2: [3]}, True),
        ("lvos", "val", "lvos_v2-valid", 5, {0: [1], 2: [3]}, True),
        ("lvos_v1", "train", "lvos_v1-train", 5, {0: [1], 2: [3]}, True),
        ("vost", "val", "vost-val", 6, {0: [1, 4]}, True),
        ("mose", "train", "mose-train", 1, {0: [1, 2]}, True),
        ("mose", "valid", "mose-valid", 1, {0: [1, 2]}, False),
        ("mosev2", "valid", "mosev2-valid", 1, {0: [1, 2]}, False),
        ("visor", "val", "visor-val", 49, {0: [1, 2]}, True),
    ],
)
def test_a_split_opens_in_its_true_layout(
    name: str, split: str, title: str, step: int, given: dict[int, list[int]], scored: bool, tmp_path: Path
) -> None:
    videos = open_dataset(name, MAKERS[name](tmp_path), split=split)
    (video,) = videos
    assert (videos.name, videos.frame_step, video.has_truth) == (title, step, scored)
    assert starts(video) == given
    assert video.frame(len(video) - 1).shape == (*SIZE, 3)
    assert set(video.object_ids) == {one for ids in given.values() for one in ids}


def test_overlapping_objects_of_sa_v_have_ids_in_the_order_of_their_folders_and_the_smaller_is_on_top(
    tmp_path: Path,
) -> None:
    (video,) = open_dataset("sav", make_sav(tmp_path), split="val")
    assert video.object_names == {1: "000", 2: "001"}
    assert video.wanted_frames == (0, 4, 8, 12, 16, 20, 24) and len(video) == 25
    labels = video.labels(8)
    assert labels is not None and labels[10, 15] == 2 and labels[5, 5] == 1 and video.labels(7) is None
    assert {path.suffix for path in video.files()} == {".jpg", ".png"} and len(list(video.files())) == 25 + 7 + 6


def test_void_of_vost_is_no_object_and_labels_that_lvos_does_not_list_are_background(tmp_path: Path) -> None:
    (video,) = open_dataset("vost", MAKERS["vost"](tmp_path / "vost"), split="val")
    assert np.array_equal(np.unique(video.labels(1)), [0, 1, 4])
    (video,) = open_dataset("lvos", make_lvos(tmp_path / "lvos"), split="valid")
    assert np.array_equal(np.unique(video.labels(5)), [0, 1, 3])


@pytest.mark.parametrize(("name", "split"), [("sav", "val"), ("lvos", "valid"), ("vost", "val"), ("visor", "val")])
def test_training_clips_are_cut_from_the_annotated_frames(name: str, split: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path)
    small = {"batch_size": 1, "workers": 0, "crop": {"size": [32, 48]}, "sampling": {"min_visible_factor": 1}}
    data = VOSDataModule(name, str(root), train_split=split, val_split=split, **small)
    clip = data.clips()[0]
    assert clip.frames.shape[1:] == (3, 32, 48) and (clip.masks[0] > 0).any()


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        *(("sav", ("val",)), ("lvos", ("train", "val")), ("vost", ("train", "val")), ("mose", ("train", "valid"))),
        *(("mosev2", ("train", "valid")), ("visor", ("train", "val"))),
    ],
)
def test_check_data_finds_the_splits(
    name: str, splits: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = MAKERS[name](tmp_path)
    assert find_splits(name, root).names == splits
    known = ("--data", name) if name in ("vost", "mose", "mosev2") else ()  # the others are known by their signs
    assert main(["check-data", str(root), *known]) == 0
    said = capsys.readouterr().out
    assert "problems: 0" in said and "not read" not in said
    if name == "sav":
        assert "sav-val: 1 sequences, 25 frames, 7 with masks" in said and "2, of which 1 start late" in said


def test_a_listed_object_that_no_mask_shows_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_mose(tmp_path, meta=True)
    meta = json.loads((root / "valid" / "meta.json").read_text())
    meta["videos"]["valid1"]["objects"] = ["1", "2", "7"]
    (root / "valid" / "meta.json").write_text(json.dumps(meta))
    assert main(["check-data", str(root), "--data", "mosev2"]) == 0
    assert "valid1/7 is listed, but no mask of its frames shows it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("sav", "test", r"no folder .*sav_test/JPEGImages_24fps.*there: sav_val"),
        ("lvos", "test", r"no folder .*test/JPEGImages.*there: train, val"),
        ("vost", "test", r"no list .*ImageSets/test\.txt; there are ImageSets/train\.txt"),
        ("visor", "val_unseen", r"no list .*2022/val_unseen\.txt"),
    ],
)
def test_a_split_that_is_not_there_is_named_with_those_that_are(
    name: str, split: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(name, MAKERS[name](tmp_path), split=split)


@pytest.mark.parametrize("content", ["[]", '{"videos": {"trainVideo": {}}}', '{"videos": {"a": {"objects": ["x"]}}}'])
def test_a_meta_file_of_another_form_is_named(content: str, tmp_path: Path) -> None:
    root = make_lvos(tmp_path)
    (root / "train" / "train_meta.json").write_text(content)
    with pytest.raises(VOSError, match=r"train_meta\.json: (is not of the form|does not list the objects)"):
        open_dataset("lvos", root, split="train")


def test_a_video_without_masks_is_refused_by_name(tmp_path: Path) -> None:
    root = make_sav(tmp_path)
    for path in (root / "sav_val" / "Annotations_6fps").rglob("*.png"):
        path.unlink()
    with pytest.raises(VOSError, match="sav_000001: no frame has a mask"):
        open_dataset("sav", root, split="val")
