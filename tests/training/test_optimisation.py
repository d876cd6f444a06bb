"""Optimisers, schedules, accumulation, clipping and the average of the weights, in real runs of a tiny network."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from tests.helpers.contract_settings import build
from tests.helpers.runs import fit, weights
from vos_zoo.config.schema import OptimConfig
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.model import VOSModel
from vos_zoo.training.averaging import MovingAverage
from vos_zoo.training.optimisation import make_optimiser
from vos_zoo.types import UsageError

SHORT = ["data.batches_per_epoch=3", "trainer.max_epochs=2", "logger.name=none", "trainer.limit_val_batches=0"]


def step_of(**settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight before and after one step with gradient 0.5 and rate 0.1."""
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    before = weight.detach().clone()
    weight.grad = torch.full_like(weight, 0.5)
    make_optimiser([{"params": [weight], "lr": 0.1}], OptimConfig(**settings)).step()
    return before, weight.detach()


def test_adam_takes_the_decay_as_a_penalty_and_adamw_decouples_it() -> None:
    def adam(gradient: float) -> float:  # of a first step: both averages are the gradient itself
        return 0.1 * gradient / (abs(gradient) + 1e-8)

    before, after = step_of(optimiser="adam", weight_decay=1e-7, betas=[0.9, 0.999])
    torch.testing.assert_close(after, before - adam(0.5 + 1e-7 * 2), atol=1e-15, rtol=0)
    before, after = step_of(optimiser="adamw", weight_decay=0.3)
    torch.testing.assert_close(after, before * (1 - 0.1 * 0.3) - adam(0.5), atol=1e-15, rtol=0)


def test_an_optimiser_left_open_is_adamw_exactly_where_there_is_a_decay() -> None:
    def make(**settings: Any) -> torch.optim.Optimizer:
        return make_optimiser([{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1}], OptimConfig(**settings))

    assert type(make()) is type(make(weight_decay=0.0)) is torch.optim.Adam
    assert type(make(weight_decay=0.1)) is type(make(optimiser=None, weight_decay=0.1)) is torch.optim.AdamW
    adam = make(optimiser="adam", weight_decay=0.1)
    assert type(adam) is torch.optim.Adam and adam.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosine"}, r"'optim\.schedule' is 'cosine', expected one of: steps, poly"),
        ({"interval": "batch"}, r"'optim\.interval' is 'batch', expected one of: epoch, step"),
        ({"optimiser": "sgd"}, r"'optim\.optimiser' is 'sgd', expected one of: adam, adamw"),
        ({"schedule": "poly"}, "falls to zero at the end of the run"),
    ],
)
def test_optimisers_and_schedules_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    model = build("lwl", optim=settings)
    model._run_lengths = lambda: {"step": math.inf, "epoch": math.inf}  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=message):
        model.configure_optimizers()


