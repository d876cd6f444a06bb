"""What mask values mean is decided once per video: 0/255 is one object, void none; soft and JPEG masks are refused."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from vos_zoo.cli import main
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.checking import check_dataset, keep_sound
from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.datasets.folder import FolderDataset
from vos_zoo.data.datasets.packing import pack_dataset
from vos_zoo.data.datasets.youtube_vos import YouTubeVosDataset
from vos_zoo.data.opening import open_dataset
from vos_zoo.evaluation import copy_first_mask, evaluate
from vos_zoo.labels import has_soft_edges, objects_of, shows_one_object
from vos_zoo.metrics import DavisScores, evaluate_davis, evaluate_youtube_vos
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.mask_reader import MaskReader, background_doubt, list_masks
from vos_zoo.video.masks import read_binary_mask, read_mask, write_mask

SIZE = (48, 64)


def squares(*ids: int) -> np.ndarray:
    """A square of 8x8 pixels per id, side by side."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    for column, identity in enumerate(ids):
        labels[10:18, 4 + 12 * column : 12 + 12 * column] = identity
    return labels


def folder_of(root: Path, videos: dict[str, list[np.ndarray]], save: Callable[..., None] = write_mask) -> Path:
    """A data set of videos with these masks, one per frame."""
    for name, maps in videos.items():
        for index, labels in enumerate(maps):
            frame = root / "JPEGImages" / name / f"{index:05d}.jpg"
            frame.parent.mkdir(parents=True, exist_ok=True)
            (root / "Annotations" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIZE[1], SIZE[0]), (90, 20 * index, 50)).save(frame)
            save(root / "Annotations" / name / f"{index:05d}.png", labels)
    return root


def save_grey(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels).save(path)


def ellipse(level: int = 255, size: int = 20, at: tuple[int, int] = (8, 8)) -> Image.Image:
    image = Image.new("L", (SIZE[1], SIZE[0]))
    ImageDraw.Draw(image).ellipse([*at, at[0] + size, at[1] + size], fill=level)
    return image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


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


@settings(max_examples=60, deadline=None)
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
    assert [(score.id, score.mean_j) for score in report.objects] == [(1, 1.0)]
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
