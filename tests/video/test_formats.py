"""Round trips of the mask formats of other tools, and what their readers refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vos_zoo.cli import main
from vos_zoo.types import VOSError
from vos_zoo.video.formats import (
    TrackMasks,
    from_cvat,
    from_label_studio,
    from_rgba,
    from_sa_v,
    from_yolo,
    from_youtube_vis,
    to_cvat,
    to_label_studio,
    to_rgba,
    to_sa_v,
    to_yolo,
    to_youtube_vis,
)
from vos_zoo.video.formats.label_studio import decode_brush, encode_brush
from vos_zoo.video.formats.rle import compress, decode, decompress, encode, from_coco, to_coco
from vos_zoo.video.masks import read_mask, write_mask

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


@pytest.mark.parametrize("form", ["coco", "rgba", "cvat", "label-studio", "yolo", "sav"])
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


def test_nothing_that_exists_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_maps(tmp_path / "masks")
    (tmp_path / "out.json").write_text("mine")
    words = ["export-masks", str(tmp_path / "masks"), "--format", "coco", "--output", str(tmp_path / "out.json")]
    assert main(words) == 2
    assert "nothing is replaced" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "mine"
