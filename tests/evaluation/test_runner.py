"""How the runner reads, runs, and measures a tracker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.known_trackers import Squares, perfect, quiet, spy
from vos_zoo.evaluation import copy_first_mask, format_table
from vos_zoo.evaluation.report import EvaluationReport
from vos_zoo.types import Frame, FrameResult, LabelMap, VideoSequence
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


def test_frames_are_read_one_by_one_as_the_tracker_asks() -> None:
    read: list[int] = []

    class Watched(Squares):
        def frame(self, index: int) -> Frame:
            read.append(index)
            return super().frame(index)

        def frame_content(self, index: int) -> bytes:
            return b""

    def watching(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            assert len(read) == item.index + 1
            yield item

    assert not quiet(watching, [Watched()]).failures
    assert read == list(range(8))


def test_reading_time_is_not_counted_as_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("vos_zoo.evaluation.runner.time.perf_counter", lambda: now[0])

    class Slow(Squares):
        def frame(self, index: int) -> Frame:
            now[0] += 10
            return super().frame(index)

    def thinking(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            now[0] += 1
            yield item

    outcome = quiet(thinking, [Slow()]).sequences[0]
    assert outcome.tracking_seconds == pytest.approx(8) and outcome.seconds == pytest.approx(88)


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
