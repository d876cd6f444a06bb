"""How the runner reads, runs, and measures a tracker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.known_trackers import Squares, perfect, quiet, spy
from vos_zoo.evaluation import copy_first_mask, format_table
from vos_zoo.evaluation.meters import Clock
from vos_zoo.evaluation.report import EvaluationReport
from vos_zoo.types import Frame, FrameResult, LabelMap, VideoSequence, VOSError
from vos_zoo.video.masks import read_mask

# -- running ---------------------------------------------------------------------------------------------------------


def test_a_model_is_run_by_its_track_method_with_the_given_options() -> None:
    calls: list[Any] = []

    class Model:
        def track(self, frames: Any, prompts: Any, **options: Any) -> Iterator[FrameResult]:
            return spy(calls)(frames, prompts, **options)  # type: ignore[no-any-return]

    report = quiet(Model(), [Squares()], track_options={"memory": 3})
    assert report.jf == 1.0 and calls == [([0], {"memory": 3})]
    assert report.settings["options"] == {"memory": 3}


def test_frames_are_read_in_order_a_few_ahead_of_the_tracker() -> None:
    read: list[int] = []

    class Watched(Squares):
        def frame(self, index: int) -> Frame:
            read.append(index)
            return super().frame(index)

        def frame_content(self, index: int) -> bytes:
            return b""

    def watching(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            assert len(read) <= item.index + 1 + 4 + 1
            yield item

    assert not quiet(watching, [Watched()]).failures
    assert read == list(range(8))


def test_reading_time_is_not_counted_as_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("vos_zoo.evaluation.meters.time.perf_counter", lambda: now[0])

    def slow() -> Iterator[Frame]:
        for index in range(8):
            now[0] += 10
            yield Squares().frame(index)

    clock = Clock()
    with clock.tracking():
        for _ in clock.reading(slow()):
            now[0] += 1
    assert now[0] == 88 and clock.seconds == pytest.approx(8)


class Torn(Squares):
    """Frame 5 or the ground truth of frame 3 cannot be read."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def frame(self, index: int) -> Frame:
        if self.part == "frame" and index == 5:
            raise VOSError("frame 5 is broken")
        return super().frame(index)

    def labels(self, index: int) -> LabelMap | None:
        if self.part == "labels" and index == 3 and threading.current_thread() is not threading.main_thread():
            raise VOSError("the ground truth of frame 3 is broken")
        return super().labels(index)

    def frame_content(self, index: int) -> bytes:
        return b""


def running() -> int:
    return sum(thread.name in ("reading ahead", "writing behind") for thread in threading.enumerate())


def test_the_first_error_is_reported_and_results_before_an_unreadable_frame_are_written(tmp_path: Path) -> None:
    report = quiet(perfect, [Torn("frame")], output=tmp_path)
    assert [failure.message for failure in report.failures] == ["frame 5 is broken"]
    assert sorted(path.stem for path in tmp_path.glob("masks/*/*.png")) == [f"{5 * t:05d}" for t in range(5)]

    def broken(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            if item.index == 6:
                raise ValueError("the tracker fails later")
            yield item

    report = quiet(broken, [Torn("labels")])
    assert [failure.message for failure in report.failures] == ["the ground truth of frame 3 is broken"]
    assert running() == 0


def test_results_that_the_tracker_gave_are_written_when_a_run_is_interrupted(tmp_path: Path) -> None:
    def interrupted(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            if item.index == 6:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        quiet(interrupted, [Squares()], output=tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("masks/*/*.png")) == [f"{5 * t:05d}" for t in range(6)]
    assert running() == 0
    whole = quiet(perfect, [Squares()], output=tmp_path)
    assert whole.jf == 1.0 and not whole.failures


def test_an_evaluation_of_nothing_finished_still_makes_a_report() -> None:
    report = EvaluationReport(())
    assert (report.jf, report.fps, report.peak_memory) == (None, None, None)
    assert json.loads(json.dumps(report.to_json()))["scores"]["J"] is None
    assert "sequence" in format_table(report)


def test_a_real_sequence_scores_as_the_metrics_say(data_dir: Path) -> None:
    root = data_dir / "davis16_480p_part"
    files = sorted((root / "Annotations" / "480p" / "dog").glob("*.png"))[:6]

    class Dog(VideoSequence):
        name, object_ids, frame_names = "dog", (1,), tuple(file.stem for file in files)

        def frame(self, index: int) -> Frame:
            return np.asarray(Image.open(root / "JPEGImages" / "480p" / "dog" / f"{self.frame_names[index]}.jpg"))

        def labels(self, index: int) -> LabelMap:
            return read_mask(files[index])

        def prompts(self) -> dict[int, LabelMap]:
            return {0: self.labels(0)}

    score = quiet(copy_first_mask, [Dog()]).objects[0]
    first, second = read_mask(files[0]) > 0, read_mask(files[1]) > 0
    assert score.J[0] == pytest.approx((first & second).sum() / (first | second).sum())
    assert 0.2 < score.boundary.mean < 1.0 and len(score.frames) == 4


def test_importing_the_evaluation_does_not_import_torch() -> None:

    code = "import sys, vos_zoo.evaluation as e; e.evaluate; e.format_table; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
