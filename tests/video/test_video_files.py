"""Video files as they are met: covers, variable rates, cut and trimmed files, odd names."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.video_files import SIZE, av, cut, duration, encode, frame
from vos_zoo.types import Frame, UsageError, VOSError
from vos_zoo.video.containers import is_cut_off
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import OverlayVideoWriter, open_writer

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")
    )
    for name, module in (("pyav", "av"), ("opencv", "cv2"))
]


def number(picture: Frame) -> int:
    return round((float(picture[50:, 60:].mean()) - 20) / 5)


def atom(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def atoms(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place : place + size]
        place += size


def add_cover(path: Path, first: bool) -> None:
    """Put a blue cover picture into an MP4's tags, before or behind the track."""
    picture = io.BytesIO()
    Image.fromarray(np.full((*SIZE, 3), (0, 0, 255), np.uint8)).save(picture, "JPEG")
    cover = atom(b"ilst", atom(b"covr", atom(b"data", struct.pack(">II", 13, 0) + picture.getvalue())))
    handler = atom(b"hdlr", struct.pack(">II4s4sIIB", 0, 0, b"mdir", b"appl", 0, 0, 0))
    tags = atom(b"udta", atom(b"meta", struct.pack(">I", 0) + handler + cover))
    whole = b""
    for kind, part in atoms(path.read_bytes()):
        if kind == b"moov":
            inner = [piece for name, piece in atoms(part[8:]) if name != b"udta"]
            pieces = [inner[0], tags, *inner[1:]] if first else [*inner, tags]
            part = atom(b"moov", b"".join(pieces))
        whole += part
    path.write_bytes(whole)


# -- covers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["before the track", "behind the track"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cover_picture_is_not_the_video(tmp_path: Path, backend: Any, first: bool) -> None:
    add_cover(encode(tmp_path / "a.mp4", 12), first)
    source = open_video(tmp_path / "a.mp4", backend=backend)
    assert (source.fps, source.length) == (pytest.approx(25), 12)
    assert [number(picture) for picture in source] == list(range(12))
    assert [number(picture) for picture in source] == list(range(12)), "it can be read again"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_whose_sound_comes_first_is_read(tmp_path: Path, backend: Any) -> None:
    source = open_video(encode(tmp_path / "a.mp4", 12, audio=True), backend=backend)
    assert [number(picture) for picture in source] == list(range(12))


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    add_cover(tmp_path / "song.m4a", first=True)
    with pytest.raises(UsageError, match=r"song\.m4a: has no video stream"):
        open_video(tmp_path / "song.m4a", backend="pyav")
    with pytest.raises(UsageError, match=r"song\.m4a: cannot be decoded"):
        open_video(tmp_path / "song.m4a", backend="opencv")


# -- rates and times -------------------------------------------------------------------------------------------------


