"""Reading and writing video, prompts from the command line, contact sheets."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vos_zoo.types import Box, Frame, FrameResult, LabelMap, UsageError, VOSError
from vos_zoo.video.masks import read_mask, write_mask
from vos_zoo.video.panels import overlay_panel, spread, write_picture
from vos_zoo.video.prompts import parse_prompts
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import CombinedWriter, MaskFolderWriter, OverlayVideoWriter, open_writer, with_frames

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")
    )
    for name, module in (("pyav", "av"), ("opencv", "cv2"))
]
SIZE = (48, 64)


def quarters(index: int, size: tuple[int, int] = SIZE) -> Frame:
    """A red, a green, a blue and a grey quarter; the grey one gets brighter with time."""
    height, width = size
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    frame[: height // 2, : width // 2] = (200, 30, 30)
    frame[: height // 2, width // 2 :] = (30, 200, 30)
    frame[height // 2 :, : width // 2] = (30, 30, 200)
    frame[height // 2 :, width // 2 :] = 20 + 15 * index
    return frame


def square(size: tuple[int, int] = SIZE, identity: int = 1) -> LabelMap:
    labels = np.zeros(size, dtype=np.uint8)
    labels[8:20, 10:30] = identity
    return labels


def write_video(path: Path, count: int, size: tuple[int, int] = SIZE, **options: Any) -> None:
    with OverlayVideoWriter(path, **options) as writer:
        for index in range(count):
            writer.write(index, quarters(index, size), np.zeros(size, dtype=np.uint8))


def write_frames(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(quarters(index, size)).save(folder / name)


def quarter_colours(frame: Frame) -> np.ndarray:
    """Colours in the middles of the four quarters, ``(4, 3)``."""
    height, width = frame.shape[:2]
    rows, columns = [height // 4, height // 4, 3 * height // 4, 3 * height // 4], [width // 4, 3 * width // 4] * 2
    return frame[rows, columns].astype(int)


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", BACKENDS)
@pytest.mark.parametrize("writing", BACKENDS)
def test_a_written_video_is_read_back_with_its_colours_rate_and_length(
    tmp_path: Path, writing: Any, reading: Any
) -> None:
    write_video(tmp_path / "out.mp4", 9, fps=12.5, backend=writing)
    source = open_video(tmp_path / "out.mp4", backend=reading)
    frames = list(source)
    assert (source.size, source.length, len(frames)) == (SIZE, 9, 9)
    assert source.fps == pytest.approx(12.5)
    assert source.frame_name(3) == "00003"
    for index, frame in enumerate(frames):
        assert frame.dtype == np.uint8 and frame.flags.c_contiguous
        assert np.abs(quarter_colours(frame) - quarter_colours(quarters(index))).max() <= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_may_be_read_twice_and_left_early(tmp_path: Path, backend: Any) -> None:
    write_video(tmp_path / "out.mp4", 5)
    source = open_video(tmp_path / "out.mp4", backend=backend)
    first = next(iter(source))
    assert np.array_equal(first, next(iter(source)))
    assert len(list(source)) == 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_odd_size_is_padded_by_repeating_the_border(tmp_path: Path, backend: Any) -> None:
    write_video(tmp_path / "out.mp4", 3, size=(47, 61), backend=backend)
    source = open_video(tmp_path / "out.mp4")
    assert source.size == (48, 62)
    frame = next(iter(source))
    assert np.abs(frame[-1].astype(int) - frame[-2]).mean() < 6


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_the_rotation_noted_in_a_video_is_applied_by_both_libraries(tmp_path: Path, degrees: int) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(0), format="rgb24")))
        container.mux(stream.encode())
    upright = np.rot90(quarters(0), degrees // 90)
    for backend in ("pyav", "opencv"):
        source = open_video(path, backend=backend)
        assert source.size == upright.shape[:2]
        assert np.abs(quarter_colours(next(iter(source))) - quarter_colours(upright)).max() <= 8


def test_a_folder_gives_its_frames_sorted_by_name_and_keeps_the_names(tmp_path: Path) -> None:
    write_frames(tmp_path / "frames", ["00010.png", "00005.png", "00020.BMP", "00015.webp"])
    (tmp_path / "frames" / "notes.txt").write_text("not a frame")
    (tmp_path / "frames" / ".00001.png").write_bytes(b"hidden")
    source = open_video(str(tmp_path / "frames"))
    assert source.names == ("00005", "00010", "00015", "00020")
    assert (source.length, source.fps, source.size, source.name) == (4, None, SIZE, "frames")
    frames = list(source)
    assert np.array_equal(frames[0], quarters(1)) and np.array_equal(frames[3], quarters(2))
    assert source.frame_name(3) == "00020"


def test_pictures_turned_by_exif_and_cmyk_or_grey_pictures_become_upright_rgb(tmp_path: Path) -> None:
    turned = Image.fromarray(np.rot90(quarters(0), 1).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to view"
    turned.save(tmp_path / "1.jpg", quality=95, exif=exif)
    Image.fromarray(quarters(0)).convert("CMYK").save(tmp_path / "2.jpg", quality=95)
    Image.fromarray(quarters(0)).convert("L").save(tmp_path / "3.png")
    frames = list(open_video(tmp_path))
    assert [frame.shape for frame in frames] == [(*SIZE, 3)] * 3
    assert np.abs(quarter_colours(frames[0]) - quarter_colours(quarters(0))).max() <= 10


def test_an_unreadable_frame_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    write_frames(tmp_path, ["0.png", "1.png"])
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:80])
    frames = iter(open_video(tmp_path))
    next(frames)
    with pytest.raises(VOSError, match=r"frame .*1\.png: cannot be read"):
        next(frames)


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    write_frames(tmp_path, ["0.png"])
    Image.fromarray(quarters(0, (40, 64))).save(tmp_path / "1.png")
    with pytest.raises(VOSError, match=r"1\.png: its size 64x40 differs from the first frame's 64x48"):
        list(open_video(tmp_path))


def test_two_formats_of_one_frame_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, ["0.png", "0.bmp"])
    with pytest.raises(UsageError, match="'0' exists in two formats"):
        open_video(tmp_path)


def test_a_missing_source_and_an_empty_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.mp4: there is no such"):
        open_video(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="holds no frames"):
        open_video(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_no_video_is_refused_in_one_line(tmp_path: Path, backend: Any) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"this is not a video" * 100)
    with pytest.raises(UsageError, match=r"broken\.mp4: cannot be decoded") as caught:
        open_video(tmp_path / "broken.mp4", backend=backend)
    assert "\n" not in str(caught.value)


def test_cameras_are_named_by_number_and_an_absent_one_is_refused() -> None:
    with pytest.raises(UsageError, match="'camera:NUMBER'"):
        open_video("camera:front")
    with pytest.raises(UsageError, match="no camera answers under number 97"):
        open_video("camera:97")


def test_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="'ffmpeg' is unknown"):
        open_video(tmp_path / "a.mp4", backend="ffmpeg")  # type: ignore[arg-type]


# -- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overlay_video_shows_the_objects_in_their_colours(tmp_path: Path, backend: Any) -> None:
    grey = np.full((*SIZE, 3), 128, dtype=np.uint8)
    with OverlayVideoWriter(tmp_path / "o.mp4", alpha=1.0, backend=backend) as writer:
        for index in range(3):
            writer.write(index, grey, square(identity=2))
    frame = list(open_video(tmp_path / "o.mp4"))[1].astype(int)
    assert np.abs(frame[14, 20] - (0, 128, 0)).max() <= 12
    assert np.abs(frame[40, 50] - 128).max() <= 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_appears_only_when_it_is_complete(tmp_path: Path, backend: Any) -> None:
    path = tmp_path / "o.mp4"
    with OverlayVideoWriter(path, backend=backend) as writer:
        writer.write(0, quarters(0), square())
        assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize("written", [0, 1, 40])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exception_leaves_no_partial_video_and_keeps_the_older_one(
    tmp_path: Path, backend: Any, written: int
) -> None:
    path = tmp_path / "o.mp4"
    path.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), OverlayVideoWriter(path, backend=backend) as writer:
        for index in range(written):
            writer.write(index, quarters(0), square())
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["o.mp4"]
    assert path.read_bytes() == b"older"


def test_a_frame_of_another_size_breaks_a_video_off(tmp_path: Path) -> None:
    with pytest.raises(VOSError, match="frame 1 has another size"), OverlayVideoWriter(tmp_path / "o.mp4") as writer:
        writer.write(0, quarters(0), square())
        writer.write(1, quarters(0, (60, 64)), square((60, 64)))
    assert not list(tmp_path.iterdir())


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VOSError, match="no frame to write"), OverlayVideoWriter(tmp_path / "o.mp4"):
        pass
    assert not list(tmp_path.iterdir())


def test_masks_and_video_can_be_written_together_under_the_sources_names(tmp_path: Path) -> None:
    names = ("a7", "b3")
    writers = [MaskFolderWriter(tmp_path / "masks", name=names.__getitem__), OverlayVideoWriter(tmp_path / "o.mp4")]
    with CombinedWriter(writers) as writer:
        for index in range(2):
            writer.write(index, quarters(index), square(identity=index + 4))
            assert read_mask(tmp_path / "masks" / f"{names[index]}.png").max() == index + 4  # there at once
    assert len(list(open_video(tmp_path / "o.mp4"))) == 2
    assert Image.open(tmp_path / "masks" / "a7.png").mode == "P"


def test_a_writer_that_cannot_finish_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    late = OverlayVideoWriter(tmp_path / "late.mp4")
    late.write(0, quarters(0), square())
    with pytest.raises(VOSError, match="no frame to write"):
        CombinedWriter([OverlayVideoWriter(tmp_path / "empty.mp4"), late]).finish()
    assert (tmp_path / "late.mp4").is_file()


def test_the_output_name_decides_what_is_written(tmp_path: Path) -> None:
    assert isinstance(open_writer(tmp_path / "o.MP4"), OverlayVideoWriter)
    assert isinstance(open_writer(tmp_path / "masks"), MaskFolderWriter)
    with pytest.raises(UsageError, match=r"\.avi cannot be written; give a name ending in \.mp4"):
        open_writer(tmp_path / "o.avi")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        open_writer(tmp_path / "file")
    with pytest.raises(UsageError, match="is invalid"):
        open_writer(tmp_path / "o.mp4", fps=0.0)


# -- results and their frames ----------------------------------------------------------------------------------------


def _result(index: int) -> FrameResult:
    return FrameResult(index, (), np.zeros((1, *SIZE), dtype=np.float32))  # type: ignore[arg-type]


def test_results_that_come_a_clip_late_are_paired_with_their_own_frames() -> None:
    def clips_of_three(frames: Any, prompts: Any) -> Iterator[FrameResult]:
        waiting = []
        for index, _ in enumerate(frames):
            waiting.append(index)
            if len(waiting) == 3:
                yield from map(_result, waiting)
                waiting = []
        yield from map(_result, waiting)

    pairs = list(with_frames(clips_of_three, (quarters(index) for index in range(7)), {}))
    assert [result.index for _, result in pairs] == list(range(7))
    assert all(np.array_equal(frame, quarters(result.index)) for frame, result in pairs)


def test_a_result_for_a_frame_that_was_never_read_is_an_error() -> None:
    with pytest.raises(VOSError, match="result 5 has no frame"):
        list(with_frames(lambda frames, prompts: [_result(5) for _ in frames], [quarters(0)], {}))


# -- prompts ---------------------------------------------------------------------------------------------------------


def test_one_mask_file_is_the_prompt_of_the_first_frame(tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", square(identity=7))
    prompts = parse_prompts([tmp_path / "first.png"], size=SIZE)
    assert list(prompts) == [0] and np.array_equal(prompts[0], square(identity=7))


def test_a_folder_of_masks_adds_objects_in_the_frames_they_are_named_after(tmp_path: Path) -> None:
    write_mask(tmp_path / "00020.png", square(identity=2))
    write_mask(tmp_path / "00005.png", square(identity=1))
    write_mask(tmp_path / "00010.png", square(identity=0))  # no label at all: says nothing
    prompts = parse_prompts([tmp_path], size=SIZE, names=["00005", "00010", "00015", "00020"])
    assert list(prompts) == [0, 3]
    assert np.array_equal(prompts[3], square(identity=2))
    assert list(parse_prompts([tmp_path], size=SIZE, length=21)) == [5, 20]  # a video: names are numbers


def test_boxes_are_the_prompt_of_the_first_frame() -> None:
    prompts = parse_prompts(boxes=["1:4,5,20,10", "12: 0, 0, 64, 48"], size=SIZE)
    assert prompts == {0: {1: Box(4, 5, 20, 10), 12: Box(0, 0, 64, 48)}}
    assert parse_prompts(boxes={3: Box(1, 2, 3, 4)}, size=SIZE) == {0: {3: Box(1, 2, 3, 4)}}


def test_a_black_and_white_mask_is_object_one_and_void_beside_objects_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(square(identity=255)).save(tmp_path / "binary.png")
    assert np.array_equal(parse_prompts([tmp_path / "binary.png"], size=SIZE)[0], square())
    labels = square(identity=3)
    labels[30:, :] = 255
    write_mask(tmp_path / "void.png", labels)
    assert np.array_equal(parse_prompts([tmp_path / "void.png"], size=SIZE)[0], square(identity=3))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("0:1,1,5,5", "id 0 is not an object; ids go from 1 to 254"),
        ("-3:1,1,5,5", "id -3 is not an object"),
        ("255:1,1,5,5", "id 255 is not an object"),
        ("1:60,40,10,10", r"is not inside the frame of 64x48 pixels; its part inside is 1:60,40,4,8"),
        ("1:100,100,5,5", "is not inside the frame of 64x48 pixels; give x,y,w,h"),
        ("1:1,1,0,5", "the box is empty"),
        ("1:1,nan,5,5", "the box is empty"),
        ("1:1,1,5", "is not of the form"),
        ("1,1,5,5", "is not of the form"),
        ("one:1,1,5,5", "is not of the form"),
        ("1:a,1,5,5", "is not of the form"),
    ],
)
def test_wrong_boxes_are_refused_with_the_cure(box: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prompts(boxes=[box], size=SIZE)


def test_contradicting_prompts_are_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", square())
    mask = tmp_path / "first.png"
    with pytest.raises(UsageError, match="object 1 already has a box"):
        parse_prompts(boxes=["1:1,1,5,5", "1:2,2,5,5"], size=SIZE)
    with pytest.raises(UsageError, match="either a mask or boxes"):
        parse_prompts([mask], ["2:1,1,5,5"], size=SIZE)
    with pytest.raises(UsageError, match="frame 0 already has a mask"):
        parse_prompts([mask, mask], size=SIZE)
    with pytest.raises(UsageError, match="give --mask FILE or --box"):
        parse_prompts(size=SIZE)


def test_wrong_masks_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    with pytest.raises(UsageError, match="the folder holds no PNG"):
        parse_prompts([folder], size=SIZE)
    with pytest.raises(UsageError, match=r"nothing\.png: there is no such file"):
        parse_prompts([tmp_path / "nothing.png"], size=SIZE)
    write_mask(folder / "00099.png", square())
    with pytest.raises(UsageError, match="there is no frame 99; the video's last frame is 49"):
        parse_prompts([folder], size=SIZE, length=50)
    with pytest.raises(UsageError, match="no frame is called '00099'"):
        parse_prompts([folder], size=SIZE, names=["00000"])
    with pytest.raises(UsageError, match="differs from the frame's 32x32"):
        parse_prompts([folder / "00099.png"], size=(32, 32))
    write_mask(folder / "cat.png", square())
    with pytest.raises(UsageError, match="is not a frame number"):
        parse_prompts([folder], size=SIZE)
    write_mask(tmp_path / "empty.png", square(identity=0))
    with pytest.raises(UsageError, match="holds no object"):
        parse_prompts([tmp_path / "empty.png"], size=SIZE)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_contact_sheet_has_a_cell_per_frame_and_tints_the_objects() -> None:
    frames = [np.full((*SIZE, 3), 100, dtype=np.uint8)] * 5
    labels = [square(identity=1)] * 5
    sheet = overlay_panel(frames, labels, columns=2, width=64, alpha=1.0)
    assert sheet.shape == (3 * (48 + 4) + 4, 2 * (64 + 4) + 4, 3)
    assert tuple(sheet[4 + 14, 4 + 20]) == (128, 0, 0)
    assert tuple(sheet[4 + 2 * 52 + 14, 4 + 20]) == (128, 0, 0)
    assert tuple(sheet[4 + 2 * 52 + 14, 4 + 68 + 20]) == (24, 24, 24)  # the sixth cell stays empty


def test_the_truth_stands_under_the_prediction_and_may_be_missing() -> None:
    frames = [np.full((*SIZE, 3), 100, dtype=np.uint8)] * 2
    truth = [square(identity=2), None]
    sheet = overlay_panel(frames, [square(), square()], truth, columns=2, width=64, alpha=1.0)
    assert tuple(sheet[4 + 14, 4 + 20]) == (128, 0, 0) and tuple(sheet[4 + 48 + 14, 4 + 20]) == (0, 128, 0)
    assert tuple(sheet[4 + 48 + 14, 4 + 68 + 20]) == (100, 100, 100)


def test_title_and_captions_are_drawn_on_strips_and_long_ones_fit() -> None:
    frames, labels = [quarters(0)], [square()]
    plain = overlay_panel(frames, labels, width=64)
    titled = overlay_panel(frames, labels, width=64, title="a title that is much too long for it", captions=["00000"])
    assert titled.shape[1] == plain.shape[1] and titled.shape[0] > plain.shape[0]
    assert titled[:20].max() > 150  # ink


def test_a_sheet_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="0 frames"):
        overlay_panel([], [])
    with pytest.raises(UsageError, match="1 frames but 2 label maps"):
        overlay_panel([quarters(0)], [square()] * 2)
    with pytest.raises(UsageError, match="labels of frame 0 are"):
        overlay_panel([quarters(0)], [square((32, 64))])


def test_spread_picks_even_distances_with_both_ends() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(1, 4) == [0]
    assert spread(0, 4) == spread(5, 0) == []


def test_a_written_picture_is_read_back_unchanged(tmp_path: Path) -> None:
    write_picture(tmp_path / "new" / "p.png", quarters(2))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "p.png")), quarters(2))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["p.png"]
