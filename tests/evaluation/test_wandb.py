"""Runs at Weights & Biases without an account: offline files read back, and the online path against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from tests.evaluation.test_board import board_of_all, scored
from tests.evaluation.test_records import VIDEOS, example
from tests.helpers.tiny_lwl import save_tiny
from tests.helpers.wandb_stub import KEY, Run, WandbStub, wandb_stub
from vos_zoo.cli import main
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.referee.score_record import parse_score_record, read_score_record
from vos_zoo.evaluation.wandb_runs import (
    EVALUATION,
    LEADERBOARD,
    fetch_records,
    find_run_files,
    goes_online,
    log_record,
    object_rows,
    offline_config,
    publish_board,
    record_of,
    sequence_rows,
)
from vos_zoo.evaluation.wandb_scores import SCORING
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask
from vos_zoo.video.panels import write_picture


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account, no settings of the machine."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    wandb.teardown()  # its background process keeps the settings it was started with
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    """A server to log in to."""
    with wandb_stub() as stub:
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield stub
        assert stub.unknown == [], "the server was asked for something it does not know"


def run_folder(tmp_path: Path) -> Path:
    """A run's folder with three contact sheets."""
    for name in ("a", "b", "c"):
        write_picture(tmp_path / "run" / "overlays" / f"{name}.png", np.full((8, 8, 3), 9, np.uint8))
    return tmp_path / "run"


def the_run(server: WandbStub) -> Run:
    """The one run the server has got."""
    (run,) = server.runs.values()
    return run


def check_evaluation(run: Run) -> None:
    """What a logged record must have become at the server."""
    record = example()
    assert (run.title, run.job_type, run.finished) == ("run", EVALUATION, True)
    assert json.loads(run.config["record"]["value"]) == record.to_json()
    assert run.config["data"]["value"] == "davis2017-val" and run.config["size"]["value"] == 480
    assert {name: run.summary[name] for name in ("J", "F", "J&F")} == record.result.scores
    assert (run.summary["tracking_fps"], run.summary["parameters"]) == (25, 42_000_000)
    tables = {name: json.loads(run.files[run.summary[name]["path"]]) for name in ("sequences", "objects")}
    assert tables["sequences"]["columns"] == ["sequence", "objects", "J", "F", "J&F"]
    assert tables["sequences"]["data"] == [["dog", 1, 0.6, 0.7, 0.65]]
    assert tables["objects"]["data"] == [["dog", "1", 0.6, 0.7, 0.65]]
    assert run.summary["overlays"]["captions"] == ["a", "b"] and run.summary["overlays"]["count"] == 2
    assert all(run.files[name].startswith(b"\x89PNG") for name in run.summary["overlays"]["filenames"])


def test_an_offline_run_is_read_back_as_the_record_it_holds(tmp_path: Path) -> None:
    record = example(unscored={"leer": "it has no ground truth"}, failures={})
    log_record(record, run_folder(tmp_path), "vos-zoo", 2)
    (path,) = find_run_files([tmp_path, tmp_path / "run"])
    read = record_of(offline_config(path), str(path))
    assert read is not None and read.to_json() == record.to_json()
    assert "offline-run" in path.parent.name


def test_wandb_itself_reads_the_offline_run_and_sends_all_of_it(tmp_path: Path, server: WandbStub) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY")
        log_record(example(), run_folder(tmp_path), "vos-zoo", 2)
    assert server.operations == [], "offline is offline"
    (path,) = find_run_files([tmp_path])
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(path.parent)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_evaluation(the_run(server))


def test_with_a_key_the_run_goes_to_the_server_and_the_board_reads_it_there(
    tmp_path: Path, server: WandbStub, capsys: pytest.CaptureFixture[str]
) -> None:
    log_record(example(), run_folder(tmp_path), "vos-zoo", 2)
    check_evaluation(the_run(server))
    server.runs["other"] = Run("other", "a training", "train")
    for project in ("vos-zoo", "somebody/vos-zoo"):
        assert [record.to_json() for record in fetch_records(project)] == [example().to_json()]
    assert main(["leaderboard", "--source", "wandb"]) == 0
    assert "weights/lwl" in capsys.readouterr().out
    with pytest.raises(VOSError, match="cannot read project 'nowhere'"):
        fetch_records("nowhere")


