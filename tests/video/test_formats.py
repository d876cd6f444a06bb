"""Round trips of the mask formats of other tools, and what their readers refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vos_zoo.cli import main
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.formats import (
    TrackMasks,
    from_cvat,
    from_label_studio,
    from_rgba,
    from_sa_v,
    from_yolo,
    from_youtube_vis,
    read_alpha_video,
    read_youtube_vis,
    to_cvat,
    to_fiftyone,
    to_label_studio,
    to_rgba,
    to_sa_v,
    to_supervision,
    to_yolo,
    to_youtube_vis,
    write_alpha_video,
)
from vos_zoo.video.formats.adapters import detected, detection_fields
from vos_zoo.video.formats.label_studio import decode_brush, encode_brush
from vos_zoo.video.formats.rle import compress, decode, decompress, encode, from_coco, to_coco
from vos_zoo.video.masks import read_mask, write_mask
from vos_zoo.video.writer import open_writer

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@st.composite
def videos(draw: st.DrawFn) -> TrackMasks:
    """A video of one to three objects, which may overlap, be absent, or be absent throughout."""
    size = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    frames = tuple(f"{index:05d}" for index in range(draw(st.integers(1, 4))))
    video = TrackMasks("clip", size, frames)
    for name in draw(st.lists(st.sampled_from(["1", "2", "7", "30"]), min_size=1, max_size=3, unique=True)):
        for frame in frames:
            video.add(name, frame, draw(arrays(bool, size) | st.just(np.zeros(size, bool))))
    return video


@given(MASKS)
def test_runs_give_the_mask_back_in_both_orders_and_as_text(mask: np.ndarray) -> None:
    size = mask.shape[0], mask.shape[1]
    for order in "FC":
        assert np.array_equal(decode(encode(mask, order), size, order), mask)
    assert decompress(compress(encode(mask))) == encode(mask)
    assert np.array_equal(from_coco(json.loads(json.dumps(to_coco(mask)))), mask)


@settings(deadline=None)
@given(MASKS)
def test_runs_are_those_of_pycocotools(mask: np.ndarray) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    theirs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert to_coco(mask) == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}
    assert np.array_equal(tools.decode(to_coco(mask)).astype(bool), mask)


@given(MASKS)
def test_brush_streams_give_the_mask_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), (mask.shape[0], mask.shape[1])), mask)


def test_brush_streams_hold_runs_longer_than_the_longest_run_size() -> None:
    mask = np.zeros((300, 400), bool)
    mask[10:290, :] = True
    content = encode_brush(mask)
    assert len(content) < 400
    assert np.array_equal(decode_brush(content, (300, 400)), mask)


@settings(deadline=None, max_examples=40)
@given(videos())
def test_coco_sa_v_and_cvat_give_every_video_back(video: TrackMasks) -> None:
    assert from_youtube_vis(json.loads(json.dumps(to_youtube_vis([video])))) == [video]
    assert from_sa_v(json.loads(json.dumps(to_sa_v(video))), video.frames) == video
    assert from_cvat(to_cvat(video), video.frames) == video


@settings(deadline=None, max_examples=20)
@given(videos())
def test_label_studio_gives_every_visible_object_back(video: TrackMasks) -> None:
    visible = {name: masks for name, masks in video.objects.items() if masks}
    if not visible:
        with pytest.raises(VOSError, match="no mask"):
            from_label_studio(to_label_studio(video))
        return
    (found,) = from_label_studio(json.loads(json.dumps(to_label_studio(video))))
    assert (found.size, found.frames, found.objects) == (video.size, video.frames, visible)


def test_several_videos_share_a_coco_file_and_a_list_of_tasks() -> None:
    both = [TrackMasks("a", (4, 5), ("0",)), TrackMasks("b", (6, 5), ("0", "1"))]
    for video in both:
        video.add("3", "0", np.ones(video.size))
    assert from_youtube_vis(to_youtube_vis(both)) == both
    assert from_label_studio([task for video in both for task in to_label_studio(video)]) == both


def test_yolo_text_keeps_boxes_and_ids_and_turns_lost_objects_into_boxes() -> None:
    video = TrackMasks("v", (20, 30), ("00000",))
    box, dot = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    box[3:9, 4:15] = True
    dot[15, 20] = True
    video.add("2", "00000", box)
    video.add("5", "00000", dot)
    text = to_yolo(video)
    assert [line.split()[0] for line in text["00000.txt"].splitlines()] == ["1", "4"]
    assert len(text["00000.txt"].splitlines()[1].split()) == 5
    assert from_yolo(text, "v", (20, 30)).objects == video.objects


def test_holes_of_yolo_text_are_bridged() -> None:
    video = TrackMasks("v", (40, 40), ("0",))
    ring = np.zeros((40, 40), bool)
    ring[5:35, 5:35] = True
    ring[15:25, 15:25] = False
    video.add("1", "0", ring)
    text = to_yolo(video)
    assert len(text["0.txt"].splitlines()) == 1
    found = from_yolo(text, "v", (40, 40)).mask("1", "0")
    assert not found[18:22, 18:22].any()
    assert (found & ring).sum() / (found | ring).sum() > 0.9


def test_rgba_pictures_have_the_frames_colours_and_the_mask_as_alpha() -> None:
    mask = np.eye(4, 6, dtype=bool)
    frame = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    picture = to_rgba(mask, "1", frame)
    assert np.array_equal(picture[..., :3], frame) and np.array_equal(from_rgba(picture), mask)
    assert tuple(to_rgba(mask, "1")[0, 0]) == (128, 0, 0, 255)
    with pytest.raises(VOSError, match="alpha"):
        from_rgba(frame)
    with pytest.raises(VOSError, match="its mask"):
        to_rgba(mask, "1", frame[:2])


def coco(**changes: Any) -> dict[str, Any]:
    video = TrackMasks("v", (2, 3), ("0",))
    video.add("1", "0", np.ones((2, 3)))
    content = to_youtube_vis([video])
    for key, value in changes.items():
        content["annotations"][0][key] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no video JSON"),
        (coco(segmentations=[]), "0 masks for 1 frames"),
        (coco(segmentations=[{"size": [2, 3], "counts": [1, 2]}]), "3 pixels, the picture 2x3"),
        (coco(segmentations=[{"size": [2, 4], "counts": [8]}]), "a mask is"),
        (coco(segmentations=[{"size": [2, 3], "counts": "~~"}]), "run-length"),
        (coco(segmentations=[{"size": [2, 3]}]), "size"),
        (coco(video_id=9), "no video JSON"),
    ],
)
def test_broken_coco_files_are_refused(content: Any, message: str) -> None:
    with pytest.raises(VOSError, match=message):
        from_youtube_vis(content)


def test_annotations_must_say_which_object_they_are_where_a_file_has_several_videos() -> None:
    both = to_youtube_vis([TrackMasks("a", (2, 2), ("0",), {"1": {}}), TrackMasks("b", (2, 2), ("0",), {"1": {}})])
    for annotation in both["annotations"]:
        del annotation["object_id"]
    with pytest.raises(VOSError, match="add object_id"):
        from_youtube_vis(both)
    for annotation in both["annotations"]:
        annotation["track_id"] = 4
    assert list(from_youtube_vis(both)[1].objects) == ["4"]


def test_videos_without_names_of_frames_are_refused() -> None:
    content = coco()
    del content["videos"][0]["file_names"]
    with pytest.raises(VOSError, match="file_names"):
        from_youtube_vis(content)


def test_cvat_files_must_have_every_visible_frame_and_no_document_type() -> None:
    video = TrackMasks("v", (2, 3), ("0", "1", "2"))
    for frame in video.frames:
        video.add("1", frame, np.ones((2, 3)))
    lines = to_cvat(video).splitlines()
    for number in (1, 2):
        gap = "\n".join(line for line in lines if f' frame="{number}"' not in line)
        with pytest.raises(VOSError, match=f"no mask in frame {number}"):
            from_cvat(gap)
    with pytest.raises(VOSError, match="document type"):
        from_cvat('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><annotations/>')
    with pytest.raises(VOSError, match="original_size"):
        from_cvat("<annotations/>")


def test_other_broken_files_are_refused() -> None:
    with pytest.raises(VOSError, match="SA-V"):
        from_sa_v({"masklet": []})
    with pytest.raises(VOSError, match="neither a polygon nor a box"):
        from_yolo({"0.txt": "0 0.1 0.2\n"}, "v", (4, 4))
    with pytest.raises(VOSError, match="YOLO"):
        from_yolo({"0.txt": "a 0.1 0.2\n"}, "v", (4, 4))
    with pytest.raises(VOSError, match="too early"):
        decode_brush([0, 0, 0, 16], (2, 2))
    with pytest.raises(VOSError, match="16 values"):
        decode_brush(encode_brush(np.ones((2, 2))), (3, 3))


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    maps = {}
    for index in range(3):
        labels = np.zeros((24, 30), np.uint8)
        labels[4:16, 2 + index : 12 + index] = 1
        labels[10:22, 15:28] = 5
        maps[f"clip/{index:05d}"] = labels
        write_mask(folder / "clip" / f"{index:05d}.png", labels)
    return maps


@pytest.mark.parametrize("form", ["coco", "rgba", "prores", "vp9", "cvat", "label-studio", "yolo", "sav"])
def test_masks_come_back_from_every_format_by_the_command_line(form: str, tmp_path: Path) -> None:
    maps = label_maps(tmp_path / "masks")
    between = tmp_path / ("out.json" if form in ("coco", "label-studio") else "out")
    assert main(["export-masks", str(tmp_path / "masks"), "--format", form, "--output", str(between)]) == 0
    size = ["--size", "24x30"] if form == "yolo" else []
    back = tmp_path / "back"
    assert main(["import-masks", str(between), "--format", form, "--output", str(back), *size]) == 0
    for number, (name, labels) in enumerate(maps.items()):
        frame = f"clip/{4 * number:05d}" if form == "sav" else name
        assert np.array_equal(read_mask(back / f"{frame}.png"), labels)


def test_objects_that_overlap_need_a_file_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for one in ("1", "2"):
        write_mask(tmp_path / "masks" / "clip" / one / "00000.png", np.ones((4, 5), np.uint8))
    file, back = tmp_path / "out.json", tmp_path / "back"
    assert main(["export-masks", str(tmp_path / "masks"), "--format", "coco", "--output", str(file)]) == 0
    words = ["import-masks", str(file), "--format", "coco", "--output", str(back)]
    assert main(words) == 1
    assert "objects 1 and 2 overlap" in capsys.readouterr().err
    assert main([*words, "--per-object"]) == 0
    assert read_mask(back / "clip" / "2" / "00000.png").all()


def test_rgba_takes_the_colours_of_the_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_maps(tmp_path / "masks")
    frames = tmp_path / "frames" / "clip"
    frames.mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (30, 24), (10, 20, 30)).save(frames / f"{index:05d}.png")
    words = ["export-masks", str(tmp_path / "masks"), "--format", "rgba", "--frames", str(tmp_path / "frames")]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "clip" / "5" / "00001.png") as image:
        assert image.mode == "RGBA" and image.getpixel((20, 15)) == (10, 20, 30, 255)
    (frames / "00002.png").unlink()
    assert main([*words, "--output", str(tmp_path / "more")]) == 1
    assert "no frame 00002" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "ending"), [("prores", ".mov"), ("vp9", ".webm")])
@pytest.mark.parametrize("size", [(46, 54), (33, 47)], ids=["even", "odd"])
def test_alpha_survives_a_video_to_the_pixel_whatever_the_colours(
    form: str, ending: str, size: tuple[int, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(size) < share for share in (0.5, 0.02, 0, 1)]
    colours = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in masks]
    pictures = [to_rgba(mask, "7", frame) for mask, frame in zip(masks, colours, strict=True)]
    path = write_alpha_video(tmp_path / f"7{ending}", pictures)
    back = list(read_alpha_video(path))
    assert len(back) == 4 and all(np.array_equal(one, mask) for one, mask in zip(back, masks, strict=True))
    assert [file.name for file in tmp_path.iterdir()] == [f"7{ending}"]


def test_videos_without_alpha_or_with_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path / "plain.mp4") as writer:
        writer.write(0, np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8))
    (tmp_path / "plain.mp4").rename(tmp_path / "plain.mov")
    with pytest.raises(VOSError, match=r"plain\.mov: has no alpha channel"):
        list(read_alpha_video(tmp_path / "plain.mov"))
    pictures = [np.zeros((16, side, 4), np.uint8) for side in (16, 18)]
    with pytest.raises(VOSError, match="a video has one size"):
        write_alpha_video(tmp_path / "two.mov", pictures)
    with pytest.raises(UsageError, match=r"ends in \.mov or \.webm"):
        write_alpha_video(tmp_path / "x.mp4", pictures)
    assert not (tmp_path / "two.mov").exists()


def test_videos_of_objects_that_differ_in_length_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("1", 2), ("2", 3)):
        write_alpha_video(tmp_path / "in" / "clip" / f"{name}.mov", [np.zeros((16, 16, 4), np.uint8)] * count)
    words = ["import-masks", str(tmp_path / "in"), "--format", "prores", "--output", str(tmp_path / "out")]
    assert main(words) == 1
    assert "2.mov: has 3 frames, another object's video 2" in capsys.readouterr().err


def test_results_stream_into_coco_json_that_appears_when_it_is_whole(tmp_path: Path) -> None:
    maps = [np.zeros((6, 8), np.uint8) for _ in range(3)]
    maps[0][1:3, 1:4], maps[1][2:4, 2:5], maps[2][0, 0], maps[2][5, 5] = 3, 3, 1, 255
    path, frame = tmp_path / "results.json", np.zeros((6, 8, 3), np.uint8)
    with open_writer(path, name="f{:02d}".format, video="clip") as writer:
        for index, labels in enumerate(maps):
            writer.write(2 * index, frame, labels)
            assert not path.exists()
    (video,) = read_youtube_vis(path)
    assert (video.name, video.frames, list(video.objects)) == ("clip", ("f00", "f02", "f04"), ["1", "3"])
    for name, labels in zip(video.frames, maps, strict=True):
        assert np.array_equal(video.labels(name), np.where(labels == 255, 0, labels))
    with pytest.raises(RuntimeError), open_writer(path) as writer:
        writer.write(0, frame, maps[0])
        raise RuntimeError
    assert len(read_youtube_vis(path)[0].frames) == 3, "an older file is kept if a run fails"


LABELS = np.array([[0, 2, 2, 0], [0, 2, 0, 9], [255, 0, 0, 9]], np.uint8)


def test_objects_of_a_frame_are_boxes_masks_and_ids() -> None:
    found = detected(LABELS)
    assert found.ids.tolist() == [2, 9] and found.boxes.tolist() == [[1, 0, 2, 1], [3, 1, 3, 2]]
    assert found.masks.sum(axis=(1, 2)).tolist() == [3, 2] and found.boxes.dtype == np.float32
    first, second = detection_fields(LABELS, "thing {}")
    assert (first["label"], first["index"], first["bounding_box"]) == ("thing 2", 2, [0.25, 0, 0.5, 2 / 3])
    assert first["mask"].tolist() == [[True, True], [True, False]] and second["mask"].shape == (2, 1)
    assert len(detected(np.zeros((3, 4), np.uint8)).ids) == 0


def test_supervision_takes_a_frame_and_gives_it_back() -> None:
    pytest.importorskip("supervision", reason="supervision is not installed; it is no dependency")
    found = to_supervision(LABELS)
    back = np.zeros(LABELS.shape, np.uint8)
    for mask, identity in zip(found.mask, found.tracker_id, strict=True):
        back[mask] = identity
    assert np.array_equal(back, np.where(LABELS == 255, 0, LABELS)) and found.xyxy.tolist()[0] == [1, 0, 2, 1]
    assert len(to_supervision(np.zeros((3, 4), np.uint8))) == 0


def test_fiftyone_takes_a_frame_and_gives_it_back() -> None:
    pytest.importorskip("fiftyone", reason="FiftyOne is not installed; it is no dependency")
    back = np.zeros(LABELS.shape, np.uint8)
    for one in to_fiftyone(LABELS).detections:
        back[one.to_segmentation(frame_size=LABELS.shape[::-1]).mask > 0] = one.index
    assert np.array_equal(back, np.where(LABELS == 255, 0, LABELS))


def test_label_studios_own_functions_read_our_brushes_and_write_what_we_read() -> None:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed; it is no dependency"
    )
    mask = LABELS == 2
    theirs = np.array(brush.decode_rle(encode_brush(mask))).reshape(*mask.shape, 4)[..., 3]
    assert np.array_equal(theirs > 0, mask)
    assert np.array_equal(decode_brush(brush.mask2rle(mask.astype(np.uint8) * 255), mask.shape), mask)


@pytest.mark.parametrize("name", ["supervision", "fiftyone"])
def test_a_package_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"pip install {name}"):
        {"supervision": to_supervision, "fiftyone": to_fiftyone}[name](LABELS)


def test_nothing_that_exists_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_maps(tmp_path / "masks")
    (tmp_path / "out.json").write_text("mine")
    words = ["export-masks", str(tmp_path / "masks"), "--format", "coco", "--output", str(tmp_path / "out.json")]
    assert main(words) == 2
    assert "nothing is replaced" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "mine"
