"""Processes without a video of their own, or with clips without objects: nothing waits for them for ever."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.helpers import three_processes
from tests.helpers.contract_settings import build, settings_of, training_batch
from tests.helpers.runs import TINY, torchrun
from vos_zoo import processes
from vos_zoo.config.layers import load_config
from vos_zoo.data.loader import VideoNumbers
from vos_zoo.data.spare import WithSpares
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.registry import available_models
from vos_zoo.training.trainer import make_trainer
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_three_processes_with_two_videos_one_or_no_objects_end_with_the_scores_of_one(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    torchrun(3, "tests.helpers.three_processes", together)
    assert json.loads((together / "codes.json").read_text()) == [0, 0, 0]
    words = [*three_processes.LWL, *three_processes.SHORT, "data.synthetic.val_videos=2"]
    weights = ["--weights", str(together / "two" / "model"), "--output", str(alone / "two"), "trainer.devices=1"]
    assert three_processes.main(["validate", *words, *weights]) == 0
    scores = json.loads((alone / "two" / "scores.json").read_text())
    with open(together / "two" / "logs" / "version_0" / "metrics.csv", newline="") as file:
        logged = [float(row["val/J&F"]) for row in csv.DictReader(file) if row.get("val/J&F")]
    assert logged[-1] == pytest.approx(scores["scores"]["J&F"], abs=1e-6), scores.keys()


@pytest.mark.parametrize(("videos", "world"), [(1, 3), (2, 3), (4, 3), (3, 3)])
def test_every_video_is_scored_once_and_every_process_has_the_same_count(
    videos: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = WithSpares(SyntheticDataset(videos=videos, settings=SyntheticSettings(size=(32, 48), frames=4)))
    numbers = []
    for rank in range(world):
        monkeypatch.setattr("vos_zoo.data.loader._ranks", lambda rank=rank: (world, rank))
        numbers.append(list(VideoNumbers(data)))
    assert len({len(own) for own in numbers}) == 1
    loaded = [data[number] for own in numbers for number in own]
    scored = [video.name for video in loaded if video.has_truth]
    assert sorted(scored) == sorted(data[number].name for number in range(videos))


def test_a_spare_video_is_tracked_in_one_frame_and_not_scored() -> None:
    data = WithSpares(SyntheticDataset(videos=1, settings=SyntheticSettings(size=(64, 96), frames=4)))
    spare, model = data[1], build("lwl").eval()
    seen = []

    def track(frames: Any, prompts: Any) -> Any:
        frames = list(frames)
        seen.append(len(frames))
        return model.track(frames, prompts)

    assert track_and_score(track, spare) == (None, {}) and seen == [1]


@pytest.mark.parametrize("method", available_models())
def test_clips_without_an_object_leave_no_parameter_without_a_gradient(method: str) -> None:
    settings = settings_of(method)
    skips = (*settings.ablations.values(),) if settings.slots > 1 else ()  # what skips empty slots has variants that do
    for overrides in (*settings.variants.values(), *skips):
        model = build(method, optim={"groups": {"": 1e-4}}, **overrides).network
        batch = training_batch(method, queries=1, sequences=1)
        loss = sum(model.losses(model.training_forward(batch), batch).values())
        torch.as_tensor(loss).backward()
        needed = {name for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        empty = replace(batch, masks=torch.zeros_like(batch.masks), valid=torch.zeros_like(batch.valid))
        torch.as_tensor(sum(model.losses(model.training_forward(empty), empty).values())).backward()
        found = {name for name, p in model.named_parameters() if p.grad is not None}
        assert needed <= found, f"{overrides}: {sorted(needed - found)[:3]}"
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None), overrides


SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}


def test_the_device_of_an_evaluation_follows_the_process_and_trainer_devices() -> None:
    number = processes.device_number
    assert number({"devices": 1}, {}) == number({"devices": "auto"}, {}) == number({}, {}) == 0
    assert number({"devices": [2]}, {}) == number({"devices": "2,"}, {}) == 2
    assert number({"devices": 2}, {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "RANK": "1"}) == 1
    assert number({"devices": [4, 6]}, {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "RANK": "1"}) == 6
    assert number({"devices": 2}, SLURM) == 1 and number({"devices": "5,7"}, SLURM) == 7
    with pytest.raises(UsageError, match="process number 1; list one for each"):
        number({"devices": [0]}, SLURM)


def test_processes_meet_on_the_first_node_of_a_slurm_job_and_wait_for_days(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, Any] = {}
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    job = {**SLURM, "SLURM_NODELIST": "gpu[07-09,12]", "SLURM_JOB_ID": "1234567"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)

    def begin(backend: str, **options: Any) -> None:
        started.update(options, backend=backend, address=os.environ["MASTER_ADDR"], port=os.environ["MASTER_PORT"])

    monkeypatch.setattr(dist, "init_process_group", begin)
    monkeypatch.setattr(dist, "gather_object", lambda value, values: None)
    assert processes.gather("a") is None
    assert (started["backend"], started["rank"], started["world_size"]) == ("gloo", 3, 4)
    assert (started["address"], started["port"]) == ("gpu07", "19567")
    assert started["timeout"].days >= 1


def test_a_training_process_waits_for_the_validation_of_others(tmp_path: Path) -> None:
    words = [*TINY, "trainer.devices=2", "logger.name=none"]
    trainer, _ = make_trainer(load_config("lwl", recipe="quickstart", overrides=words), tmp_path)
    assert trainer.strategy._timeout == processes.PATIENCE  # type: ignore[attr-defined]