def recorded(path: Path, count: int = 40, seed: int = 1) -> np.ndarray:
    """A WebM as browsers record it: frames as they arrived, no declared rate; returns their times in seconds."""
    times = np.cumsum(np.random.default_rng(seed).integers(15, 120, count))
    encode(path, count, [int(time) for time in times], codec="libvpx")
    data = bytearray(path.read_bytes())
    place = data.find(b"\x23\xe3\x83")  # DefaultDuration becomes Void
    length = 4 + (data[place + 3] & 0x7F)
    data[place : place + length] = b"\xec" + bytes([0x80 | (length - 2)]) + bytes(length - 2)
    path.write_bytes(data)
    return (times - times[0]) / 1000


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rate_that_is_not_declared_is_that_of_the_frames_times(tmp_path: Path, backend: Any) -> None:
    times = recorded(tmp_path / "rec.webm")
    source = open_video(tmp_path / "rec.webm", backend=backend)
    assert source.fps == pytest.approx((len(times) - 1) / times[-1], rel=1e-3)
    assert source.length == len(times)
    with OverlayVideoWriter(tmp_path / "o.mp4", fps=source.fps) as writer:
        for index, picture in enumerate(source):
            writer.write(index, picture, np.zeros(SIZE, np.uint8))
    assert duration(tmp_path / "o.mp4") == pytest.approx(times[-1], abs=0.12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overlay_shows_every_frame_when_the_recording_does(tmp_path: Path, backend: Any) -> None:
    times = recorded(tmp_path / "rec.webm")
    source = open_video(tmp_path / "rec.webm", backend=backend)
    assert source.time(0) is None, "not read yet"
    with open_writer(tmp_path / "o.mp4", fps=source.fps, time=source.time) as writer:
        for index, picture in enumerate(source):
            writer.write(index, picture, np.zeros(SIZE, np.uint8))
    overlay = open_video(tmp_path / "o.mp4", backend="pyav")
    assert len(list(overlay)) == len(times)
    assert [overlay.time(index) for index in range(len(times))] == pytest.approx(list(times), abs=2e-3)
    assert duration(tmp_path / "o.mp4") == pytest.approx(times[-1], abs=0.12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_mp4_of_variable_rate_has_its_mean_rate(tmp_path: Path, backend: Any) -> None:
    times = np.cumsum([0] + [33] * 30 + [133] * 9)
    source = open_video(encode(tmp_path / "a.mp4", 40, [int(time) for time in times]), backend=backend)
    assert source.fps == pytest.approx(39 / (times[-1] / 1000), rel=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mov"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_files_of_constant_rate_keep_it(tmp_path: Path, backend: Any, name: str) -> None:
    path = encode(tmp_path / name, 30, codec="mpeg4" if name == "a.avi" else "libx264")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_video(path, backend=backend)
        assert source.fps == pytest.approx(25)
        assert [number(picture) for picture in source] == list(range(30))


def test_times_that_stand_still_or_run_back_do_not_break_an_overlay(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.04, 0.02, None, 0.2]
    with OverlayVideoWriter(tmp_path / "o.mp4", fps=25, time=times.__getitem__) as writer:
        for index in range(len(times)):
            writer.write(index, frame(index), np.zeros(SIZE, np.uint8))
    assert [number(picture) for picture in open_video(tmp_path / "o.mp4")] == list(range(len(times)))


# -- files that break off --------------------------------------------------------------------------------------------

CUTS = [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.avi", {}), ("a.webm", {})]
CODECS = {"a.avi": "mpeg4", "a.webm": "libvpx"}


@pytest.mark.parametrize(("name", "muxer"), CUTS, ids=[name for name, _ in CUTS])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("error")
def test_a_file_that_is_cut_off_gives_its_frames_and_then_names_the_first_that_is_missing(
    tmp_path: Path, backend: Any, name: str, muxer: dict[str, str]
) -> None:
    path = cut(encode(tmp_path / name, 30, codec=CODECS.get(name, "libx264"), **muxer), 0.85)
    frames = []
    with pytest.raises(VOSError, match=rf"{name}: the file is cut off: frame \d+ .*is missing") as caught:
        for picture in open_video(path, backend=backend):
            frames.append(number(picture))
    assert 3 < len(frames) < 30
    assert f"frame {len(frames)} " in str(caught.value)
    assert frames == list(range(len(frames)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("error")
def test_a_download_whose_space_was_reserved_ends_where_its_zeros_begin(
    tmp_path: Path, backend: Any, name: str
) -> None:
    path = encode(tmp_path / name, 30, codec=CODECS.get(name, "libx264"), movflags="faststart" if "mp4" in name else "")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10] + bytes(len(data) - len(data) * 7 // 10))
    frames = []
    with pytest.raises(VOSError, match=rf"{name}: the file is cut off: frame \d+ of the 30 it declares is missing"):
        for picture in open_video(path, backend=backend):
            frames.append(number(picture))
    assert 3 < len(frames) < 30
    assert frames[:-1] == list(range(len(frames) - 1)), "the last one may have been damaged already"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_lost_its_index_is_said_to_be_cut_off(tmp_path: Path, backend: Any) -> None:
    path = cut(encode(tmp_path / "a.mp4"), 0.5)  # the index of such a file stands at its end
    with pytest.raises(UsageError, match=r"a\.mp4: the file is cut off before"):
        open_video(path, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_file_is_no_video(tmp_path: Path, backend: Any) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UsageError, match=r"a\.mp4: cannot be decoded"):
        open_video(tmp_path / "a.mp4", backend=backend)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name, muxer in CUTS:
        encode(folder / name, 8, codec=CODECS.get(name, "libx264"), **muxer)
    return folder


@given(st.floats(0, 1))
def test_a_whole_file_is_not_cut_off_and_any_part_of_it_is(whole: Path, share: float) -> None:
    for name, _ in CUTS:
        data = (whole / name).read_bytes()
        assert not is_cut_off(whole / name)
        part = whole / f"part-{name}"
        part.write_bytes(data[: 600 + int(share * (len(data) - 640))])
        assert is_cut_off(part)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("error")
def test_a_trimmed_video_that_declares_more_frames_than_it_shows_is_whole(tmp_path: Path, backend: Any) -> None:
    """Phones trim by an edit list: all frames stay in the file, some are not shown."""
    path = encode(tmp_path / "a.mp4", 30)
    data = bytearray(path.read_bytes())
    place = data.find(b"elst") + 12
    struct.pack_into(">I", data, place, 600)  # milliseconds
    path.write_bytes(data)
    frames = [number(picture) for picture in open_video(path, backend=backend)]
    assert frames == list(range(len(frames))) and 14 <= len(frames) < 30
    if backend == "pyav":
        assert open_video(path, backend=backend).length == len(frames)


# -- names -----------------------------------------------------------------------------------------------------------

ODD = ["2024-01-01T12:30:00.mp4", "clip%05d.mp4", "file:a.mp4", "a b'c\"d.mp4", "concat:a|b.mp4", "-y.mp4", "é ü.mp4"]
ODD += ["x" * 240 + ".mp4"]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("backend", BACKENDS)
def test_files_are_opened_and_written_whatever_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with OverlayVideoWriter(name, fps=25, backend=backend) as writer:
        for index in range(4):
            writer.write(index, frame(index), np.zeros(SIZE, np.uint8))
    assert os.listdir() == [name]
    for spelling in (name, f"./{name}", str(tmp_path / name)):
        assert len(list(open_video(spelling, backend=backend))) == 4


def test_a_place_that_cannot_be_written_is_named_with_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = OverlayVideoWriter(tmp_path / "file" / "o.mp4")
    with pytest.raises(VOSError, match=r"o\.mp4: cannot be written"):
        writer.write(0, frame(0), np.zeros(SIZE, np.uint8))
