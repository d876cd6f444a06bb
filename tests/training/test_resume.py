"""Resuming: a run that has reached its end is left alone, one that goes on ends as if it had never stopped."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.runs import chain, fit, weights
from vos_zoo.cli import main
from vos_zoo.model import VOSModel
from vos_zoo.training.finished import reached_limit
from vos_zoo.training.trainer import RunCheckpoint

RUN = ["run_name=a", "optim.ema=0.5", "data.batches_per_epoch=3", "logger.images=0", "logger.name=none"]
CLOCK = ("seconds", "clips per second", "data wait", "peak memory (GiB)", "steps since this start")


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in a folder: time of change and content."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def is_average(run: Path) -> bool:
    saved, model = weights(run), VOSModel.from_pretrained(run / "model").state_dict()
    assert not all(torch.equal(tensor, saved["current_model_state"][name]) for name, tensor in model.items())
    return all(torch.equal(tensor, saved["state_dict"][name]) for name, tensor in model.items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, with an average of its weights; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    assert fit(folder, *RUN, "trainer.max_epochs=1") == 0
    return folder / "a"


@pytest.mark.parametrize("how", ["by the same words", "by its configuration", "by its file"])
def test_a_finished_run_is_left_as_it_is(
    tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    run = tmp_path / "a"
    shutil.copytree(finished, run)
    before = files(tmp_path)
    if how == "by its configuration":
        assert main(["fit", "--config", str(run / "config.yaml"), "--ckpt", "last", f"output={tmp_path}"]) == 0
    else:
        ckpt = "last" if how == "by the same words" else str(run / "checkpoints" / "last.ckpt")
        assert fit(tmp_path, *RUN, "trainer.max_epochs=1", "--ckpt", ckpt) == 0
    assert files(tmp_path) == before and is_average(run)
    assert (
        f"nothing to do: {run} has reached trainer.max_epochs=1, raise it to continue training"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "limit", ["trainer.max_steps=2", "trainer.max_time=00:00:00:01"], ids=["steps, within an epoch", "time"]
)
def test_a_run_that_ended_by_another_limit_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    words = [*RUN, "trainer.max_epochs=-1", "trainer.limit_val_batches=0", limit]
    assert fit(tmp_path, *words) == 0
    before = files(tmp_path)
    assert fit(tmp_path, *words, "--ckpt", "last") == 0
    assert files(tmp_path) == before
    assert f"nothing to do: {tmp_path / 'a'} has reached {limit}" in capsys.readouterr().out


def test_what_a_finished_run_lacks_is_made_from_its_checkpoint(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "model")
    (tmp_path / "a" / "summary.json").unlink()
    assert fit(tmp_path, *RUN, "trainer.max_epochs=1", "--ckpt", "last") == 0
    assert is_average(tmp_path / "a")
    before, after = summary(finished), summary(tmp_path / "a")
    assert {name: after[name] for name in after if name not in CLOCK} == {
        name: before[name] for name in before if name not in CLOCK
    }
    assert after["steps since this start"] == 0 and after["clips per second"] == before["clips per second"]


def test_a_model_of_fewer_steps_is_replaced_by_that_of_the_checkpoint(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "a")
    wrong = {**summary(tmp_path / "a"), "steps": 2}
    (tmp_path / "a" / "summary.json").write_text(json.dumps(wrong))
    assert fit(tmp_path, *RUN, "trainer.max_epochs=1", "--ckpt", "last") == 0
    assert summary(tmp_path / "a")["steps"] == 3 and is_average(tmp_path / "a")


def test_a_run_whose_limit_was_raised_goes_on_and_its_summary_covers_all_of_it(tmp_path: Path, finished: Path) -> None:
    assert fit(tmp_path / "whole", *RUN, "trainer.max_epochs=2") == 0
    shutil.copytree(finished, tmp_path / "a")
    assert fit(tmp_path, *RUN, "trainer.max_epochs=2", "--ckpt", "last") == 0
    assert is_average(tmp_path / "a")
    whole, cut = weights(tmp_path / "whole" / "a"), weights(tmp_path / "a")
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(tensor, cut[part][name]) for name, tensor in whole[part].items()), part
    one, all_of_it, part_of_it = summary(finished), summary(tmp_path / "whole" / "a"), summary(tmp_path / "a")
    assert set(part_of_it["J&F by step"]) == {"3", "6"} and part_of_it["steps since this start"] == 3
    for name in all_of_it:
        if name not in CLOCK:
            assert part_of_it[name] == all_of_it[name], name
    assert part_of_it["seconds"] > one["seconds"]
    best = max(part_of_it["J&F by step"].items(), key=lambda entry: float(entry[1]))
    assert part_of_it["best J&F (step)"] == [best[1], int(best[0])]


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "a")
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    old = torch.load(path, weights_only=True)
    del old["insight"]
    torch.save(old, path)
    assert fit(tmp_path, *RUN, "trainer.max_epochs=2", "--ckpt", "last") == 0
    assert set(summary(tmp_path / "a")["J&F by step"]) == {"6"}


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_epochs": 1}, "trainer.max_epochs=1"),
        ({"max_epochs": 2}, None),
        ({"max_epochs": -1}, None),
        ({"max_epochs": -1, "max_steps": 3}, "trainer.max_steps=3"),
        ({"max_epochs": 5, "max_steps": 4}, None),
        ({"max_epochs": None, "max_time": {"days": 1}}, None),
    ],
)
def test_the_limit_that_was_reached_is_told(finished: Path, options: dict[str, Any], limit: str | None) -> None:
    assert reached_limit(finished / "checkpoints" / "last.ckpt", options) == limit


def test_what_is_no_checkpoint_has_reached_nothing(tmp_path: Path) -> None:
    torch.save({"global_step": 3}, tmp_path / "x.ckpt")
    (tmp_path / "y.ckpt").write_bytes(b"no checkpoint")
    for name in ("x.ckpt", "y.ckpt", "nowhere.ckpt"):
        assert reached_limit(tmp_path / name, {"max_steps": 1}) is None


def test_a_run_that_was_moved_still_knows_its_best_checkpoint(tmp_path: Path) -> None:
    before, after = (RunCheckpoint(tmp_path / name, "best", monitor="val/J&F", mode="max") for name in ("old", "new"))
    best = str(tmp_path / "old" / "best.ckpt")
    state = {**before.state_dict(), "best_model_path": best, "best_model_score": torch.tensor(0.7)}
    state |= {"best_k_models": {best: torch.tensor(0.7)}, "kth_best_model_path": best, "kth_value": torch.tensor(0.7)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after.load_state_dict(state)
    moved = str(tmp_path / "new" / "best.ckpt")
    assert (after.best_model_path, after.kth_best_model_path) == (moved, moved)
    assert after.best_k_models == {moved: torch.tensor(0.7)} and float(after.kth_value) == pytest.approx(0.7)
    assert after.state_key.startswith("ModelCheckpoint{")


STAGES = [{"name": name, "recipe": "quickstart", "data": {"batches_per_epoch": 1}} for name in ("one", "two")]


def test_finished_stages_are_left_as_they_are_and_only_the_last_one_may_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*chain(tmp_path, *STAGES), "run_name=a", "optim.ema=0.5"]
    assert main([*words]) == 0
    before = files(tmp_path / "a")
    assert main([*words, "--ckpt", "last"]) == 0
    assert files(tmp_path / "a") == before and "all 2 stages are done" in capsys.readouterr().out
    assert main([*words, "--ckpt", "last", "trainer.max_epochs=3"]) == 2
    said = capsys.readouterr().err
    assert "stage 'one'" in said and "stage 'two' was trained from its model" in said
    assert files(tmp_path / "a") == before
    (tmp_path / "a" / "two" / "summary.json").unlink()  # killed between its last checkpoint and its model
    assert main([*words, "--ckpt", "last"]) == 0
    assert summary(tmp_path / "a" / "two")["steps"] == 2 and is_average(tmp_path / "a" / "two")
    shutil.rmtree(tmp_path / "a" / "two")
    assert main([*words, "--ckpt", "last", "trainer.max_epochs=3"]) == 0
    assert [summary(tmp_path / "a" / stage)["steps"] for stage in ("one", "two")] == [3, 3]
    for stage in ("one", "two"):
        assert is_average(tmp_path / "a" / stage)
