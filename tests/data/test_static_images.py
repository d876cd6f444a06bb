"""Static images: COCO instances and saliency folders in their true layouts, and what is broken in them by name."""

from __future__ import annotations

import json
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vos_zoo.config.layers import RunConfig
from vos_zoo.data.datasets.checking import check_dataset
from vos_zoo.data.datasets.coco import CocoDataset, CocoTable, coco_masks
from vos_zoo.data.datasets.static_images import REPEATS, SaliencyDataset, find_pairs, read_soft_mask
from vos_zoo.data.opening import open_dataset
from vos_zoo.tasks.data import run_check_data
from vos_zoo.types import Box, UsageError, VOSError

RECTANGLE = [2.0, 3.0, 10.0, 3.0, 10.0, 9.0, 2.0, 9.0]  # columns 2..9, rows 3..8


def annotation(identity: int, image: int, **changes: Any) -> dict[str, Any]:
    """An annotation as the published file holds it."""
    usual = {
        "id": identity,
        "image_id": image,
        "category_id": 18,
        "bbox": [2.25, 3.0, 7.5, 6.0],
        "area": 45.0,
        "iscrowd": 0,
        "segmentation": [RECTANGLE],
    }
    return {**usual, **changes}


def write_coco(root: Path, annotations: list[dict[str, Any]], pictures: Path, split: str = "train2017") -> Path:
    """Two pictures of 16x24, ids 9 and 25, and their annotations."""
    pictures.mkdir(parents=True, exist_ok=True)
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 16, "width": 24, "license": 3} for n in (9, 25)]
    for image in images:
        colour = (int(image["id"]) * 8, 90, 60)
        Image.new("RGB", (24, 16), colour).save(pictures / str(image["file_name"]), quality=95)
    (root / "annotations").mkdir(exist_ok=True)
    content = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 18, "name": "dog"}]}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    run_lengths = {"size": [16, 24], "counts": [0, 16, 368]}
    return write_coco(
        tmp_path / "coco",
        [
            annotation(501, 25),
            annotation(502, 9, segmentation=[RECTANGLE, [14.0, 3.0, 18.0, 3.0, 18.0, 9.0, 14.0, 9.0]]),
            annotation(503, 9, iscrowd=1, segmentation=run_lengths),
            annotation(504, 9, segmentation=run_lengths, area=16.0, bbox=[0, 0, 1, 16]),
        ],
        tmp_path / "coco" / "images" / "train2017",
    )


def test_every_instance_that_is_no_crowd_is_an_image_with_one_object(coco: Path) -> None:
    dataset = CocoDataset(coco)
    assert [image.name for image in dataset] == ["000000000025/501", "000000000009/502", "000000000009/504"]
    assert all(image.object_ids == (1,) and len(image) == 1 for image in dataset)
    assert dataset[0].frame(0).shape == (16, 24, 3)
    assert abs(dataset[0].frame(3).astype(int) - [200, 90, 60]).max() <= 4
    assert dataset[1].box() == Box(2.25, 3.0, 7.5, 6.0)
    assert [image.name for image in dataset[1:]] == ["000000000009/502", "000000000009/504"]


