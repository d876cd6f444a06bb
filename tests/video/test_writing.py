"""Writing masks and overlay videos, and pairing results with their frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_videos import BACKENDS, SIZE, quarters, square
from vos_zoo.types import FrameResult, UsageError, VOSError
from vos_zoo.video.json_writer import JsonWriter
from vos_zoo.video.masks import read_mask
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import CombinedWriter, MaskFolderWriter, OverlayVideoWriter, open_writer, with_frames

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
    assert isinstance(open_writer(tmp_path / "o.json"), JsonWriter)
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
