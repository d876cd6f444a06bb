"""Training from the command line: what a run leaves behind, resuming to the bit, starting from an earlier stage."""

from __future__ import annotations

import csv
import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.helpers.contract_settings import BY_METHOD
from tests.helpers.runs import die_in_step, fit, run_apart, small, weights
from vos_zoo.cli import main
from vos_zoo.model import VOSModel


def test_a_run_leaves_a_model_checkpoints_scores_and_pictures(tmp_path: Path) -> None:
    assert fit(tmp_path, "run_name=a", "trainer.max_epochs=2", "data.batches_per_epoch=3", "checkpoint_every=2") == 0
    run = tmp_path / "a"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert json.loads((run / "run.json").read_text())[0]["packages"]["torch"]
    assert list((run / "pictures").rglob("step_*.png"))
    with open(run / "logs" / "version_0" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name for row in rows for name, value in row.items() if value}
    assert {"train/loss_step", "train/lovasz", "val/J", "val/F", "val/J&F", "lr-Adam/all"} <= columns
    model = VOSModel.from_pretrained(run / "model")
    last = VOSModel.from_pretrained(run / "checkpoints" / "last.ckpt")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, last.state_dict()[name]), name
    assert weights(run)["global_step"] == 6
    code = main(["fit", "--config", str(run / "config.yaml"), "run_name=again", "trainer.max_epochs=2"])
    assert code == 0
    repeated = VOSModel.from_pretrained(tmp_path / "again" / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, repeated.state_dict()[name]), f"{name} differs when the run is repeated"


@pytest.mark.parametrize("method", sorted(BY_METHOD))
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, method: str) -> None:
    settings = ["trainer.max_epochs=2", "data.batches_per_epoch=2", "checkpoint_every=1", "logger.name=none"]
    settings += ["trainer.limit_val_batches=0", f"output={tmp_path}"]
    words = ["fit", "--model", method, "--recipe", "quickstart", *small(method), *settings]
    assert main([*words, "run_name=whole"]) == 0
    code, said = run_apart([*words, "run_name=cut"], tmp_path, partial(die_in_step, 4))
    assert code == -signal.SIGKILL, said
    assert weights(tmp_path / "cut")["global_step"] == 3, "in the middle of an epoch"
    assert main([*words, "run_name=cut", "--ckpt", "last"]) == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole["global_step"] == cut["global_step"] == 4
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, cut["state_dict"][name]), f"{name} differs after resuming"


def test_a_stage_starts_from_the_weights_of_the_one_before(tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1", "data.batches_per_epoch=1", "logger.name=none", "trainer.limit_val_batches=0"]
    assert fit(tmp_path, "run_name=masks", *short) == 0
    groups = ["optim.groups={'': null, box_encoder: 1.0e-3}"]
    boxes = ["model.box_encoder=true", "model.trains=boxes", "model.losses={lovasz: 10.0}", "track.preset=box"]
    start = f"init_from={tmp_path / 'masks' / 'model'}"
    assert fit(tmp_path, "run_name=boxes", *short, *boxes, *groups, start) == 0
    before = VOSModel.from_pretrained(tmp_path / "masks" / "model").state_dict()
    after = VOSModel.from_pretrained(tmp_path / "boxes" / "model").state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), f"{name} moved although only the box encoder trains"
    assert any(name.startswith("network.box_encoder.") for name in after)


def test_a_first_stage_that_does_not_fit_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["trainer.max_epochs=1", "data.batches_per_epoch=1", "logger.name=none", "trainer.limit_val_batches=0"]
    assert fit(tmp_path, "run_name=a", *short) == 0
    start = f"init_from={tmp_path / 'a' / 'model'}"
    assert fit(tmp_path, "run_name=b", *short, start, "model.decoder_width=8") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "decoder" in message and "has shape" in message


def test_wandb_runs_offline_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    short = ["trainer.max_epochs=1", "data.batches_per_epoch=1"]
    assert fit(tmp_path, "run_name=w", *short, "logger.name=wandb") == 0
    assert list((tmp_path / "w" / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.bakcbone=resnet50"], "bakcbone"),
        (["trainer.max_epoch=1"], "max_epochs"),
        (["optim.groups={decodr: 1.0e-3}"], "decodr"),
        (["model.backbone=resnet51"], "resnet51"),
        (["track.sise=[32,64]"], "track.size"),
        (["init_from=nowhere"], "nowhere"),
    ],
)
def test_wrong_settings_stop_before_training_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], expected: str
) -> None:
    assert fit(tmp_path, *overrides) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and expected in lines[0]
    assert not list(tmp_path.iterdir())
