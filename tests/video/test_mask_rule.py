"""What mask values mean is decided once per video: 0/255 is one object, void none."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tests.helpers.mask_files import SIZE, ellipse, folder_of, save_grey, squares
from vos_zoo.cli import main
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.checking import check_dataset, keep_sound
from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.datasets.folder import FolderDataset
from vos_zoo.data.datasets.packing import pack_dataset
from vos_zoo.data.datasets.youtube_vos import YouTubeVosDataset
from vos_zoo.data.opening import open_dataset
from vos_zoo.evaluation import copy_first_mask, evaluate
from vos_zoo.labels import objects_of, shows_one_object
from vos_zoo.metrics import DavisScores, evaluate_davis, evaluate_youtube_vos
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.mask_reader import MaskReader, background_doubt, list_masks
from vos_zoo.video.masks import read_binary_mask, read_mask, write_mask

# -- the rule --------------------------------------------------------------------------------------------------------


@given(st.lists(st.sets(st.sampled_from([0, 1, 2, 7, 254, 255]), max_size=4), max_size=5))
def test_255_is_one_object_exactly_where_no_mask_of_the_video_has_an_id(values: list[set[int]]) -> None:
    maps = [np.array([[0, *own]], dtype=np.uint8) for own in values]
    union = set().union(*values) - {0}
    one_object = shows_one_object(maps)
    assert one_object == (union == {255})
    objects = {int(value) for labels in maps for value in np.unique(objects_of(labels, one_object))} - {0}
    assert objects == ({1} if union == {255} else union - {255})


@pytest.mark.parametrize("save", [save_grey, write_mask], ids=["grey", "palette"])
def test_every_video_of_a_data_set_decides_for_itself(save: Callable[..., None], tmp_path: Path) -> None:
    maps = {
        "white": [squares(255), squares(0), squares(255, 255)],
        "ids": [squares(3, 7)] * 3,
        "void": [squares(3, 255), squares(255), squares(255, 3)],
        "void_first": [squares(255), squares(0, 0, 4), squares(255)],
    }
    data = {sequence.name: sequence for sequence in FolderDataset(folder_of(tmp_path, maps, save))}
    assert {name: sequence.object_ids for name, sequence in data.items()} == {
        "white": (1,),
        "ids": (3, 7),
        "void": (3,),
        "void_first": (4,),
    }
    for name, sequence in data.items():
        for index, labels in enumerate(maps[name]):
            expected = np.where(labels == 255, 1 if name == "white" else 0, labels)
            np.testing.assert_array_equal(sequence.labels(index), expected)
    assert list(data["void_first"].prompts()) == [1]
    assert data["white"].pixel_counts()[1].tolist() == [64, 0, 128]


def test_a_frame_is_read_by_the_rule_of_its_video_even_if_another_mask_is_broken(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"clip": [squares(255), squares(255), squares(2)]})
    (root / "Annotations/clip/00001.png").write_text("no picture")
    sequence = FolderDataset(root)[0]
    assert sequence.labels(0) is not None and not sequence.labels(0).any()  # type: ignore[union-attr]
    report = check_dataset(open_dataset("folder", root, split="train"))
    assert [Path(problem.where).name for problem in report.problems] == ["00001.png"]


def test_bit_masks_are_object_1_and_transparency_of_a_palette_counts_for_nothing(tmp_path: Path) -> None:
    bits = Image.fromarray(squares(255)).convert("1", dither=Image.Dither.NONE)
    bits.save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), squares(1))
    write_mask(tmp_path / "palette.png", squares(1, 2))
    Image.open(tmp_path / "palette.png").save(tmp_path / "clear.png", transparency=bytes([0, 0, 255]))
    np.testing.assert_array_equal(read_mask(tmp_path / "clear.png"), squares(1, 2))


def test_only_as_many_masks_are_read_as_are_needed_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, labels in (("a", squares(1)), ("b", squares(2)), ("c", squares(255))):
        write_mask(tmp_path / f"{name}.png", labels)
    read: list[str] = []

    def counted(path: Path, **options: object) -> np.ndarray:
        read.append(path.stem)
        return read_mask(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("vos_zoo.video.mask_reader.read_mask", counted)
    reader = MaskReader(list_masks(tmp_path).values())
    reader.read(tmp_path / "b.png")
    assert read == ["b"]
    assert not reader.read(tmp_path / "c.png").any()
    assert read == ["b", "c", "a"]


# -- DAVIS 2016 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["L", "P", "RGB blue", "RGBA", "LA", "I;16", "1"])
def test_davis_2016_counts_any_channel_of_every_form(form: str, tmp_path: Path) -> None:
    shape = squares(1) > 0
    blue = np.zeros((*SIZE, 3), dtype=np.uint8)
    blue[shape] = (0, 0, 9)
    grey = Image.fromarray(np.where(shape, 255, 0).astype(np.uint8))
    images = {
        "L": Image.fromarray(np.where(shape, 38, 0).astype(np.uint8)),
        "RGB blue": Image.fromarray(blue),
        "RGBA": Image.fromarray(blue).convert("RGBA"),
        "LA": grey.convert("LA"),
        "I;16": Image.fromarray(np.where(shape, 300, 0).astype(np.uint16)),
        "1": grey.convert("1"),
    }
    if form == "P":
        write_mask(tmp_path / "mask.png", squares(5))
    else:
        images[form].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "mask.png"), shape)


def test_transparent_pixels_are_neither_object_nor_background(tmp_path: Path) -> None:
    alpha = np.full((*SIZE, 4), 255, dtype=np.uint8)
    alpha[..., 3] = squares(255)
    Image.fromarray(alpha).save(tmp_path / "mask.png")
    with pytest.raises(VOSError, match="transparent pixels"):
        read_binary_mask(tmp_path / "mask.png")


def test_the_year_2016_and_a_threshold_reach_the_masks_of_davis(tmp_path: Path) -> None:
    values = np.array(ellipse().filter(ImageFilter.GaussianBlur(2)))
    for kind, name, image in (
        ("JPEGImages", "00000.jpg", Image.new("RGB", (SIZE[1], SIZE[0]))),
        ("Annotations", "00000.png", Image.fromarray(values)),
    ):
        (tmp_path / kind / "480p" / "dog").mkdir(parents=True)
        image.save(tmp_path / kind / "480p" / "dog" / name)
    (tmp_path / "ImageSets/2016").mkdir(parents=True)
    (tmp_path / "ImageSets/2016/val.txt").write_text("dog\n")
    np.testing.assert_array_equal(DavisDataset(tmp_path, year=2016)[0].labels(0), values > 0)
    np.testing.assert_array_equal(DavisDataset(tmp_path, year=2016, mask_threshold=128)[0].labels(0), values >= 128)


# -- the order of a palette ------------------------------------------------------------------------------------------


def test_a_palette_that_starts_with_the_objects_colour_is_doubted(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)
    colours[squares(1) > 0] = (255, 0, 0)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "red.png")
    doubt = background_doubt(tmp_path / "red.png")
    assert doubt is not None and "red.png" in doubt and "colour (255, 0, 0)" in doubt and "no border" in doubt
    assert "save the mask with the background as 0" in doubt


def test_an_inverted_mask_is_doubted_in_any_form_and_a_usual_one_is_not(tmp_path: Path) -> None:
    save_grey(tmp_path / "inverted.png", 255 - squares(255))
    assert "touches no border" in str(background_doubt(tmp_path / "inverted.png"))
    touching = 255 - squares(255)
    touching[-9:, 10:30] = 0  # the object touches the lower border
    save_grey(tmp_path / "touching.png", touching)
    assert "less of the image border than value 255" in str(background_doubt(tmp_path / "touching.png"))
    for name, labels in (("usual", squares(1, 2)), ("large", np.pad(np.ones((40, 64), np.uint8), ((8, 0), (0, 0))))):
        write_mask(tmp_path / f"{name}.png", labels)
    assert background_doubt(tmp_path / "usual.png") is None
    crowd = np.zeros(SIZE, dtype=np.uint8)
    for identity in range(1, 6):
        crowd[:, 10 * identity : 10 * identity + 9] = identity
    write_mask(tmp_path / "crowd.png", crowd)
    assert background_doubt(tmp_path / "crowd.png") is None


def test_a_data_set_with_doubtful_backgrounds_warns_once_and_check_data_lists_them(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"a": [255 - squares(255)] * 2, "b": [255 - squares(255)] * 2}, save_grey)
    with pytest.warns(UserWarning, match=r"a.00000\.png: value 0, the background.*2 such masks") as caught:
        keep_sound(open_dataset("folder", root, split="train"))
    assert len(caught) == 1
    report = check_dataset(open_dataset("folder", root, split="train"))
    assert report.sound and len(report.notes) == 2 and "value 0, the background" in report.notes[0]
    fine = folder_of(tmp_path / "fine", {"a": [squares(1)] * 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_sound(open_dataset("folder", fine, split="train"))


# -- metrics ---------------------------------------------------------------------------------------------------------


def test_the_metric_class_follows_the_rule_and_refuses_what_would_wrap_around() -> None:
    truth = np.stack([squares(1)] * 4).astype(np.int64)
    for predicted, true in ((truth, 255 * truth), (255 * truth, truth), (255 * truth, 255 * truth), (truth > 0, truth)):
        metric = DavisScores()
        metric.update(predicted, true)
        assert float(metric.compute()["J-Mean"]) == 1.0
    for wrong in (256 * truth, truth.astype(np.float32), -truth):
        with pytest.raises(UsageError, match="the prediction"):
            DavisScores().update(wrong, truth)
    with pytest.raises(VOSError, match="label 255"):
        DavisScores().update(255 * truth, np.stack([squares(1, 2)] * 4))


# -- through the program ---------------------------------------------------------------------------------------------


def test_a_data_set_of_0_255_masks_is_tracked_scored_and_written_as_object_1(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"clip": [squares(255)] * 5}, save_grey)
    videos = open_dataset("folder", root, split="val")
    report = evaluate(copy_first_mask, videos, output=tmp_path / "out", progress=False, overlays=0)
    assert [(score.object_id, score.region.mean) for score in report.objects] == [(1, 1.0)]
    np.testing.assert_array_equal(read_mask(tmp_path / "out/masks/clip/00004.png"), squares(1))
    scores, _ = track_and_score(copy_first_mask, videos[0])
    assert scores is not None and [one.object_id for one in scores.objects] == [1]
    (tmp_path / "DAVIS" / "Annotations").mkdir(parents=True)
    (root / "Annotations").rename(tmp_path / "DAVIS/Annotations/480p")
    official = evaluate_davis(tmp_path / "out/masks", tmp_path / "DAVIS", sequences=["clip"])
    assert official.scores["J&F-Mean"] == 1.0


def test_the_threshold_of_the_configuration_reaches_validation_training_and_mixtures(tmp_path: Path) -> None:
    soft = np.array(ellipse().filter(ImageFilter.GaussianBlur(1)))
    root = folder_of(tmp_path, {"clip": [soft] * 8}, save_grey)
    data = VOSDataModule("folder", str(root), mask_threshold=128)
    assert [data.videos(part)[0].object_ids for part in ("train", "val", "test")] == [(1,)] * 3
    with pytest.raises(VOSError, match="soft edges"):
        VOSDataModule("folder", str(root)).videos("val")
    sampling = {"query_frames": 1, "min_visible_factor": 1}
    part = {"name": "folder", "root": str(root), "mask_threshold": 128}
    mixed = VOSDataModule("folder", str(root), sampling=sampling, mixture={"soft": part})
    assert mixed.clips()[0].masks.any()
    with pytest.raises(VOSError, match="soft edges"):
        VOSDataModule("folder", sampling=sampling, mixture={"soft": {**part, "mask_threshold": None}}).clips()


def test_check_data_takes_the_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft = np.array(ellipse().filter(ImageFilter.GaussianBlur(1)))
    root = folder_of(tmp_path, {"clip": [soft] * 3}, save_grey)
    assert main(["check-data", str(root)]) == 1
    assert "00000.png: has soft edges" in capsys.readouterr().out
    assert main(["check-data", str(root), "data.mask_threshold=128"]) == 0
    assert "objects: 1," in capsys.readouterr().out
    assert main(["check-data", str(root), "data.mask_threshold=256"]) == 2


def test_a_pack_holds_the_objects_and_is_made_anew_for_another_threshold(tmp_path: Path) -> None:
    white = folder_of(tmp_path / "white", {"clip": [squares(255)] * 2}, save_grey)
    packed = pack_dataset(open_dataset("folder", white, split="train"), tmp_path / "pack")[0]
    assert packed.object_ids == (1,)
    np.testing.assert_array_equal(packed.labels(1), squares(1))
    soft = np.array(ellipse().filter(ImageFilter.GaussianBlur(2)))
    root = folder_of(tmp_path / "soft", {"clip": [soft] * 2}, save_grey)
    for threshold in (64, 192):
        videos = open_dataset("folder", root, split="train", mask_threshold=threshold)
        np.testing.assert_array_equal(pack_dataset(videos, tmp_path / "pack")[0].labels(0), soft >= threshold)


def test_youtube_vos_follows_the_rule_and_lists_no_object_255(tmp_path: Path) -> None:
    home = folder_of(tmp_path / "valid", {"white": [squares(255)] * 2, "void": [squares(255), squares(4, 255)]})
    listed = {name: {"objects": {"1": {"category": "cat", "frames": ["00000"]}}} for name in ("white", "void")}
    listed["void"]["objects"] = {"4": {"category": "cat", "frames": ["00001"]}}
    (home / "meta.json").write_text(json.dumps({"videos": listed}))
    videos = {video.name: video for video in YouTubeVosDataset(tmp_path, "valid")}
    assert {name: list(video.prompts()) for name, video in videos.items()} == {"white": [0], "void": [1]}
    np.testing.assert_array_equal(videos["void"].labels(1), squares(4))
    listed["white"]["objects"] = {"255": {"category": "cat", "frames": []}}
    (home / "meta.json").write_text(json.dumps({"videos": listed}))
    with pytest.raises(VOSError, match="object id 255, ids go from 1 to 254"):
        YouTubeVosDataset(tmp_path, "valid")


def test_the_youtube_vos_estimate_reads_0_255_results_of_one_object(tmp_path: Path) -> None:
    frames = [f"{index:05d}" for index in range(4)]
    for index, name in enumerate(frames):
        write_mask(tmp_path / "data/Annotations/clip" / f"{name}.png", squares(1))
        write_mask(tmp_path / "results/clip" / f"{name}.png", squares(255 if index else 0))
    meta = {"videos": {"clip": {"objects": {"1": {"category": "cat", "frames": frames}}}}}
    (tmp_path / "data/meta.json").write_text(json.dumps(meta))
    assert evaluate_youtube_vos(tmp_path / "results", tmp_path / "data").scores["G"] == 1.0


def test_a_coloured_mask_of_one_object_is_refused_with_the_way_to_read_it(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)
    colours[squares(1) > 0] = (0, 200, 0)
    Image.fromarray(colours).save(tmp_path / "green.png")
    with pytest.raises(VOSError, match=r"mode RGB.*--mask-threshold 1, data\.mask_threshold=1"):
        read_mask(tmp_path / "green.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "green.png", threshold=1), squares(1))
    Image.fromarray(squares(3)).convert("LA").save(tmp_path / "alpha.png")
    with pytest.raises(VOSError, match="has an alpha channel; save it as"):
        read_mask(tmp_path / "alpha.png")
