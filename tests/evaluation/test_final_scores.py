"""`vos-zoo test` on data sets whose protocol `vos-zoo score` knows: the same numbers, archives, masks per object."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.helpers.benchmark_sets import MAKERS
from tests.helpers.tiny_lwl import save_tiny
from vos_zoo.cli import main
from vos_zoo.evaluation.protocols import protocol_of
from vos_zoo.evaluation.record import read_record
from vos_zoo.evaluation.referee.protocols import PROTOCOLS
from vos_zoo.evaluation.wandb_runs import object_rows, sequence_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "model")


def run_test(model: Path, name: str, root: Path, out: Path) -> int:
    words = ["test", "--weights", str(model), "--data", name, f"data.root={root}", "--output", str(out)]
    return main([*words, "trainer.accelerator=cpu"])


@pytest.mark.parametrize("name", ["lvos", "sav", "vost"])
def test_a_run_has_the_numbers_that_scoring_its_masks_gives(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = MAKERS[name](tmp_path / "data"), tmp_path / "runs" / "run"
    assert run_test(model, name, root, out) == 0
    record = read_record(out / "record.json")
    said = capsys.readouterr().out
    assert "own numbers are those that vos-zoo test prints below" in said
    masks = out / ("objects" if name == "sav" else "masks")
    assert main(["score", str(masks), "--data", name, f"data.root={root}", "--output", str(tmp_path / "again")]) == 0
    scored = json.loads((tmp_path / "again" / "score_record.json").read_text())
    assert record.result.scores == scored["scores"] and record.result.scores
    assert (record.result.data.title, record.result.data.objects) == (scored["title"], scored["objects"])
    assert "data:image/jpeg" in (out / "protocol" / "report.html").read_text(), "the worst objects are shown"
    assert "data:image/jpeg" in (tmp_path / "again" / "report.html").read_text()
    assert len(object_rows(record)) == scored["objects"] and len(sequence_rows(record)) == 1
    if name == "sav":
        assert sorted(record.result.sequences["sav_000001"]) == ["000", "001"]
    capsys.readouterr()
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert scored["title"] in capsys.readouterr().out.splitlines()[0]


def test_mosev2_is_packed_as_its_server_wants_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = MAKERS["mosev2"](tmp_path / "data"), tmp_path / "run"
    assert run_test(model, "mosev2", root, out) == 0
    with zipfile.ZipFile(out / "submission.zip") as archive:
        assert archive.namelist() == [f"valid1/{index:05d}.png" for index in range(6)]
    assert "archive for the MOSEv2 server at Codabench" in capsys.readouterr().out
    words = ["check-submission", str(out / "submission.zip"), "--data", "mosev2", f"data.root={root}"]
    assert main(words) == 0


def test_every_data_set_with_a_protocol_of_its_own_names_one_that_exists() -> None:
    named = {protocol_of(name, 2017).scoring for name in MAKERS}
    assert "" not in named and named <= set(PROTOCOLS)
