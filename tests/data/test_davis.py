"""DAVIS folders open in their true layouts, say what is broken by name, and start every object in its frame."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.data_folders import SIZE, label_map, names, write_frames, write_masks
from vos_zoo.cli import main
from vos_zoo.data.datasets.checking import check_dataset, find_problems, keep_sound
from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """Two full sequences and one with late objects, as the 2017 archive lays them out."""
    root = tmp_path / "DAVIS"
    for name in ("bear", "camel"):
        write_frames(root / "JPEGImages/480p" / name, names(5))
        write_masks(root / "Annotations/480p" / name, dict.fromkeys(names(5), (1, 2)))
    write_frames(root / "JPEGImages/480p/late", names(6, start=693, digits=8))
    write_masks(root / "Annotations/480p/late", {"00000693": (1,), "00000696": (7, 3)})
    lists = root / "ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("camel\nbear\n")
    (lists / "demo.txt").write_text("late\n")
    return root


def test_a_davis_folder_opens_in_the_order_of_its_list(davis: Path) -> None:
    data = DavisDataset(davis, "val")
    assert [sequence.name for sequence in data] == ["camel", "bear"]
    sequence = data[0]
    assert len(sequence) == 5
    assert sequence.object_ids == (1, 2)
    assert sequence.has_truth
    assert sequence.frame(3).shape == (*SIZE, 3)
    assert sequence.frame(3)[0, 0].astype(int) == pytest.approx([30, 100, 50], abs=3)
    prompts = sequence.prompts()
    assert list(prompts) == [0]
    np.testing.assert_array_equal(prompts[0], label_map(1, 2))
    np.testing.assert_array_equal(sequence.pixel_counts()[2], [40] * 5)
    assert len(data[0:2]) == 2


def test_later_masks_of_new_objects_only_make_a_sparse_sequence_without_truth(davis: Path) -> None:
    sequence = DavisDataset(davis, "demo")[0]
    assert sequence.frame_names[0] == "00000693"
    assert sequence.sparse
    assert not sequence.has_truth
    assert sequence.object_ids == (1, 3, 7)
    prompts = sequence.prompts()
    assert {index: sorted(set(np.unique(labels)) - {0}) for index, labels in prompts.items()} == {0: [1], 3: [3, 7]}
    assert sequence.labels(1) is None


def test_an_object_that_enters_a_fully_annotated_video_starts_there_alone(davis: Path) -> None:
    write_masks(davis / "Annotations/480p/bear", {"00000": (1,), "00001": (1,)})
    sequence = DavisDataset(davis, "val", sequences=["bear"])[0]
    assert not sequence.sparse
    assert sequence.has_truth
    assert {index: sorted(set(np.unique(labels)) - {0}) for index, labels in sequence.prompts().items()} == {
        0: [1],
        2: [2],
    }


def test_a_test_set_with_first_masks_only_has_no_truth(davis: Path) -> None:
    for stem in names(5)[1:]:
        (davis / f"Annotations/480p/bear/{stem}.png").unlink()
    sequence = DavisDataset(davis, sequences=["bear"])[0]
    assert not sequence.has_truth
    assert sequence.labels(1) is None
    assert list(sequence.prompts()) == [0]


def test_the_pair_lists_of_the_2016_archive_and_its_grey_masks_are_read(tmp_path: Path) -> None:
    write_frames(tmp_path / "JPEGImages/480p/dog", names(3))
    folder = tmp_path / "Annotations/480p/dog"
    folder.mkdir(parents=True)
    values = np.where(label_map(1, 2) > 0, 255, 0).astype(np.uint8)
    values[0, 0] = 64
    Image.fromarray(values).save(folder / "00000.png")
    Image.fromarray(np.stack([values, values * 0, values * 0], axis=-1)).save(folder / "00001.png")
    Image.fromarray(values).save(folder / "00002.png")
    (tmp_path / "ImageSets/480p").mkdir(parents=True)
    lines = [f"/JPEGImages/480p/dog/{n}.jpg /Annotations/480p/dog/{n}.png" for n in names(3)]
    (tmp_path / "ImageSets/480p/val.txt").write_text("\n".join(lines) + "\n")
    data = DavisDataset(tmp_path, "val", year=2016)
    assert [sequence.name for sequence in data] == ["dog"]
    assert data[0].object_ids == (1,)
    for index in range(3):
        labels = data[0].labels(index)
        assert labels is not None
        np.testing.assert_array_equal(labels, values > 0)


def test_full_resolution_and_test_dev_open_and_are_reported(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / kind / "480p" / "bear", davis / kind / "Full-Resolution" / "bear")
    (davis / "ImageSets/2017/test-dev.txt").write_text("bear\n")
    for stem in names(5)[1:]:
        (davis / f"Annotations/Full-Resolution/bear/{stem}.png").unlink()
    sequence = DavisDataset(davis, "test-dev", resolution="Full-Resolution")[0]
    assert list(sequence.prompts()) == [0]
    assert not sequence.has_truth
    assert sequence.wanted_frames is None
    assert main(["check-data", str(davis), "data.resolution=Full-Resolution", "data.test_split=test-dev"]) == 1
    shown = capsys.readouterr().out
    assert "camel: the frames are missing" in shown  # of val, in this resolution
    assert "split test-dev\ndavis2017-test-dev: 1 sequences, 5 frames, 1 with masks" in shown
    assert "without complete ground truth (no scores): 1 (bear)" in shown


def test_the_lists_of_the_2016_archive_name_its_resolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for resolution in ("480p", "1080p"):
        write_frames(tmp_path / "JPEGImages" / resolution / "dog", names(3))
        write_masks(tmp_path / "Annotations" / resolution / "dog", dict.fromkeys(names(3), (255,)))
        lists = tmp_path / "ImageSets" / resolution
        lists.mkdir(parents=True)
        lines = [f"/JPEGImages/{resolution}/dog/{n}.jpg /Annotations/{resolution}/dog/{n}.png" for n in names(3)]
        (lists / "train.txt").write_text("\n".join(lines))
    assert main(["check-data", str(tmp_path), "data.year=2016", "data.resolution=1080p"]) == 0
    shown = capsys.readouterr().out
    assert "split train\ndavis2016-train: 1 sequences, 3 frames, 3 with masks" in shown
    assert "objects: 1, of which 0 start late" in shown
    assert "ids with gaps or not from 1: 0" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"split": "trian"},
            r"trian\.txt: there is no such list; there are 2017/demo\.txt, 2017/val\.txt",
        ),
        ({"year": 2018}, "year 2018"),
        ({"resolution": "1080p"}, "data.resolution can be 480p"),
        ({"sequences": ["baer"]}, "no sequence 'baer'.* bear"),
    ],
)
def test_wrong_requests_name_the_thing_and_what_there_is(davis: Path, arguments: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=message):
        DavisDataset(davis, **arguments)


def test_a_listed_sequence_without_frames_stops_the_opening_or_is_left_out_by_name(davis: Path) -> None:
    (davis / "ImageSets/2017/val.txt").write_text("bear\ngone\n")
    with pytest.raises(VOSError, match="gone: the frames are missing"):
        DavisDataset(davis)
    with pytest.warns(UserWarning, match="left out: gone"):
        data = DavisDataset(davis, skip_broken=True)
    assert [sequence.name for sequence in data] == ["bear"]
    with pytest.warns(UserWarning, match="left out"):
        report = check_dataset(open_dataset("davis", davis, skip_broken=True))
    assert not report.sound
    assert "gone: the frames are missing" in str(report)


def break_something(root: Path, kind: str) -> str:
    """Break one file of the sequence bear; returns its name."""
    frames, masks = root / "JPEGImages/480p/bear", root / "Annotations/480p/bear"
    if kind == "cut frame":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(
            frames / "00002.jpg"
        )
        content = (frames / "00002.jpg").read_bytes()
        (frames / "00002.jpg").write_bytes(content[: len(content) // 2])
        return "00002.jpg"
    if kind == "text frame":
        (frames / "00003.jpg").write_text("no picture")
        return "00003.jpg"
    if kind == "rgb mask":
        Image.new("RGB", SIZE[::-1]).save(masks / "00001.png")
        return "00001.png"
    if kind == "mask size":
        write_mask(masks / "00004.png", np.ones((SIZE[0], SIZE[1] - 1), np.uint8))
        return "00004.png"
    if kind == "stray mask":
        write_mask(masks / "00077.png", label_map(1))
        return "00077.png"
    if kind == "frame size":
        write_frames(frames, ["00004"], (SIZE[0] + 2, SIZE[1]))
        return "bear: its frames differ in size"
    for stem in names(5):
        write_mask(masks / f"{stem}.png", label_map())
    return "bear: all its masks are empty"


@pytest.mark.parametrize(
    "kind", ["cut frame", "text frame", "rgb mask", "mask size", "stray mask", "frame size", "empty masks"]
)
def test_broken_files_are_named_before_the_first_step_and_the_rest_can_go_on(davis: Path, kind: str) -> None:
    where = break_something(davis, kind)
    with pytest.raises(VOSError, match="skip_broken") as caught:
        keep_sound(DavisDataset(davis))
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="left out 1 sequences"):
        rest = keep_sound(DavisDataset(davis), skip_broken=True)
    assert [sequence.name for sequence in rest] == ["camel"]
    report = check_dataset(DavisDataset(davis))
    assert not report.sound
    assert where in str(report)


def test_several_broken_files_are_all_listed_once(davis: Path) -> None:
    found = [break_something(davis, kind) for kind in ("cut frame", "rgb mask", "mask size", "stray mask")]
    problems = find_problems(DavisDataset(davis, sequences=["bear"])[0], decode=True)
    assert len(problems) == 4
    for where in found:
        assert sum(where in problem.where for problem in problems) == 1


def test_a_data_set_of_broken_sequences_only_is_refused(davis: Path) -> None:
    break_something(davis, "text frame")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(VOSError, match="every sequence is broken"):
        keep_sound(DavisDataset(davis, sequences=["bear"]), skip_broken=True)


def test_the_report_counts_what_is_there(davis: Path) -> None:
    report = check_dataset(DavisDataset(davis, "demo"))
    assert report.sound
    assert (report.sequences, report.frames, report.annotated, report.objects) == (1, 6, 2, 3)
    assert report.late_objects == ["late/3", "late/7"]
    assert report.id_gaps == ["late"]
    assert report.without_truth == ["late"]
    assert report.sizes == {"40x24": 1}
    assert "3, of which 2 start late" in str(report)
    assert check_dataset(DavisDataset(davis)).without_truth == []


def test_opening_by_name_knows_its_data_sets_and_wants_a_folder(davis: Path) -> None:
    assert len(open_dataset("davis", davis, split="val")) == 2
    assert len(open_dataset("folder", davis)) == 3
    with pytest.raises(UsageError, match="did you mean 'davis'"):
        open_dataset("davs", davis)
    with pytest.raises(UsageError, match=r"there are davis, youtube_vos, folder, .*synthetic"):
        open_dataset("kinetics", davis)
    with pytest.raises(UsageError, match=r"data\.root"):
        open_dataset("davis")


def test_the_real_davis_pack_opens_whole(data_dir: Path) -> None:
    root = data_dir / "davis16_480p_part"
    if not root.is_dir():
        pytest.skip("the DAVIS pack is not on this machine")
    data = DavisDataset(root, "val", year=2016)
    assert len(data) == 8
    assert sum(len(sequence) for sequence in data) == 503
    sequence = data[0]
    assert sequence.object_ids == (1,)
    assert sequence.has_truth
    assert sequence.frame(0).shape == (480, 854, 3)
    assert find_problems(sequence) == []


def test_the_real_late_objects_start_in_their_own_frames(data_dir: Path) -> None:
    root = data_dir / "multi_object_demo"
    if not root.is_dir():
        pytest.skip("the multi-object pack is not on this machine")
    data = DavisDataset(root, "val")
    judo = next(sequence for sequence in data if sequence.name == "judo")
    assert judo.object_ids == (1, 2, 3, 4)
    starts = {index: sorted(set(np.unique(labels)) - {0}) for index, labels in judo.prompts().items()}
    assert starts == {0: [1], 5: [2], 8: [3], 13: [4]}
    assert not any(sequence.has_truth for sequence in data)
    crowd = next(sequence for sequence in data if sequence.name.startswith("1001"))
    assert len(crowd.object_ids) == 44
    assert crowd.frame_names[0] == "00002058"


@pytest.mark.parametrize("count", [1, 2])
def test_a_video_of_two_frames_is_too_short_rather_than_without_truth(tmp_path: Path, count: int) -> None:
    write_frames(tmp_path / "JPEGImages/short", names(count))
    write_masks(tmp_path / "Annotations/short", dict.fromkeys(names(count), (1,)))
    data = open_dataset("folder", tmp_path)
    assert not data[0].has_truth and data[0].has_labels(range(count))
    report = check_dataset(data)
    assert (report.too_short, report.without_truth) == (["short"], [])
    assert "too short to be scored (fewer than 3 frames): 1 (short)" in str(report)


def test_generated_videos_of_two_frames_are_too_short_to_be_scored() -> None:
    settings = {"size": (32, 48), "val_videos": 1}
    assert not open_dataset("synthetic", split="val", synthetic={**settings, "frames": 2})[0].has_truth
    assert open_dataset("synthetic", split="val", synthetic={**settings, "frames": 3})[0].has_truth