class Watch(pl.Callback):
    """Keeps the rate, the gradients' norm and the batch's step number of every optimiser step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None})

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        kept = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
        if kept:
            self.norms.append(float(torch.stack(kept).norm()))


def data(**changes: Any) -> VOSDataModule:
    small: dict[str, Any] = {
        "batch_size": 1,
        "workers": 0,
        "batches_per_epoch": 4,
        "crop": {"size": [32, 64]},
        "sampling": {"query_frames": 1},
        "synthetic": {"size": [48, 80], "frames": 12, "train_videos": 3},
    }
    return VOSDataModule(**{**small, **changes})


def run(
    optim: dict[str, Any], loader: VOSDataModule | None = None, resume: Path | None = None, **trainer: Any
) -> tuple[Watch, VOSModel, pl.Trainer]:
    """Train LWL, tiny and with a loss that is a mean over clips."""
    pl.seed_everything(0, verbose=False)
    watch = Watch()
    model = build("lwl", optim={"groups": {"decoder": 1e-3}, **optim}, losses={"bce": 1.0})
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "limit_val_batches": 0,
        "max_epochs": 2,
        **trainer,
    }
    options["callbacks"] = [watch, *trainer.get("callbacks", [])]
    runner = pl.Trainer(**options)
    runner.fit(model, loader or data(), ckpt_path=resume, weights_only=True)
    return watch, model, runner


def test_milestones_and_the_polynomial_count_optimiser_steps() -> None:
    watch, _, _ = run({"interval": "step", "milestones": [3], "gamma": 0.1}, accumulate_grad_batches=2)
    np.testing.assert_allclose(watch.rates, [1e-3] * 3 + [1e-4], rtol=1e-12)
    watch, _, _ = run({"schedule": "poly", "power": 0.9}, accumulate_grad_batches=2)
    np.testing.assert_allclose(watch.rates, [1e-3 * (1 - i / 4) ** 0.9 for i in range(4)], rtol=1e-12)


def test_a_polynomial_by_epochs_and_one_cut_by_max_steps() -> None:
    watch, _, _ = run({"schedule": "poly", "interval": "epoch"}, data(batches_per_epoch=2))
    np.testing.assert_allclose(watch.rates, [1e-3, 1e-3, 5e-4, 5e-4], rtol=1e-12)
    watch, _, _ = run({"schedule": "poly"}, max_steps=5, max_epochs=-1)
    np.testing.assert_allclose(watch.rates, [1e-3 * (1 - i / 5) for i in range(5)], rtol=1e-12)


def test_a_polynomial_goes_on_where_a_run_was_cut(tmp_path: Path) -> None:
    saver = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    whole, model, _ = run({"schedule": "poly"}, enable_checkpointing=True, callbacks=[saver])
    cut, resumed, _ = run({"schedule": "poly"}, resume=tmp_path / "step=3.ckpt")
    assert cut.rates == whole.rates[3:]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_accumulated_batches_give_the_gradient_of_one_large_batch() -> None:
    small, _, _ = run({}, accumulate_grad_batches=2)
    large, _, _ = run({}, data(batch_size=2, batches_per_epoch=2))
    assert len(small.gradients) == len(large.gradients) == 4
    for name, gradient in large.gradients[0].items():
        torch.testing.assert_close(small.gradients[0][name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.norm()))


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    norms: dict[str, list[float]] = {}
    for limit in ("null", "0.01"):
        watch = Watch()
        made = pl.Trainer.__init__

        def init(self: Any, *args: Any, made: Any = made, watch: Any = watch, **options: Any) -> None:
            made(self, *args, **{**options, "callbacks": [*options["callbacks"], watch]})

        with monkeypatch.context() as patch:
            patch.setattr(pl.Trainer, "__init__", init)
            assert fit(tmp_path, f"run_name={limit}", f"optim.clip_norm={limit}", *SHORT) == 0
        norms[limit] = watch.norms
    assert min(norms["null"]) > 0.011
    np.testing.assert_allclose(norms["0.01"], 0.01, rtol=1e-3)


def test_the_average_follows_its_formula_and_is_what_a_run_validates_and_saves(tmp_path: Path) -> None:
    path, scored = [], []

    class Follow(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            path.append({n: p.detach().clone() for n, p in pl_module.network.named_parameters()})

        def on_validation_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            scored.append(copy.deepcopy(dict(pl_module.network.named_parameters())))

    saver = pl.callbacks.ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    loader = data(batches_per_epoch=3, val_sequences=1)
    added = [MovingAverage(0.7), Follow(), saver]
    options: dict[str, Any] = {"limit_val_batches": 1, "num_sanity_val_steps": 0, "max_epochs": 1}
    _, model, _ = run({}, loader, callbacks=added, enable_checkpointing=True, **options)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    loaded = VOSModel.from_pretrained(tmp_path / "last.ckpt").network.state_dict()
    for name, parameter in model.network.named_parameters():
        average = path[0][name]
        for weight in path[1:]:
            average = 0.7 * average + 0.3 * weight[name]
        torch.testing.assert_close(parameter.detach(), average, rtol=1e-5, atol=1e-7)
        assert torch.equal(scored[0][name], parameter) and torch.equal(loaded[name], parameter)
        assert torch.equal(saved["current_model_state"][f"network.{name}"], path[-1][name])
    moved = "network.decoder.project.conv2.weight"
    assert not torch.equal(saved["state_dict"][moved], saved["current_model_state"][moved])


def test_a_run_with_an_average_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def saver(name: str) -> pl.callbacks.ModelCheckpoint:
        return pl.callbacks.ModelCheckpoint(tmp_path / name, "{step}", every_n_train_steps=1, save_top_k=-1)

    settings: dict[str, Any] = {"enable_checkpointing": True}
    _, whole, _ = run({}, callbacks=[MovingAverage(0.6), saver("whole")], **settings)
    start = tmp_path / "whole" / "step=3.ckpt"
    _, cut, _ = run({}, callbacks=[MovingAverage(0.6), saver("cut")], resume=start, **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))
    saved = [torch.load(tmp_path / name / "step=8.ckpt", weights_only=True) for name in ("whole", "cut")]
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(tensor, saved[1][part][name]) for name, tensor in saved[0][part].items()), part


def test_a_run_with_an_average_leaves_the_average_as_its_model(tmp_path: Path) -> None:
    assert fit(tmp_path, "run_name=a", "optim.ema=0.6", *SHORT) == 0
    saved, model = weights(tmp_path / "a"), VOSModel.from_pretrained(tmp_path / "a" / "model").state_dict()
    assert all(torch.equal(tensor, saved["state_dict"][name]) for name, tensor in model.items())
    assert not all(torch.equal(tensor, saved["current_model_state"][name]) for name, tensor in model.items())
