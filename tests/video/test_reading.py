"""Reading video files and folders of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_videos import BACKENDS, SIZE, quarters
from vos_zoo.types import Frame, UsageError, VOSError
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import OverlayVideoWriter


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
