"""YouTube-VOS in its true layout: lists of objects decide starts and wanted frames, and oddities are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.data_folders import label_map, names, write_frames, write_masks
from vos_zoo.cli import main
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.checking import check_dataset, find_problems, keep_sound
from vos_zoo.data.datasets.youtube_vos import YouTubeVosDataset, published_list
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError, VOSError

TRAINED, HELD_OUT, FAULTY, HELD = "003234408d", "031ccc99b1", "5bc77844da", "2bf8bf0a3c"


def write_meta(folder: Path, videos: dict[str, dict[int, list[str]]]) -> None:
    listed = {
        name: {"objects": {str(i): {"category": "dog", "frames": frames} for i, frames in objects.items()}}
        for name, objects in videos.items()
    }
    (folder / "meta.json").write_text(json.dumps({"videos": listed}))


def video(folder: Path, name: str, masks: dict[str, tuple[int, ...]], stems: list[str]) -> None:
    write_frames(folder / "JPEGImages" / name, stems)
    write_masks(folder / "Annotations" / name, masks)


@pytest.fixture
def youtube(tmp_path: Path) -> Path:
    """The 2019 folder: three training videos, one with a wrong start and a gap in its ids; valid and its all frames."""
    root, fives = tmp_path / "YouTube", names(8, step=5)
    train, valid = root / "train", root / "valid"
    jjtrain, jjvalid = TRAINED, HELD_OUT
    both = dict.fromkeys(fives, (1, 4))
    video(train, jjtrain, both, fives)
    video(train, jjvalid, {**both, "00000": (1,), "00005": (1,)}, fives)
    video(train, FAULTY, dict.fromkeys(fives, (1,)), fives)
    objects = {1: fives, 4: fives}
    write_meta(train, {jjtrain: objects, jjvalid: {**objects, 7: fives[2:]}, FAULTY: {1: fives}})
    video(valid, HELD, {"00005": (3,), "00015": (2,)}, fives)
    write_meta(valid, {HELD: {3: fives[1:6], 2: fives[3:]}})
    write_frames(root / "valid_all_frames" / "JPEGImages" / HELD, names(38))
    return root


def test_the_published_lists_are_the_3471_training_videos_without_overlap() -> None:
    train, held, faulty = (published_list(name) for name in ("jjtrain", "jjvalid", "erroneous"))
    assert (len(train), len(held), len(faulty)) == (3171, 300, 7)
    assert not train & held
    assert faulty <= train | held
    assert {"0e27472bea", "5937b08d69", "5e1ce354fd", "7053e4f41e", "720e3fa04c", "c73c8e747f"} <= train
    assert faulty & held == {"01e64dd36a", "04259896e2", "738e5a0a14"}


def test_splits_of_train_follow_the_published_lists(youtube: Path) -> None:
    counts = {split: len(YouTubeVosDataset(youtube, split)) for split in ("train", "train3464", "jjtrain", "jjvalid")}
    assert counts == {"train": 3, "train3464": 2, "jjtrain": 2, "jjvalid": 1}
    assert YouTubeVosDataset(youtube, "train").frame_step == 5
    assert YouTubeVosDataset(youtube, "valid_all_frames").frame_step == 1


def test_an_object_starts_where_listed_or_in_the_first_listed_frame_that_shows_it(youtube: Path) -> None:
    sequence = YouTubeVosDataset(youtube, "jjvalid")[0]
    assert sequence.object_ids == (1, 4)
    prompts = {index: sorted(set(np.unique(labels)) - {0}) for index, labels in sequence.prompts().items()}
    assert prompts == {0: [1], 2: [4]}
    assert sequence.has_truth
    assert sequence.notes == [
        f"{sequence.name}/4 starts in 00010, not 00000 as listed",
        f"{sequence.name}/7 is listed, but no mask of its frames shows it",
    ]
    assert find_problems(sequence) == []


def test_late_objects_of_valid_are_given_where_they_start_and_zeros_say_nothing(youtube: Path) -> None:
    sequence = YouTubeVosDataset(youtube, "valid")[0]
    assert sequence.object_ids == (3, 2)
    prompts = sequence.prompts()
    assert list(prompts) == [1, 3]
    np.testing.assert_array_equal(prompts[1] == 3, label_map(3) == 3)
    assert set(np.unique(prompts[3])) == {0, 2}
    assert sequence.wanted_frames == (1, 2, 3, 4, 5, 6, 7)
    assert not sequence.has_truth
    assert sequence.sparse


def test_all_frames_are_read_at_full_rate_and_the_listed_ones_are_wanted(youtube: Path) -> None:
    sequence = YouTubeVosDataset(youtube, "valid_all_frames")[0]
    assert len(sequence) == 38
    assert list(sequence.prompts()) == [5, 15]
    assert sequence.wanted_frames == (5, 10, 15, 20, 25, 30, 35)
    assert [sequence.frame_names[index] for index in sequence.wanted_frames] == names(7, start=5, step=5)
    assert sequence.frame(36).shape == (24, 40, 3)
    assert not sequence.has_truth
    assert sequence.labels(6) is None


def test_other_data_sets_want_every_frame(youtube: Path) -> None:
    assert open_dataset("folder", youtube, split="valid")[0].wanted_frames is None


@pytest.mark.parametrize(
    ("form", "year"),
    [("{split}", 2019), ("{year}/{split}", 2018), ("all_frames/{split}", 2019), ("YouTube2018/{split}", 2018)],
)
def test_the_usual_nestings_are_found(youtube: Path, tmp_path: Path, form: str, year: int) -> None:
    root = tmp_path / "moved"
    for split in ("valid", "valid_all_frames"):
        nested = form if "all_frames/" not in form or "all" in split else "{split}"
        shutil.copytree(youtube / split, root / nested.format(split=split, year=year))
    assert len(YouTubeVosDataset(root, "valid_all_frames", year)) == 1
    assert len(YouTubeVosDataset(root, "valid", year)) == 1


def test_any_other_nesting_is_named(youtube: Path, tmp_path: Path) -> None:
    shutil.copytree(youtube / "valid", tmp_path / "mine" / "yt19-valid")
    with pytest.raises(UsageError, match=r"JPEGImages of split valid .*looked in valid, 2019/valid.*data\.layout"):
        YouTubeVosDataset(tmp_path / "mine", "valid")
    assert len(YouTubeVosDataset(tmp_path / "mine", "valid", layout="yt19-{split}")) == 1
    with pytest.raises(UsageError, match=r"data\.layout: .* \{split\} and \{year\} only"):
        YouTubeVosDataset(tmp_path / "mine", "valid", layout="{set}/{split}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split 'val' is not known; there are train, train3464"),
        ({"split": "train_all_frames"}, "is not known"),
        ({"year": 2017}, r"year 2017 .* 2018 or 2019"),
        ({"split": "valid", "sequences": ["2bf8bf0a3d"]}, f"no sequence '2bf8bf0a3d'.* {HELD}"),
    ],
)
def test_wrong_requests_name_the_thing_and_what_there_is(youtube: Path, arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        YouTubeVosDataset(youtube, **arguments)


def test_missing_pieces_are_listed_once_by_name_and_skipped_where_asked(youtube: Path) -> None:
    train = youtube / "train"
    broken = sorted(path.name for path in (train / "JPEGImages").iterdir())[:2]
    (train / "JPEGImages" / broken[0] / "00010.jpg").unlink()
    (train / "JPEGImages" / broken[0] / "00015.jpg").unlink()
    shutil.rmtree(train / "Annotations" / broken[1])
    with pytest.raises(VOSError, match=f"{broken[0]}: frame 00010 and 1 more listed.*{broken[1]}: no frame has a mask"):
        YouTubeVosDataset(youtube, "train")
    with pytest.warns(UserWarning, match=f"{broken[0]}: frame 00010") as caught:
        data = YouTubeVosDataset(youtube, "train", skip_broken=True)
    assert len(caught) == 1
    assert len(data) == 1
    assert {problem.where for problem in data.problems} == set(broken)


def test_a_missing_or_strange_list_of_objects_is_refused(youtube: Path) -> None:
    meta = youtube / "valid" / "meta.json"
    meta.write_text('{"videos": {"a": {"objects": {"300": {"category": "x", "frames": []}}}}}')
    with pytest.raises(VOSError, match=r"meta\.json: is not a meta\.json .*object id 300"):
        YouTubeVosDataset(youtube, "valid")
    meta.unlink()
    with pytest.raises(UsageError, match=r"meta\.json: there is no such file"):
        YouTubeVosDataset(youtube, "valid")


def test_a_truncated_frame_is_found_before_training_by_name(youtube: Path) -> None:
    path = next((youtube / "train" / "JPEGImages").glob("*/00020.jpg"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(VOSError, match=r"00020\.jpg"):
        keep_sound(YouTubeVosDataset(youtube, "train"))
    with pytest.warns(UserWarning, match=r"left out 1 sequences.*00020\.jpg"):
        assert len(keep_sound(YouTubeVosDataset(youtube, "train"), skip_broken=True)) == 2


def test_training_and_validation_on_the_published_split(youtube: Path) -> None:
    data = VOSDataModule(
        "youtube_vos",
        str(youtube),
        2019,
        train_split="jjtrain",
        val_split="jjvalid",
        canvas="frame",
        batch_size=2,
        workers=0,
        batches_per_epoch=2,
        crop={"size": [24, 24]},
        sampling={"query_frames": 2, "objects": 2},
        gaps={"limits": [[0, 10]]},
        augment={"flip": 0},
    )
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch.frames.shape == (2, 3, 3, 24, 24)
    assert data.clips().sampler.frame_steps == (5,)  # type: ignore[union-attr]
    assert [video.name for video in data.val_dataloader()] == [HELD_OUT]


def test_ids_that_are_not_listed_are_background(youtube: Path) -> None:
    write_masks(youtube / "train" / "Annotations" / HELD_OUT, {"00035": (1, 9)})
    sequence = YouTubeVosDataset(youtube, "jjvalid")[0]
    labels = sequence.labels(7)
    assert labels is not None
    assert set(np.unique(labels)) == {0, 1}
    assert sequence.object_ids == (1, 4)


def test_check_data_counts_and_names_what_is_odd(youtube: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check_dataset(YouTubeVosDataset(youtube, "train"))
    assert report.sound
    assert (report.sequences, report.frames, report.annotated, report.objects) == (3, 24, 24, 5)
    assert len(report.id_gaps) == 2
    assert len(report.late_objects) == 1
    assert len(report.notes) == 2
    assert main(["check-data", str(youtube)]) == 0
    shown = capsys.readouterr().out
    for split in ("split jjtrain", "split jjvalid", "split valid_all_frames"):
        assert split in shown
    assert "starts in 00010, not 00000 as listed" in shown
    assert f"without complete ground truth (no scores): 1 ({HELD})" in shown
