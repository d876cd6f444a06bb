"""Tracking files that break off, and streams of a camera, from the command line."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.runs import run_apart
from tests.helpers.video_files import SIZE, cut, duration, encode, frame
from vos_zoo.cli import main
from vos_zoo.create import create_model
from vos_zoo.types import Frame, FrameResult
from vos_zoo.video.masks import read_mask, write_mask
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import open_writer

# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    torch.manual_seed(0)
    small = {"backbone": "timm:resnet10t", "feature_channels": 16, "label_channels": 4, "label_widths": [4, 4, 8]}
    create_model("lwl", track={"size": (32, 64)}, decoder_width=4, **small).save_pretrained(folder)
    return folder


def track(model: Path, source: Path, output: Path, *words: str) -> int:
    given = source.parent / "first.png"
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[16:40, 20:50] = 1
    write_mask(given, labels)
    weights = ["--weights", str(model), "--mask", str(given), "trainer.accelerator=cpu"]
    return main(["track", str(source), *weights, "--output", str(output), *words])


def test_tracking_a_cut_video_keeps_what_it_has_and_fails_with_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cut(encode(tmp_path / "a.mp4", 30, movflags="faststart"), 0.85)
    assert track(model, path, tmp_path / "out", "--overlay") == 1
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("vos-zoo")]
    masks = sorted((tmp_path / "out").glob("*.png"))
    assert len(lines) == 1 and f"frame {len(masks)} of the 30 it declares is missing" in lines[0]
    assert "are kept" in lines[0]
    assert 3 < len(masks) < 30 and read_mask(masks[-1]).shape == SIZE
    assert len(list(open_video(tmp_path / "out" / "overlay.mp4"))) == len(masks)


def test_a_mask_for_a_frame_behind_the_cut_does_not_hide_the_cut(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cut(encode(tmp_path / "a.mp4", 30, movflags="faststart"), 0.85)
    for index in (0, 29):
        labels = np.zeros(SIZE, dtype=np.uint8)
        labels[16:40, 20:50] = 1
        write_mask(tmp_path / "masks" / f"{index:05d}.png", labels)
    words = ["--weights", str(model), "--mask", str(tmp_path / "masks"), "trainer.accelerator=cpu"]
    assert main(["track", str(path), *words, "--output", str(tmp_path / "out")]) == 1
    assert "is cut off" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.png"))) > 3


def test_a_frame_that_breaks_in_the_middle_of_a_folder_leaves_the_results_before_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(5):
        Image.fromarray(frame(index)).save(tmp_path / "frames" / f"{index:05d}.png")
    broken = tmp_path / "frames" / "00003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert track(model, tmp_path / "frames", tmp_path / "o.mp4") == 1
    assert "00003.png" in capsys.readouterr().err
    assert len(list(open_video(tmp_path / "o.mp4"))) == 3


@pytest.mark.parametrize("every", [1, 4])
def test_an_overlay_lasts_as_long_as_the_video_however_few_frames_are_written(
    model: Path, tmp_path: Path, every: int
) -> None:
    path = encode(tmp_path / "a.mp4", 24)
    assert track(model, path, tmp_path / "o.mp4", "--every", str(every)) == 0
    overlay = open_video(tmp_path / "o.mp4")
    count = len(list(overlay))
    assert count == 24 // every
    assert [overlay.time(index) for index in range(count)] == pytest.approx([every * t / 25 for t in range(count)])
    assert duration(tmp_path / "o.mp4") == pytest.approx(24 / 25, abs=0.05)


def test_warnings_of_the_package_are_single_lines_at_the_terminal(model: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(11):
        Image.fromarray(frame(index)).save(tmp_path / "frames" / f"{index}.png")
    write_mask(tmp_path / "first.png", (frame(0)[..., 0] == 220).astype(np.uint8))
    words = ["--weights", str(model), "--mask", "first.png", "--output", "out", "trainer.accelerator=cpu"]
    code, said = run_apart(["track", "frames", *words], tmp_path, partial(os.chdir, tmp_path))
    assert code == 0, said
    warned = [line for line in said.replace("\r", "\n").splitlines() if "the numbers in the names" in line]
    assert len(warned) == 1 and warned[0].startswith("vos-zoo: warning: frames: ")


class Camera:
    """Stands in for OpenCV's capture: pictures without end; the fifth one of a stream is accompanied by Ctrl-C."""

    opened = 0

    def __init__(self, number: int) -> None:
        Camera.opened += 1
        self.count, self.stream = 0, Camera.opened > 1  # the first capture only looks

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Frame]:
        self.count += 1
        if self.stream and self.count == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return True, frame(self.count)

    def get(self, key: int) -> float:
        return -1.0

    def release(self) -> None:
        pass


def test_ctrl_c_ends_a_cameras_stream_and_keeps_the_overlay(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "opened", 0)
    write_mask(tmp_path / "first.png", (frame(0)[..., 0] == 220).astype(np.uint8))
    usual = signal.getsignal(signal.SIGINT)
    words = ["--weights", str(model), "--mask", str(tmp_path / "first.png"), "trainer.accelerator=cpu"]
    assert main(["track", "camera:3", *words, "--output", str(tmp_path / "o.mp4")]) == 0
    assert signal.getsignal(signal.SIGINT) is usual
    assert len(list(open_video(tmp_path / "o.mp4", backend="pyav"))) == 4


def test_a_result_for_every_frame_is_all_a_writer_needs(tmp_path: Path) -> None:
    """`time` has to be known only when a frame is written."""
    result = FrameResult(0, (), np.zeros((1, *SIZE), dtype=np.float32))  # type: ignore[arg-type]
    with open_writer(tmp_path / "masks", time=lambda index: None) as writer:
        writer.write(result.index, frame(0), np.zeros(SIZE, np.uint8))
    assert (tmp_path / "masks" / "00000.png").is_file()