def test_polygons_parts_and_run_lengths_become_the_masks_of_the_published_tool(coco: Path) -> None:
    one, parts, runs = (image.labels(0) for image in CocoDataset(coco))
    expected = np.zeros((16, 24), np.uint8)
    expected[3:9, 2:10] = 1
    np.testing.assert_array_equal(one, expected)
    expected[3:9, 14:18] = 1
    np.testing.assert_array_equal(parts, expected)
    np.testing.assert_array_equal(runs[:, 0], 1)
    assert runs.sum() == 16
    assert set(np.unique(CocoDataset(coco)[1].soft_mask())) == {0, 255}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.lists(st.floats(0, 16).map(lambda v: round(v, 2)), min_size=6, max_size=14), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=6,
    )
)
def test_packed_outlines_draw_the_same_masks_as_the_file_s_own(tmp_path_factory: Any, outlines: Any) -> None:
    even = [[part[: len(part) // 2 * 2] for part in parts] for parts in outlines]
    root = tmp_path_factory.mktemp("coco")
    rows = [annotation(n, 9, segmentation=parts) for n, parts in enumerate(even)]
    dataset = CocoDataset(write_coco(root, rows, root / "train2017"))
    draw = coco_masks()
    for image, parts in zip(dataset, even, strict=True):
        np.testing.assert_array_equal(image.labels(0), draw.decode(draw.merge(draw.frPyObjects(parts, 16, 24))))


@pytest.mark.parametrize("pictures", ["images/train2017", "train2017"])
@pytest.mark.parametrize("split", ["train2017", "train"])
def test_both_habits_of_unpacking_and_the_short_name_of_the_split_are_found(
    tmp_path: Path, pictures: str, split: str
) -> None:
    write_coco(tmp_path, [annotation(1, 9)], tmp_path / pictures)
    assert CocoDataset(tmp_path, split)[0].frame(0).shape == (16, 24, 3)
    assert open_dataset("coco", tmp_path, split=split).name == "coco-train2017"


def test_a_picture_is_read_as_stored_whatever_its_exif_says(coco: Path) -> None:
    path = coco / "images" / "train2017" / "000000000009.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 16)).save(path, exif=exif)
    assert CocoDataset(coco)[1].frame(0).shape == (16, 24, 3)
    Image.new("RGB", (20, 16)).save(path)
    with pytest.raises(VOSError, match=r"000000000009.jpg: its size 20x16 differs from the annotations' 24x16"):
        CocoDataset(coco)[1].frame(0)


def test_annotations_can_be_chosen_by_name_by_picture_and_by_area(coco: Path) -> None:
    assert len(CocoDataset(coco, sequences=["000000000009"])) == 2
    assert CocoDataset(coco, sequences=["000000000009/504"])[0].box() == Box(0, 0, 1, 16)
    assert [image.name for image in CocoDataset(coco, min_area=40)] == ["000000000025/501", "000000000009/502"]
    with pytest.raises(UsageError, match=r"no sequence '000000000008'.*000000000009"):
        CocoDataset(coco, sequences=["000000000008"])
    with pytest.raises(UsageError, match=r"no usable annotation .* data\.static\.min_area"):
        CocoDataset(coco, min_area=1e6)


def test_annotations_without_area_mask_or_picture_are_left_out_by_name(tmp_path: Path) -> None:
    rows = [
        annotation(1, 9, bbox=[3, 3, 5, 0]),
        annotation(2, 9, segmentation=[]),
        annotation(3, 9, segmentation=[[1, 1, 2, 2]]),
        annotation(4, 7),
        annotation(5, 9),
    ]
    with pytest.warns(UserWarning, match="annotation 1: has a box without area.*annotation 4: has no image"):
        dataset = CocoDataset(write_coco(tmp_path, rows, tmp_path / "train2017"))
    assert [image.name for image in dataset] == ["000000000009/5"]
    assert [problem.where for problem in dataset.problems] == [f"annotation {n}" for n in (1, 2, 3, 4)]


def test_missing_pictures_are_refused_by_name_or_left_out(coco: Path) -> None:
    (coco / "images" / "train2017" / "000000000025.jpg").unlink()
    with pytest.raises(VOSError, match=r"000000000025.jpg: is missing.*skip_broken"):
        CocoDataset(coco)
    with pytest.warns(UserWarning, match=r"000000000025.jpg"):
        dataset = CocoDataset(coco, skip_broken=True)
    assert {image.name.split("/")[0] for image in dataset} == {"000000000009"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not a file of COCO instances"),
        ('{"images": []}', "has no 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', "has no 'file_name'"),
        ("{}", "has no 'images'"),
        ('{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 1, 1, 1]}]}', "has no 'id'"),
    ],
)
def test_a_file_that_holds_no_instances_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(content)
    with pytest.raises(VOSError, match=f"instances.json: .*{message}"):
        CocoTable(path)


def test_wrong_folders_and_splits_of_coco_are_refused_with_what_is_there(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder .*annotations; data\.root"):
        CocoDataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no split 'val2017'.*there are: train2017"):
        CocoDataset(coco, "val2017")
    write_coco(coco, [annotation(1, 9)], coco / "train2014", "train2014")
    with pytest.raises(UsageError, match=r"no split 'train'.*there are: train2014, train2017"):
        CocoDataset(coco, "train")
    (coco / "annotations" / "instances_val2017.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no folder of images .*val2017"):
        CocoDataset(coco, "val2017")


def test_without_pycocotools_the_message_says_what_to_install(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco_masks.cache_clear()
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'vos-zoo[coco]'")):
        CocoDataset(coco)


def test_an_opened_data_set_can_be_sent_to_a_loader_process(coco: Path) -> None:
    dataset = pickle.loads(pickle.dumps(CocoDataset(coco)))
    np.testing.assert_array_equal(dataset[1].labels(0), CocoDataset(coco)[1].labels(0))


def test_check_data_reads_coco_completely(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig()
    config.data.name, config.data.root, config.data.train_split = "coco", str(coco), "train2017"
    assert run_check_data(config=config) == 0
    assert "3 sequences, 3 frames, 3 with masks\nsizes: 24x16 (3)\nobjects: 3" in capsys.readouterr().out
    (coco / "images" / "train2017" / "000000000025.jpg").write_bytes(b"nothing")
    assert run_check_data(config=config) == 1
    assert "000000000025.jpg" in capsys.readouterr().out


# --- saliency ---------------------------------------------------------------------------------------------------------


def write_pair(picture: Path, mask: Path, size: tuple[int, int] = (24, 16), mode: str = "L") -> None:
    """A picture and a mask with a bright middle."""
    for path in (picture, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(picture, format="JPEG")
    values = np.zeros((size[1], size[0]), np.uint8)
    values[4:10, 5:15], values[4, 5:15] = 255, 100
    Image.fromarray(values).convert(mode).save(mask)


LAYOUTS = {
    "FSS-1000": [(f"fss/{name}/{n}.jpg", f"fss/{name}/{n}.png") for name in ("abacus", "ab_wheel") for n in (1, 10, 2)],
    "side by side": [("DUTS-TR/ILSVRC_1.jpg", "DUTS-TR/ILSVRC_1.png"), ("ecssd/0001.jpg", "ecssd/0001.png")],
    "in a folder Imgs": [("MSRA10K/Imgs/7.jpg", "MSRA10K/Imgs/7.png")],
    "BIG": [("BIG/2007_im.jpg", "BIG/2007_gt.png")],
    "BIG, reduced": [("BIG_small/2007_im.jpg", "BIG_small/2007_im.png")],
    "ECSSD": [("images/0001.jpg", "ground_truth_mask/0001.png")],
    "HKU-IS": [("HKU-IS/imgs/0004.jpg", "HKU-IS/gt/0004.png")],
    "DUTS": [("DUTS-TR/DUTS-TR-Image/a.jpg", "DUTS-TR/DUTS-TR-Mask/a.png")],
    "HRSOD": [("HRSOD_train/1.jpg", "HRSOD_train_mask/1.png")],
    "any case": [("set/A.JPG", "set/A.PNG"), ("set/b.Jpeg", "set/b.png")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_sets_is_read(tmp_path: Path, layout: str) -> None:
    for picture, mask in LAYOUTS[layout]:
        write_pair(tmp_path / picture, tmp_path / mask)
    (tmp_path / "README.txt").write_text("read me")
    dataset = SaliencyDataset(tmp_path)
    assert len(dataset) == len(LAYOUTS[layout])
    assert {image.picture_path.relative_to(tmp_path).as_posix() for image in dataset} == {p for p, _ in LAYOUTS[layout]}
    for image in dataset:
        assert image.frame(0).shape == (16, 24, 3)
        assert image.soft_mask()[4, 7] == 100
        assert image.labels(0).sum() == 50
        assert image.box() is None


def test_several_sets_below_one_folder_are_one_data_set(tmp_path: Path) -> None:
    for pairs in LAYOUTS.values():
        for picture, mask in pairs:
            write_pair(tmp_path / "sets" / picture, tmp_path / "sets" / mask)
    write_pair(tmp_path / "sets" / "other" / "x.jpg", tmp_path / "sets" / "other" / "x.png")
    dataset = SaliencyDataset(tmp_path / "sets")
    assert len({image.name for image in dataset}) == len(dataset) == sum(map(len, LAYOUTS.values())) + 1
    assert len(SaliencyDataset(tmp_path, split="sets")) == len(dataset)
    assert [image.name for image in SaliencyDataset(tmp_path / "sets", sequences=["fss/abacus", "other"])] == [
        "fss/abacus/1",
        "fss/abacus/10",
        "fss/abacus/2",
        "other/x",
    ]
    with pytest.raises(UsageError, match=r"no sequence 'ecsd'.*ecssd"):
        SaliencyDataset(tmp_path / "sets", sequences=["ecsd"])


def test_broken_masks_are_named_and_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "fss" / "peregine_falcon"
    for n in range(1, 7):
        write_pair(folder / f"{n}.jpg", folder / f"{n}.png")
    Image.new("RGB", (30, 20), (10, 200, 30)).save(folder / "2.png")
    Image.new("L", (30, 20), 255).save(folder / "3.png")
    (folder / "4.png").write_bytes((folder / "1.png").read_bytes()[:40])
    Image.new("L", (24, 16), 120).save(folder / "5.png")
    (folder / "6.png").unlink()
    write_pair(folder / "7.jpg", folder / "8.png")
    with pytest.raises(VOSError, match=r"2\.png: is a coloured RGB.*3\.png: its size 30x20.*4 more"):
        SaliencyDataset(tmp_path)
    with pytest.warns(UserWarning, match=r"4\.png: cannot be read.*5\.png: shows no object.*6\.jpg: has no mask"):
        dataset = SaliencyDataset(tmp_path, skip_broken=True)
    assert [image.name for image in dataset] == ["fss/peregine_falcon/1"]
    names = [Path(problem.where).name for problem in dataset.problems]
    assert names == ["2.png", "3.png", "4.png", "5.png", "6.jpg", "7.jpg", "8.png"]
    (folder / "1.jpg").write_bytes(b"nothing")
    with warnings.catch_warnings(), pytest.raises(VOSError, match="every pair is broken"):
        warnings.simplefilter("ignore")
        SaliencyDataset(tmp_path, skip_broken=True)


def test_check_data_decodes_the_pictures_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / "s" / "a.jpg", tmp_path / "s" / "a.png")
    write_pair(tmp_path / "s" / "b.jpg", tmp_path / "s" / "b.png", size=(200, 150))
    config = RunConfig()
    config.data.name, config.data.root = "saliency", str(tmp_path)
    assert run_check_data(config=config) == 0
    assert "sizes: 24x16 (1), 200x150 (1)" in capsys.readouterr().out
    data = (tmp_path / "s" / "b.jpg").read_bytes()
    (tmp_path / "s" / "b.jpg").write_bytes(data[: len(data) * 3 // 4])
    report = check_dataset(SaliencyDataset(tmp_path))
    assert [Path(problem.where).name for problem in report.problems] == ["b.jpg"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_masks_are_read_alike_in_every_mode(tmp_path: Path, mode: str) -> None:
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", mode=mode)
    values = read_soft_mask(tmp_path / "a.png", (16, 24))
    assert values[4, 7] == 100
    assert values[6, 7] == 255
    assert values[0, 0] == 0


def test_masks_of_indices_and_of_zero_and_one_are_stretched(tmp_path: Path) -> None:
    index = np.zeros((4, 6), np.uint8)
    index[1:3, 2:4] = 1
    palette = Image.fromarray(index).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(index).save(tmp_path / "ones.png")
    Image.fromarray(index * 255).convert("1").save(tmp_path / "bits.png")
    Image.fromarray(index.astype(np.uint16) * 65535).save(tmp_path / "deep.png")
    for name in ("palette", "ones", "bits", "deep"):
        np.testing.assert_array_equal(read_soft_mask(tmp_path / f"{name}.png"), index * 255, err_msg=name)


def test_pictures_of_repeated_folders_are_drawn_as_often_as_published_or_as_asked(tmp_path: Path) -> None:
    for name in ("ecssd/1", "ecssd/2", "HRSOD_small/3"):
        write_pair(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png")
    assert REPEATS["HRSOD_small"] == REPEATS["BIG_small"] == 5
    for repeat, share in ((None, 5 / 7), ({}, 1 / 3), ({"ecssd": 3}, 1 / 7)):
        dataset, random = SaliencyDataset(tmp_path, repeat=repeat), np.random.default_rng(0)
        names = [dataset[dataset.draw(random)].name for _ in range(2000)]
        assert abs(names.count("HRSOD_small/3") / 2000 - share) < 0.04
        assert set(names) == {"ecssd/1", "ecssd/2", "HRSOD_small/3"}
        assert len(dataset) == 3
    with pytest.raises(UsageError, match=r"data\.static\.repeat: .*no folder 'HRSOD'"):
        SaliencyDataset(tmp_path, repeat={"HRSOD": 2})
    with pytest.raises(UsageError, match="whole numbers above 0"):
        SaliencyDataset(tmp_path, repeat={"ecssd": 0})


def test_folders_without_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder .*nowhere; check data\.root"):
        SaliencyDataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no images with masks"):
        SaliencyDataset(tmp_path)
    assert list(find_pairs(tmp_path)) == []
