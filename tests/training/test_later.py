"""Finiteness is checked a step later where reading a number would wait for a GPU, and before anything is saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.contract_settings import build, training_batch
from tests.helpers.pretend_cuda import DEVICE, pretending, to_device
from vos_zoo.model import VOSModel, mean_jaccard
from vos_zoo.training.later import FiniteCheck
from vos_zoo.types import VOSError


def describe(values: torch.Tensor) -> str:
    return f"found {values.tolist()}"


def test_on_a_cpu_a_value_is_checked_at_once() -> None:
    check = FiniteCheck()
    check.watch(torch.tensor([1.0, 2.0]), describe)
    with pytest.raises(VOSError, match="nan"):
        check.watch(torch.tensor([1.0, torch.nan]), describe)
    check.settle()


def test_on_a_gpu_a_value_is_checked_when_it_is_settled_and_without_a_wait() -> None:
    with pretending() as log:
        bad = torch.tensor([torch.inf]).to(DEVICE)
        log.start()
        check = FiniteCheck()
        check.watch(bad, describe)
        assert not log.waits
        with pytest.raises(VOSError, match="inf"):
            check.settle()
        assert not log.waits


class _Trainer:
    world_size, precision_plugin, global_step = 1, None, 3


def test_a_training_step_waits_for_the_device_in_no_line_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VOSModel, "log", lambda *_, **__: None)
    monkeypatch.setattr(VOSModel, "global_step", 3)
    monkeypatch.setattr(VOSModel, "trainer", _Trainer())
    batch = training_batch("lwl")
    with pretending("meta") as log:
        model = to_device(build("lwl", optim={"groups": {"": 1e-4}}))
        model.setup("fit")
        optimiser: Any = torch.optim.SGD(model.parameters(), 1e-4)
        log.start()
        loss = model.training_step(batch.to(DEVICE), 0)
        loss.backward()
        model.on_before_optimizer_step(optimiser)
        log.on = False
        assert not log.waits, dict(log.waits)
        model._finite.settle()
        batch.frames[:] = torch.nan
        model.training_step(batch.to(DEVICE), 1)
        with pytest.raises(VOSError, match="training stopped at step 3: the loss is nan"):
            model.on_save_checkpoint({})


def test_the_mean_iou_of_valid_slots_is_that_of_the_slots_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 8, 8, generator=generator)
    target = (torch.rand(2, 3, 4, 8, 8, generator=generator) > 0.5).float()
    valid = torch.tensor([[True, False, True, False], [False, True, False, False]])
    parts = [(logits[0, :, [0, 2]], target[0, :, [0, 2]]), (logits[1, :, [1]], target[1, :, [1]])]
    expected = torch.cat([_iou(*part).flatten() for part in parts]).mean()
    torch.testing.assert_close(mean_jaccard(logits, target, valid), expected)
    assert mean_jaccard(logits, target, torch.zeros_like(valid)) == 1


def _iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    inside, true = logits > 0, target > 0.5
    return (inside & true).sum((-2, -1)) / (inside | true).sum((-2, -1))
