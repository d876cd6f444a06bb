"""Results of scoring compared with each other, and their records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.scored_masks import PLAIN_FRAMES, TRUTH, score, videos, write_maps
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.published import PublishedRow
from vos_zoo.evaluation.board.table import build_board
from vos_zoo.evaluation.board.text import format_csv, format_markdown, format_text
from vos_zoo.evaluation.referee.compare import Result, compare
from vos_zoo.evaluation.referee.score_record import ScoreRecord, read_score_record, write_score_record
from vos_zoo.types import UsageError, VOSError


def test_two_results_are_compared_object_by_object(
    davis: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_maps(tmp_path / "better", videos(TRUTH), PLAIN_FRAMES)
    data = ("--data", "davis17", f"data.root={davis}")
    for source, out in ((masks, "a"), (tmp_path / "better", "b")):
        assert score(source, *data, "--output", tmp_path / out) == 0
    capsys.readouterr()
    assert score(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "c") == 0
    printed = capsys.readouterr().out
    assert re.search(r"alpha/1 +\d+\.\d+ +100\.00 +\+", printed)
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert found["difference"] > 0 and found["interval"][0] >= 0
    assert score(masks, tmp_path / "better", *data) == 0, "masks that were not scored before are scored now"
    assert "B is better" in capsys.readouterr().out


def result(values: Mapping[tuple[str, str], float], **options: Any) -> Result:
    base: dict[str, Any] = {"where": "x", "title": "t", "data": "d", "main": ("J", "F"), "values": values, "groups": {}}
    return Result(**{**base, **options})


def test_the_interval_is_of_videos_and_repeats() -> None:
    rng = np.random.default_rng(3)
    keys = [(f"v{number}", one) for number in range(30) for one in "12"]
    first = result({key: float(rng.uniform(0.4, 0.6)) for key in keys})
    second = result({key: value + 0.1 for key, value in first.values.items()})
    found = compare(first, second)
    assert found.difference == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1)), "a constant difference has no spread"
    third = result({key: value + float(rng.normal(0, 0.05)) for key, value in first.values.items()})
    low, high = compare(first, third).interval
    means = [np.mean([third.values[k] - first.values[k] for k in keys if k[0] == f"v{n}"]) for n in range(30)]
    expected = 1.96 * np.std(means) / np.sqrt(30)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert compare(first, third).interval == (low, high)


def test_groups_are_averaged_as_the_protocol_does() -> None:
    groups = {("a", "1"): "seen", ("b", "1"): "seen", ("c", "1"): "unseen"}
    first, second = dict.fromkeys(groups, 0.0), {("a", "1"): 1.0, ("b", "1"): 0.0, ("c", "1"): 1.0}
    assert compare(result(first, groups=groups), result(second, groups=groups)).scores == (0, 0.75)


def test_results_that_cannot_be_compared_are_refused_and_others_are_named() -> None:
    one = result({("a", "1"): 0.5})
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(one, result({("a", "1"): 0.5}, title="other"))
    with pytest.raises(UsageError, match="no object in common"):
        compare(one, result({("b", "1"): 0.5}))
    text = str(compare(one, result({("a", "1"): 0.5, ("b", "1"): 0.2}, data="e")))
    assert "only in B, and not compared: b/1" in text
    assert "not scored with the same truth" in text
    assert "one video alone" in text


def record(**changes: Any) -> ScoreRecord:
    base: dict[str, Any] = {
        "name": "Cutie-base",
        "source": "https://example.org/masks.zip",
        "protocol": "davis17",
        "title": "davis2017-val",
        "official": False,
        "quirks": (),
        "data": "d" * 64,
        "masks": "m" * 64,
        "videos": 30,
        "objects": 61,
        "scores": {"J&F": 0.879, "J": 0.846, "F": 0.912},
        "time": "2026-01-02T03:04:05+00:00",
        "version": "1",
    }
    return ScoreRecord(**{**base, **changes})


def test_records_of_scores_are_read_back_and_edited_ones_refused(tmp_path: Path) -> None:
    path = write_score_record(record(), tmp_path)
    assert read_score_record(path) == record()
    path.write_text(path.read_text().replace("0.879", "0.979"))
    with pytest.raises(VOSError, match="edited"):
        read_score_record(path)
    path.write_text(json.dumps({"schema": 99, "digest": ""}))
    with pytest.raises(VOSError, match="update"):
        read_score_record(path)


def test_the_board_keeps_truths_and_kinds_of_values_apart() -> None:
    paper = PublishedRow("Cutie", "Cutie-base", "davis2017-val", 30, {"J&F": 87.9}, "a table", "https://a.b")
    others = [record(data="e" * 64), record(official=True), record(title="sav-val"), record(), record(time="later")]
    board = build_board([], [paper], others)
    assert sorted(group.title for group in board.groups) == ["davis2017-val"] * 3 + ["sav-val"]
    twice = next(g for g in board.groups if g.data == "d" * 64 and g.title.startswith("davis") and "right" in g.heading)
    assert [(row.scored, row.published, row.runs) for row in twice.rows] == [(False, True, 1), (True, False, 2)]
    assert "+ masks made elsewhere, scored here" in format_text(board)
    assert "Cutie-base (masks)" in format_markdown(board)
    assert ",masks,Cutie-base,masks," in format_csv(board)
    assert '<span class="tag">masks</span>' in format_page(board)
