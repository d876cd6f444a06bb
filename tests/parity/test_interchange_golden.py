"""Masks of other tools' packages are read to the pixel, and ours are what these packages write."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.parity.test_protocols_golden import FOLDER
from vos_zoo.video.formats import (
    TrackMasks,
    from_cvat,
    from_label_studio,
    from_sa_v,
    from_yolo,
    from_youtube_vis,
    to_cvat,
    to_label_studio,
    to_sa_v,
    to_yolo,
    to_youtube_vis,
)
from vos_zoo.video.formats.adapters import detected, detection_fields
from vos_zoo.video.formats.rle import compress, decompress, encode

FILE = FOLDER / "interchange.json"
GOLDEN: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
VIDEOS = [name for name, about in GOLDEN.items() if isinstance(about, dict) and "coco" in about]
pytestmark = pytest.mark.skipif(
    not GOLDEN, reason="VOS_ZOO_REFERENCE: there is no protocols/interchange.json on this machine"
)
UNKNOWN_OF_THE_VIDEO = {"video_id", "video_environment", "video_split", "video_duration"}


@cache
def truth(name: str) -> np.ndarray:
    with np.load(FOLDER / "interchange.npz") as archive:
        return np.asarray(archive[name])


def frames(name: str) -> list[str]:
    return [f"{index:05d}" for index in range(len(truth(name)))]


def tracks(name: str) -> TrackMasks:
    return TrackMasks.from_labels(name, dict(zip(frames(name), truth(name), strict=True)))


def masks_of(video: TrackMasks) -> list[dict[str, list[int]]]:
    """The masks without the objects' names, which some formats do not keep."""
    return list(video.objects.values())


@pytest.mark.parametrize("name", VIDEOS)
def test_coco_runs_and_annotations_are_those_of_the_package(name: str) -> None:
    about = GOLDEN[name]["coco"]
    size = truth(name)[0].size
    assert compress([size]) == about["empty_mask"] and compress([0, size]) == about["full_mask"]
    for one in about["uncompressed"]:
        assert encode(truth(name)[one["frame"]] == one["id"]) == one["counts"]
        assert compress(one["counts"]) == one["compressed"]
        assert decompress(one["compressed"]) == one["counts"]
    ours = to_youtube_vis([tracks(name)])["annotations"]
    for annotation, expected in zip(ours, about["youtube_vis_style"]["annotations"], strict=True):
        assert {key: annotation[key] for key in expected} == expected
    assert masks_of(from_youtube_vis(about["youtube_vis_style"])[0]) == masks_of(tracks(name))


@pytest.mark.parametrize("name", VIDEOS)
def test_sa_v_files_are_read_and_written(name: str) -> None:
    about = GOLDEN[name]["sav_json"]
    assert masks_of(from_sa_v(about, frames(name))) == masks_of(tracks(name))
    ours = json.loads(json.dumps(to_sa_v(tracks(name))))
    wrong = {key for key, value in about.items() if key not in UNKNOWN_OF_THE_VIDEO and ours[key] != value}
    assert not wrong


@pytest.mark.parametrize("name", VIDEOS)
def test_yolo_text_is_read_as_its_package_reads_it(name: str) -> None:
    size = truth(name).shape[1:]
    found = from_yolo(GOLDEN[name]["yolo"]["text"], name, (size[0], size[1]))
    for frame, expected in zip(frames(name), truth(f"{name}__yolo_read_back"), strict=True):
        read = np.zeros(size, np.uint8)
        for one in found.objects:
            read[found.mask(one, frame)] = int(one)
        assert np.array_equal(read, expected)


@pytest.mark.parametrize("name", VIDEOS)
def test_yolo_text_of_ours_has_their_lines_and_no_larger_loss(name: str) -> None:
    ours, theirs = to_yolo(tracks(name)), GOLDEN[name]["yolo"]
    assert ours["data.yaml"] == theirs["data_yaml"]
    size = truth(name).shape[1:]
    back = from_yolo(ours, name, (size[0], size[1]))
    for file, text in theirs["text"].items():
        assert [line.split()[0] for line in ours[file].splitlines()] == [line.split()[0] for line in text.splitlines()]
    for index, one, expected in theirs["read_back_iou_frame_id"]:
        mask, read = truth(name)[index] == one, back.mask(str(one), frames(name)[index])
        assert (mask & read).sum() / (mask | read).sum() >= expected - 0.01


@pytest.mark.parametrize("name", VIDEOS)
def test_cvat_masks_are_those_of_the_package(name: str) -> None:
    text = GOLDEN[name]["cvat_video_xml"]
    assert from_cvat(text, frames(name)) == tracks(name)
    ours, theirs = (
        [mask.attrib for mask in ElementTree.fromstring(one).iter("mask")] for one in (to_cvat(tracks(name)), text)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", VIDEOS)
def test_label_studio_brushes_are_read(name: str) -> None:
    (found,) = from_label_studio(GOLDEN[name]["label_studio_tasks"])
    assert found == tracks(name)
    assert from_label_studio(json.loads(json.dumps(to_label_studio(tracks(name))))) == [tracks(name)]


@pytest.mark.parametrize("name", VIDEOS)
def test_boxes_and_masks_of_a_frame_are_supervisions(name: str) -> None:
    for about in GOLDEN[name]["supervision"]:
        found = detected(truth(name)[about["frame"]])
        assert found.ids.tolist() == about["tracker_id"] and found.boxes.tolist() == about["xyxy"]
        assert found.masks.sum(axis=(1, 2)).tolist() == about["area"]
        assert list(found.masks.shape) == about["mask_shape"]
        assert [encode(mask) for mask in found.masks] == about["mask_to_rle"]


def test_detections_of_a_frame_are_fiftyones() -> None:
    for number, expected in GOLDEN["drawn"]["fiftyone"]["frames"].items():
        found = detection_fields(truth("drawn")[int(number) - 1])
        assert [(one["label"], one["index"]) for one in found] == [(one["label"], one["index"]) for one in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours["bounding_box"] == pytest.approx(theirs["bounding_box"], abs=1e-11)
            assert ["".join(".#"[pixel] for pixel in row) for row in ours["mask"].astype(int)] == theirs["mask_rows"]