def test_a_published_board_is_a_run_with_a_table_and_charts_per_group_and_the_page(
    tmp_path: Path, server: WandbStub
) -> None:
    board = board_of_all()
    publish_board(board, format_page(board), tmp_path, "somebody/vos-zoo")
    run = the_run(server)
    assert run.job_type == LEADERBOARD and run.finished
    assert len(board.groups) == 2
    for number, group in enumerate(board.groups, 1):
        table = json.loads(run.files[run.summary[f"{number} {group.title}/table"]["path"]])
        assert [row[1] for row in table["data"]] == [row.method for row in group.rows]
        assert [row[table["columns"].index("published")] for row in table["data"]] == [r.published for r in group.rows]
    charts = json.dumps(run.config["_wandb"]["value"]["visualize"])
    assert "J&F against speed on A100" in charts and "J&F against parameters" in charts
    assert "wandb/bar/v0" in charts and "wandb/scatter/v0" in charts
    assert run.files[run.summary["leaderboard"]["path"]].decode() == format_page(board)


def test_the_whole_way_without_an_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "test",
        "--weights",
        str(save_tiny(tmp_path / "model")),
        "--data",
        "synthetic",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*words, *VIDEOS, "trainer.accelerator=cpu", "logger.name=wandb"]) == 0
    capsys.readouterr()
    for source in ("runs", "wandb"):
        words = ["leaderboard", str(tmp_path / "out"), "--source", source, "--output", str(tmp_path / source)]
        assert main(words) == 0
    board = (tmp_path / "runs" / "leaderboard.csv").read_text()
    assert board == (tmp_path / "wandb" / "leaderboard.csv").read_text() and "synthetic-test" in board
    assert main(["leaderboard", str(tmp_path / "out"), "--publish"]) == 0
    configs = [offline_config(path) for path in find_run_files([tmp_path])]
    assert sorted("groups" in config for config in configs) == [False, True]
    pictures = list((tmp_path / "out" / "wandb").glob("offline-run-*/files/media/images/*.png"))
    assert len(pictures) == 2


def score_masks(tmp_path: Path, *words: str) -> Path:
    """Masks of two videos with one object that is half missing in one, scored by DAVIS's rules."""
    truth = np.zeros((20, 30), np.uint8)
    truth[4:14, 4:24] = 1
    half = np.where(np.arange(30) < 14, truth, 0).astype(np.uint8)
    for video in ("alpha", "beta"):
        for index in range(5):
            name = f"{video}/{index:05d}.png"
            write_mask(tmp_path / "DAVIS" / "Annotations" / "480p" / name, truth)
            write_mask(tmp_path / "masks" / name, half if video == "alpha" and index else truth)
    lists = tmp_path / "DAVIS" / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("alpha\nbeta\n")
    out = tmp_path / "runs" / "one"
    data = ["--data", "davis17", f"data.root={tmp_path / 'DAVIS'}", "--name", "Cutie", "--output", str(out)]
    assert main(["score", str(tmp_path / "masks"), *data, "logger.name=wandb", *words]) == 0
    return out


def check_scoring(run: Run, out: Path) -> None:
    """What scored masks must have become at the server."""
    assert (run.title, run.job_type, run.finished) == ("Cutie", SCORING, True)
    record = read_score_record(out / "score_record.json")
    assert parse_score_record(run.config["score_record"]["value"], "run") == record
    assert {name: run.summary[name] for name in ("J&F", "J", "F")} == record.scores and record.scores["J"] == 0.75
    tables = {name: json.loads(run.files[run.summary[name]["path"]]) for name in ("objects", "videos")}
    assert tables["objects"]["data"][0][:3] == ["alpha", "1", ""]
    assert tables["videos"]["columns"][0] == "video" and [row[0] for row in tables["videos"]["data"]] == [
        "alpha",
        "beta",
    ]
    assert "wandb/bar/v0" in json.dumps(run.config["_wandb"]["value"]["visualize"])
    assert run.files[run.summary["report"]["path"]].decode() == (out / "report.html").read_text()


