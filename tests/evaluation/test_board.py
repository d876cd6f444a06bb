"""The leaderboard: what may be in one table, and how it is written down."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.test_records import example
from tests.helpers.contract_settings import toy_installed
from vos_zoo.cli import main
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.plot import charts_of
from vos_zoo.evaluation.board.published import PublishedRow, read_costs, read_published
from vos_zoo.evaluation.board.table import Board, build_board
from vos_zoo.evaluation.board.text import format_csv, format_markdown, format_text
from vos_zoo.evaluation.record import RunRecord, write_record
from vos_zoo.hub.weights import known_weights
from vos_zoo.registry import available_methods
from vos_zoo.tasks.leaderboard import published_rows
from vos_zoo.types import VOSError

PAPER = PublishedRow(
    "lwl", "LWL", "davis2017-val", 30, {"J&F": 81.6}, "ECCV 2020", "https://arxiv.org/abs/2003.11540", 14.0, "a GPU"
)


GROUPS = ("J_seen", "F_seen", "J_unseen", "F_unseen")


def scored(method: str, jf: float, **changes: Any) -> RunRecord:
    """A record of a method with one score."""
    return example(method=method, scores={"J": jf - 0.02, "F": jf + 0.02, "J&F": jf}, weights=method * 9, **changes)


def board_of_all() -> Board:
    """A board with several methods, two sizes, published rows with and without a speed."""
    measured = {"lwl": (0.756, 21.0), "joint": (0.829, 9.0), "llb": (0.841, 6.5), "new": (0.801, 33.0)}
    records = [scored(name, jf, tracking_fps=fps, source=f"weights/{name}") for name, (jf, fps) in measured.items()]
    records += [scored("joint", 0.75, size=240, tracking_fps=30.0), scored("lwl", 0.7, size=240, tracking_fps=50.0)]
    return build_board(records, published_rows())


# -- groups ----------------------------------------------------------------------------------------------------------


def test_rows_are_ranked_by_their_score_with_papers_among_them() -> None:
    records = [scored("lwl", 0.80), scored("joint", 0.83), scored("llb", 0.75)]
    group = build_board(records, [PAPER]).groups[0]
    assert [(row.method, row.published) for row in group.rows] == [
        ("joint", False),
        ("lwl", True),
        ("lwl", False),
        ("llb", False),
    ]
    assert group.scores == ("J&F", "J", "F")
    assert group.rows[0].scores["J&F"] == pytest.approx(83.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"size": 240}, "size"), ({"precision": "bf16"}, "precision"), ({"device": "cpu"}, "device"), ({}, "")],
)
def test_runs_that_differ_in_size_precision_or_device_stand_apart_and_the_board_says_why(
    change: dict[str, Any], word: str
) -> None:
    board = build_board([scored("lwl", 0.8), scored("joint", 0.7, **change)])
    assert len(board.groups) == (2 if word else 1)
    assert board.warnings == ((f"davis2017-val: 2 tables, because the runs differ in {word}",) if word else ())
    if word:
        merged = build_board([scored("lwl", 0.8), scored("joint", 0.7, **change)], across=[word])
        assert len(merged.groups) == 1 and len(merged.groups[0].rows) == 2
        assert [f"runs that differ in {word} are in one table" in warning for warning in merged.groups[0].warnings]


def test_other_videos_never_share_a_table_whatever_is_asked() -> None:
    records = [scored("lwl", 0.8), scored("joint", 0.8, digest="e" * 64), scored("llb", 0.8, title="davis2017-train")]
    board = build_board(records, across=["size", "precision", "device"])
    assert [len(group.rows) for group in board.groups] == [1, 1, 1]
    assert board.warnings == ("davis2017-val: 2 tables, because the runs differ in data (frames, masks or lists)",)


def test_a_table_names_the_digest_of_its_data() -> None:
    board = build_board([scored("lwl", 0.8), scored("joint", 0.7, digest="e" * 64)])
    assert {group.data for group in board.groups} == {"d" * 64, "e" * 64}
    for text in (format_text(board), format_markdown(board), format_page(board)):
        assert "data dddddddddddd" in text and "data eeeeeeeeeeee" in text
    assert {row["digest"] for row in csv.DictReader(io.StringIO(format_csv(board)))} == {"d" * 64, "e" * 64}


def test_records_that_do_not_say_what_was_scored_bear_a_warning() -> None:
    old = RunRecord(*(getattr(scored("joint", 0.7), part) for part in ("result", "environment", "run")), schema=1)
    (group,) = build_board([scored("lwl", 0.8), old]).groups
    assert len(group.warnings) == 1 and "run vos-zoo test again" in group.warnings[0]
    assert RunRecord.from_json(old.to_json()) == old


def test_a_revision_with_changes_is_shown_as_that() -> None:
    (group,) = build_board([scored("lwl", 0.8, git="0123456789abcdef-dirty")]).groups
    assert group.rows[0].source.endswith("revision 01234567-dirty")


def test_equal_results_are_one_row_that_counts_them_and_the_newest_gives_the_speed() -> None:
    old = scored("lwl", 0.8, tracking_fps=1.0)
    new = scored("lwl", 0.8, tracking_fps=2.0, time="2026-11-22T00:00:00+00:00")
    (row,) = build_board([new, old]).groups[0].rows
    assert (row.runs, row.fps) == (2, 2.0)
    other = scored("lwl", 0.8000001)
    assert [row.runs for row in build_board([new, old, other]).groups[0].rows] == [1, 2]


def test_published_rows_of_a_whole_split_beside_runs_of_a_part_bear_a_warning() -> None:
    (group,) = build_board([scored("lwl", 0.8, videos=8)], [PAPER]).groups
    assert "these runs are of 8 videos, the published rows of the whole split, 30" in group.warnings[0]
    assert build_board([scored("lwl", 0.8)], [PAPER]).groups[0].warnings == ()


def test_all_frames_of_youtube_vos_stand_beside_the_scores_of_its_sampled_ones() -> None:
    paper = PublishedRow("lwl", "LWL", "youtube_vos2019-valid", 507, {"G": 81.0}, "README", "https://example.org")
    run = example(title="youtube_vos2019-valid_all_frames", videos=507, scores={"J": None, "F": None, "J&F": None})
    (group,) = build_board([run], [paper], show="all").groups
    assert [row.published for row in group.rows] == [True, False] and group.scores == ("G",)


def test_recall_and_decay_stay_in_the_record_and_groups_of_categories_are_shown() -> None:
    scores = {"J": 0.6, "F": 0.7, "J&F": 0.65, "J-Recall": 0.8, "J-Decay": 0.1, "G": 0.66, "J_seen": 0.6}
    assert build_board([example(scores=scores)]).groups[0].scores == ("G", "J_seen", "J&F", "J", "F")


def test_lvos_is_ranked_by_its_mean_over_both_groups_and_shows_the_groups_behind_it() -> None:
    scores = {"J&F": 0.7, "J": 0.6, "F": 0.8, "V": 0.1, "J_seen": 0.9, "F_seen": 0.9, "J_unseen": 0.3, "F_unseen": 0.7}
    paper = PublishedRow("x", "X", "davis2017-val", 30, {"J&F": 80.0}, "a table", "https://a.b")
    (group,) = build_board([example(scores=scores)], [paper]).groups
    assert group.scores == ("J&F", "J", "F", "J_seen", "F_seen", "J_unseen", "F_unseen", "V")
    assert [row.method for row in group.rows] == ["x", "lwl"]


def test_published_rows_of_other_data_are_shown_on_request_only() -> None:
    other = PublishedRow("lwl", "LWL", "other-val", 5, {"G": 50.0}, "a paper", "https://example.org")
    records = [scored("lwl", 0.8)]
    assert [g.title for g in build_board(records, [PAPER, other]).groups] == ["davis2017-val"]
    shown = build_board(records, [PAPER, other], show="all").groups
    assert [g.title for g in shown] == ["davis2017-val", "other-val"] and shown[1].rows[0].published
    assert not any(row.published for g in build_board(records, [PAPER, other], show="none").groups for row in g.rows)


def test_videos_that_failed_and_runs_without_a_score_are_not_hidden() -> None:
    hidden = {"J": None, "F": None, "J&F": None}
    (group,) = build_board([example(scores=hidden, failures={"dog": "broken"})]).groups
    assert group.warnings == ("not finished: dog",) and group.rows[0].scores == {}
    assert "weights/lwl" in format_text(build_board([example(scores=hidden)]))


# -- texts -----------------------------------------------------------------------------------------------------------


def test_the_terminal_table_marks_what_is_published() -> None:
    text = format_text(build_board([scored("lwl", 0.8, size=None)], [PAPER]))
    lines = text.splitlines()
    facts = "30 videos · 61 objects · data dddddddddddd · frames as stored · float32 · cuda:0 (GPU)"
    assert lines[0] == f"davis2017-val · {facts}"
    assert lines[3].split() == ["lwl", "*", "LWL", "81.6", "-", "-", "14.0", "-", "-", "-"]
    assert lines[4].split() == ["lwl", "weights/lwl", "80.0", "78.0", "82.0", "25.0", "1024", "42.0", "1"]
    assert "* published, not measured here" in text


def test_markdown_keeps_names_as_they_are_and_links_sources() -> None:
    text = format_markdown(build_board([scored("lwl", 0.8, source="a|b_c*[x](y)")], [PAPER]))
    assert r"a\|b\_c\*\[x\](y)" in text
    assert "[ECCV 2020](https://arxiv.org/abs/2003.11540) (speed on a GPU)" in text
    assert "*lwl (published)*" in text and "*81.6*" in text
    widths = {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "every row of the table has the same columns"


def test_the_csv_table_holds_every_row_with_its_group() -> None:
    board = board_of_all()
    rows = list(csv.DictReader(io.StringIO(format_csv(board))))
    assert len(rows) == sum(len(group.rows) for group in board.groups)
    ours = next(row for row in rows if row["method"] == "llb" and row["published"] == "no")
    assert (ours["J&F"], ours["size"], ours["memory"], ours["group"]) == ("84.1000", "480", str(2**30), "1")
    assert {row["published"] for row in rows if row["url"]} == {"yes"}


# -- published rows --------------------------------------------------------------------------------------------------


def test_every_published_row_says_where_it_stands_and_fits_the_others() -> None:
    rows = published_rows()
    assert {"STCN", "XMem", "DeAOT", "Cutie", "SAM 2.1", "EdgeTAM"} <= {row.method for row in rows} - set(
        available_methods()
    )
    for row in rows:
        assert (
            row.source and row.url.startswith("https://") and row.videos > 0 and re.match(r"20\d\d(-\d\d)?$", row.date)
        )
        assert set(row.scores) <= {"G", *GROUPS, "J&F", "J", "F"}
        assert all(0 < value < 100 for value in row.scores.values())
        assert (row.fps is None) == (row.hardware == ""), f"{row.model}: a speed needs its hardware"
        if {"J", "F", "J&F"} <= set(row.scores):
            assert (row.scores["J"] + row.scores["F"]) / 2 == pytest.approx(row.scores["J&F"], abs=0.1)
        if set(GROUPS) <= set(row.scores):
            assert sum(row.scores[name] for name in GROUPS) / 4 == pytest.approx(row.scores["G"], abs=0.1)
    assert all(len({r.videos for r in rows if r.data == data}) == 1 for data in {row.data for row in rows})


def test_published_rows_say_what_the_table_of_weights_says() -> None:
    rows = published_rows()
    data = {"davis16": "davis2016-val", "davis17": "davis2017-val"}
    data |= {f"youtube_vos{year}": f"youtube_vos20{year}-valid" for year in (18, 19)}
    checked = 0
    for local in known_weights():
        for name, scores in local.known.published.items():
            shown = [row.scores for row in rows if (row.method, row.data) == (local.method, data[name])]
            assert any(scores.items() <= dict(row).items() for row in shown), f"{local.known.name} on {name}"
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a list of published rows"),
        ('[{"model": "x"}]', "not a list of published rows"),
        ('[{"model": "x", "data": "d", "videos": 1, "scores": {}, "source": "", "url": "https://x"}]', "no source"),
        ('[{"model": "x", "data": "d", "videos": 1, "scores": {}, "source": "s", "url": "http://x"}]', "no https"),
    ],
)
def test_a_published_row_without_a_source_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "published.json").write_text(content)
    with pytest.raises(VOSError, match=r"published\.json") as caught:
        read_published(tmp_path / "published.json", "lwl")
    assert message.split()[-1] in str(caught.value)


def test_one_method_of_two_sources_is_two_rows_with_their_sources_and_devices() -> None:
    board = build_board([scored("lwl", 0.8)], published_rows(), costs=read_costs())
    (group,) = board.groups
    stcn = {(row.model, row.scores["J&F"], row.fps, row.device) for row in group.rows if row.method == "STCN"}
    assert stcn == {("STCN, s012", 85.3, 20.2, "RTX 2080 Ti"), ("STCN", 85.4, 62.8, "A100")}
    assert all(row.date and row.source for row in group.rows)
    edge = next(row for row in group.rows if row.model == "EdgeTAM")
    assert (edge.scores["J&F"], edge.fps, edge.cost) == (87.7, 150.9, 3.58)
    assert "2025-01; one speed for all data sets" in format_page(board)


def test_speeds_of_different_devices_are_never_in_one_chart() -> None:
    records = [scored("lwl", 0.8), scored("joint", 0.82, tracking_fps=9.0)]
    (group,) = build_board(records, published_rows(), costs=read_costs()).groups
    charts = charts_of(group.rows, "J&F")
    assert {"speed on A100", "speed on cuda:0 (GPU)"} <= {chart.title for chart in charts[:-2]}
    assert [chart.title for chart in charts][-2:] == ["parameters", "cost on one CPU core, measured here"]
    for chart in charts[:-2]:
        assert len({row.device for row in group.rows if chart.value(row)}) == 1
    assert {row.model for row in group.rows if charts[-1].value(row)} >= {"Cutie-base", "XMem", "PCVOS, L = 5"}


def test_costs_on_a_cpu_core_are_a_table_of_their_own_without_scores() -> None:
    records = [scored("lwl", 0.8)]
    assert build_board(records, published_rows(), costs=read_costs()).costs == ()
    board = build_board(records, published_rows(), costs=read_costs(), show="all")
    text, page, markdown = format_text(board), format_page(board), format_markdown(board)
    assert re.search(r"EfficientTAM +EfficientTAM-Ti, 512 px +1.39 +5.42 +72 +281", text)
    assert all("Cost on one CPU core" in one and "EfficientTAM-Ti" in one for one in (page, markdown))
    titles = {group.title for group in board.groups}
    assert {"mose-valid", "sav-val", "sav-test", "lvos_v2-valid", "youtube_vos2019-valid"} <= titles
    names = {row.model for row in published_rows()}
    assert all(set(cost.published_as) <= names for cost in read_costs())


def test_a_method_of_another_package_needs_no_published_rows() -> None:
    with toy_installed():
        assert not [row for row in published_rows() if row.method == "toy"]


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_the_board_and_writes_it_in_three_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(scored("lwl", 0.8), tmp_path / "runs" / "a")
    write_record(scored("joint", 0.83), tmp_path / "runs" / "b")
    words = ["leaderboard", str(tmp_path / "runs"), "--output", str(tmp_path / "board")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.index("joint  ") < out.index("lwl  ") and "published" not in out.splitlines()[0]
    written = sorted(path.name for path in (tmp_path / "board").iterdir())
    assert written == ["leaderboard.csv", "leaderboard.html", "leaderboard.md"]
    assert main(["leaderboard", str(tmp_path / "runs"), "--published", "none"]) == 0
    assert "*" not in capsys.readouterr().out


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    write_record(scored("lwl", 0.8), tmp_path)
    script = f"import sys, vos_zoo.cli; assert vos_zoo.cli.main(['leaderboard', {str(tmp_path)!r}]) == 0; "
    script += "sys.exit('torch' in sys.modules or 'wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).returncode == 0


def test_a_damaged_record_is_left_out_by_name_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(scored("lwl", 0.8), tmp_path / "a")
    broken = json.loads((tmp_path / "a" / "record.json").read_text())
    broken["result"]["scores"]["J"] = 1.0
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_text(json.dumps(broken))
    assert main(["leaderboard", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"! left out: {tmp_path / 'b' / 'record.json'}" in out and "edited" in out and "weights/lwl" in out


def test_folders_without_records_are_refused_with_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(tmp_path)]) == 2
    assert "vos-zoo test, score and benchmark write one" in capsys.readouterr().err
    assert main(["leaderboard", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["leaderboard", str(tmp_path), "--published", "all"]) == 0
    assert "published rows only" in capsys.readouterr().out
