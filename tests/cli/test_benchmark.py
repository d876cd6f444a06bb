"""`vos-zoo benchmark`: speed behind the warm-up, peak memory, a record, and the board's table of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.contract_settings import build_lively, moving_squares
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config
from vos_zoo.evaluation.board.speed import speed_groups
from vos_zoo.evaluation.speed import SpeedRow, time_stream
from vos_zoo.evaluation.speed_record import SpeedRecord, find_speed_records, read_speed_record, write_speed_record
from vos_zoo.tasks import benchmark
from vos_zoo.types import VOSError

ROW = SpeedRow(objects=1, warm_up=10, frames=20, seconds=4.0, peak_memory=2**30, memory_kind="process")
RECORD = SpeedRecord(
    source="joint-small",
    method="joint",
    weights="a" * 64,
    parameters=5_000_000,
    height=480,
    width=854,
    precision="float32",
    device="cpu (A)",
    threads=2,
    rows=(ROW, replace(ROW, objects=5, seconds=10.0)),
    git=None,
    versions={"torch": "2.6"},
    time="2026-01-01T00:00:00+00:00",
)


def test_the_time_of_the_warm_up_and_of_drawing_frames_does_not_count() -> None:
    video, now = moving_squares(5), [0.0]
    model = build_lively("lwl")

    def frames():  # type: ignore[no-untyped-def]
        for frame in video.frames:
            now[0] += 1000.0  # drawing
            yield frame

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    assert time_stream(model.propagator(), frames(), video.labels[0], warm_up=3, clock=clock) == pytest.approx(1.0)


def test_weights_are_measured_and_the_record_is_on_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "apart", benchmark.measure_case)  # else two processes start
    build_lively("pcvos").save_pretrained(tmp_path / "model")
    words = ["--weights", str(tmp_path / "model"), "--objects", "1,2", "--size", "48", "--warm-up", "5"]
    assert main(["benchmark", *words, "--frames", "5", "--output", str(tmp_path / "runs" / "b")]) == 0
    told = capsys.readouterr().out
    assert "1 object: " in told and "2 objects: " in told and "frames 86 x 48" in told and "device: cpu (" in told
    record = read_speed_record(next(find_speed_records([tmp_path / "runs"])))
    assert [(row.objects, row.frames) for row in record.rows] == [(1, 5), (2, 5)]
    assert all(row.seconds > 0 and row.peak_memory > 2**20 for row in record.rows)
    assert main(["leaderboard", str(tmp_path / "runs"), "--output", str(tmp_path / "board")]) == 0
    assert "speed on 86 x 48 frames" in capsys.readouterr().out
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "speed on 86 x 48 frames" in page and "2 objects" in page


def test_each_case_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    build_lively("lwl").save_pretrained(tmp_path)
    config = load_config("lwl", trained=True)
    facts, row = benchmark.apart(config, str(tmp_path), 1, 48, 1, 2)
    assert facts["method"] == "lwl" and row.frames == 2


def test_a_table_holds_one_setting_fastest_first_with_the_newest_of_equal_measurements() -> None:
    faster = replace(RECORD, source="pcvos-small", weights="b" * 64, rows=(replace(ROW, seconds=2.0),))
    later = replace(RECORD, time="2026-01-02T00:00:00+00:00", rows=(replace(ROW, seconds=5.0),))
    elsewhere = replace(RECORD, device="cpu (B)")
    groups = speed_groups([later, RECORD, faster, elsewhere])
    assert [group.facts for group in groups] == [
        ("cpu (A)", "2 threads", "float32"),
        ("cpu (B)", "2 threads", "float32"),
    ]
    rows = [(row.model, row.fps, row.runs) for row in groups[0].rows]
    assert rows == [
        ("pcvos-small, 1 object", 10.0, 1),
        ("joint-small, 1 object", 4.0, 2),
        ("joint-small, 5 objects", 2.0, 1),
    ]


def test_a_record_is_read_as_it_was_written_and_others_are_refused(tmp_path: Path) -> None:
    path = write_speed_record(RECORD, tmp_path)
    assert read_speed_record(path) == RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(VOSError, match="a record of schema 99, this version reads 1; update"):
        read_speed_record(path)
    path.write_text("{}")
    with pytest.raises(VOSError, match="run vos-zoo benchmark again"):
        read_speed_record(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--objects", "0"], "--objects: '0' must be a whole number from 1 to 6"),
        (["--objects", "1,x"], "--objects: 'x' must be"),
        (["--size", "8"], "--size: '8' must be a whole number from 32"),
        (["--frames", "0"], "--frames: '0' must be"),
    ],
)
def test_impossible_requests_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--weights", "joint-small", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_prompt_of_a_measurement_holds_the_objects_that_were_asked_for() -> None:
    from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings

    for objects in (1, 5):
        settings = SyntheticSettings(
            size=(480, 854), frames=2, min_objects=objects, max_objects=objects, late_objects=0.0
        )
        labels = SyntheticDataset(videos=1, split="test", settings=settings)[0].labels(0)
        assert labels is not None and set(np.unique(labels)) - {0} == set(range(1, objects + 1))