def test_scored_masks_are_a_run_and_a_row_of_the_same_board(
    tmp_path: Path, server: WandbStub, capsys: pytest.CaptureFixture[str]
) -> None:
    out = score_masks(tmp_path)
    check_scoring(the_run(server), out)
    log_record(example(), run_folder(tmp_path), "vos-zoo", 0)
    capsys.readouterr()
    assert main(["leaderboard", "--source", "wandb"]) == 0
    board = capsys.readouterr().out
    assert "Cutie +" in board and "weights/lwl" in board and "STCN *" in board


def test_offline_files_hold_scored_masks_and_wandb_sends_them(
    tmp_path: Path, server: WandbStub, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY")
        out = score_masks(tmp_path)
        for source in ("runs", "wandb"):
            words = ["leaderboard", str(tmp_path / "runs"), "--source", source, "--output", str(tmp_path / source)]
            assert main(words) == 0
    boards = [(tmp_path / source / "leaderboard.csv").read_text() for source in ("runs", "wandb")]
    assert boards[0] == boards[1] and ",masks,Cutie," in boards[0] and server.operations == []
    (path,) = find_run_files([tmp_path / "runs"])
    sync = [sys.executable, "-m", "wandb", "sync", str(path.parent)]
    done = subprocess.run(sync, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    check_scoring(the_run(server), out)


def test_score_takes_no_other_key_of_the_logger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "masks").mkdir()
    for word, message in (("logger.images=3", "score takes logger.name=wandb"), ("logger.name=wand", "wandb")):
        assert main(["score", str(tmp_path / "masks"), "--data", "davis17", f"data.root={tmp_path}", word]) == 2
        assert message in capsys.readouterr().err


def test_rows_of_tables_cover_what_was_not_scored() -> None:
    record = example(
        sequences={"a": {}, "b": {"1": {"J": 0.2, "F": 0.4, "J&F": 0.3}, "5": {"J": 0.4, "F": 0.4, "J&F": 0.4}}}
    )
    assert sequence_rows(record) == [["a", 0, None, None, None], ["b", 2, pytest.approx(0.3), 0.4, 0.35]]
    assert [row[:2] for row in object_rows(record)] == [["b", "1"], ["b", "5"]]


@pytest.mark.parametrize(
    ("variables", "netrc", "online"),
    [
        ({}, "", False),
        ({"WANDB_API_KEY": KEY}, "", True),
        ({}, f"machine api.wandb.ai login user password {KEY}\n", True),
        ({}, "machine example.org login user password x\n", False),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", False),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "", False),
        ({"WANDB_MODE": "online"}, "", True),
    ],
)
def test_runs_are_sent_with_a_key_unless_the_mode_says_otherwise(
    variables: dict[str, str], netrc: str, online: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["HOME"])
    home.mkdir()
    (home / ".netrc").write_text(netrc)
    (home / ".netrc").chmod(0o600)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert goes_online() is online


@pytest.mark.parametrize("content", [b"", b"nonsense", b":W&B\xfe\xbe\x00" + b"\x00\x00\x00\x00\x03\x00\x01abc"])
def test_a_damaged_run_file_is_named_and_left_out(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run-x.wandb").write_bytes(content)
    with pytest.raises(VOSError, match=r"run-x\.wandb: cannot be read"):
        offline_config(tmp_path / "run-x.wandb")
    assert main(["leaderboard", str(tmp_path), "--source", "wandb", "--published", "all"]) == 0
    assert "left out" in capsys.readouterr().out


def test_a_run_file_that_ends_in_the_middle_gives_what_it_has(tmp_path: Path) -> None:
    log_record(scored("lwl", 0.8), tmp_path / "run", "vos-zoo", 0)
    (path,) = find_run_files([tmp_path])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])
    assert record_of(offline_config(path), str(path)) is not None


def test_nobody_logged_in_is_told_how_to_go_on() -> None:
    with pytest.raises(UsageError, match="wandb login"):
        fetch_records("vos-zoo")


def test_long_entries_that_cross_blocks_are_put_together(tmp_path: Path) -> None:
    sequences: dict[str, Any] = {f"video {n}": {"1": {"J": 0.5, "F": 0.5, "J&F": 0.5}} for n in range(3000)}
    record = example(sequences=sequences)
    log_record(record, tmp_path / "run", "vos-zoo", 0)
    (path,) = find_run_files([tmp_path])
    assert path.stat().st_size > 4 * 32768
    read = record_of(offline_config(path), str(path))
    assert read is not None and read.digest == record.digest
