"""What a run logs about itself, and the table at its end."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.runs import fit
from vos_zoo.training.monitoring import StepClock, format_summary, peak_memory


def test_a_run_logs_how_it_goes_and_sums_it_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run_name=a", "trainer.max_epochs=2", "data.batches_per_epoch=3", "model.losses={lovasz: 1.0, bce: 1.0}"]
    assert fit(tmp_path, *words) == 0
    with open(tmp_path / "a" / "logs" / "version_0" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("grad_norm", "clips_per_second", "data_wait", "peak_memory_gb", "lovasz", "bce", "iou", "loss_step")
    logged = {name: [float(row[f"train/{name}"]) for row in rows if row[f"train/{name}"]] for name in names}
    assert {name: len(values) for name, values in logged.items()} == dict.fromkeys(names, 6)
    assert all(value > 0 for name in ("grad_norm", "clips_per_second", "peak_memory_gb") for value in logged[name])
    assert all(0 <= share <= 1 for share in logged["data_wait"])
    total = [one + two for one, two in zip(logged["lovasz"], logged["bce"], strict=True)]
    assert logged["loss_step"] == pytest.approx(total, rel=1e-5)
    assert len([row for row in rows if row["val/J&F"]]) == 2
    found = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert found["steps"] == found["steps since this start"] == 6 and found["epochs"] == 2
    assert set(found["J&F by step"]) == {"3", "6"}
    assert found["gradient norm (median, largest)"][1] == pytest.approx(max(logged["grad_norm"]), rel=1e-5)
    assert found["learning rates"] == {"all": 1e-3} and {"lovasz", "bce", "loss_epoch"} <= set(found["losses"])
    said = capsys.readouterr().out
    assert "2 clips per step: 1 processes x 2 clips x 1 batches" in said
    assert all(line in said for line in format_summary(found).splitlines() if not line.startswith("J&F by step"))


def test_waiting_and_working_are_told_apart() -> None:
    clock = StepClock()
    with clock.profile("[_TrainingEpochLoop].train_dataloader_next"):
        time.sleep(0.05)
    with clock.profile("run_training_batch"):
        time.sleep(0.01)
    with clock.profile("[Callback]Other.on_train_batch_end"):
        time.sleep(0.01)
    wait, work = clock.take()
    assert 0.05 <= wait < 1 and 0.01 <= work < wait
    assert clock.take() == (0.0, 0.0)


def test_another_profiler_keeps_its_place(tmp_path: Path) -> None:
    words = ["run_name=a", "trainer.max_epochs=1", "data.batches_per_epoch=1", "trainer.limit_val_batches=0"]
    assert fit(tmp_path, *words, "trainer.profiler=simple") == 0
    found = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert found["clips per second"] is None and found["data wait"] is None and found["steps"] == 1


def test_the_table_has_a_row_per_finding_and_none_for_what_is_missing() -> None:
    found = {"steps": 6, "clips per second": 2.34567, "J&F by step": {3: 0.5, 6: 0.75}, "rates": None, "none": {}}
    assert format_summary(found).splitlines() == [
        "steps             6",
        "clips per second  2.346",
        "J&F by step       3 0.5  6 0.75",
    ]
    assert peak_memory(torch.device("cpu")) > 2**20
