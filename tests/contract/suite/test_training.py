"""Every method trains: losses and gradients, frozen parts, checkpoints and saved models."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.contract import METHODS, assert_informative, check, difference, inside, run, step, variants_of
from tests.helpers.contract_settings import (
    build,
    build_lively,
    moving_squares,
    settings_of,
    training_batch,
)
from vos_zoo.create import create_model
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.types import Batch, UsageError

# -- building and training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", available_models())
def test_a_method_builds_from_its_configuration(name: str) -> None:
    from vos_zoo.config.layers import check_signatures, load_config
    from vos_zoo.config.resources import config_folder

    if not (config_folder() / f"{name}.yaml").is_file():
        pytest.skip(f"{name} comes from another package, which ships its own configuration")
    config = load_config(name, data="synthetic")
    check_signatures(config)
    with torch.device("meta"):
        network = create_model(name, track=config.track, **config.model).network
    assert sum(parameter.numel() for parameter in network.parameters()) > 1e6
    for group in config.optim.groups:
        parts = [n for n, _ in network.named_parameters() if group == "" or f"{n}.".startswith(f"{group}.")]
        assert parts, f"configs/{name}.yaml gives a rate to {group!r}, which names no parameter"


@pytest.mark.parametrize(("method", "variant"), variants_of("variants"))
def test_a_training_step_has_a_finite_loss_and_its_gradients_are_finite(method: str, variant: str) -> None:
    model = build(method, **settings_of(method).variants[variant]).train()
    loss = step(model, training_batch(method))
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {n: p.grad for n, p in model.network.named_parameters() if p.grad is not None}
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_gets_a_gradient_in_some_training_variant(method: str) -> None:
    reached: dict[str, float] = {}
    known: set[str] = set()
    for overrides in settings_of(method).variants.values():
        model = build(method, **overrides).train()
        with torch.no_grad():  # away from zeros that fresh weights hold on purpose (last norms of residual blocks)
            for parameter in model.network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        step(model, training_batch(method)).backward()
        for name, parameter in model.network.named_parameters():
            known.add(name)
            if parameter.grad is not None:
                reached[name] = max(reached.get(name, 0.0), parameter.grad.abs().max().item())
    assert not known - reached.keys(), f"no gradient in any variant: {sorted(known - reached.keys())}"
    silent = sorted(name for name, largest in reached.items() if largest == 0)
    assert not silent, f"the gradient is zero in every variant: {silent}"


@pytest.mark.parametrize("method", METHODS)
def test_a_training_forward_without_gradients_has_the_same_logits(method: str) -> None:
    for overrides in settings_of(method).variants.values():
        network, batch = build(method, **overrides).eval().network, training_batch(method, queries=3)
        recorded = network.training_forward(batch).logits.detach()
        with torch.no_grad():
            torch.testing.assert_close(network.training_forward(batch).logits, recorded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_sequences_of_a_batch_do_not_mix(method: str) -> None:
    network, batch = build(method).eval().network, training_batch(method, sequences=3)
    tensors = ("frames", "masks", "valid", "boxes")
    alone = Batch(**{name: getattr(batch, name)[1:2] for name in tensors}, reference_frames=1)
    with torch.no_grad():
        both, own = network.training_forward(batch).logits, network.training_forward(alone).logits
    torch.testing.assert_close(both[1:2], own, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_two_reference_frames_can_be_memorised_in_training(method: str) -> None:
    model, batch = build(method).train(), training_batch(method, queries=2, references=2)
    loss = step(model, batch)
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(("method", "variant"), variants_of("variants"))
def test_a_step_learns_after_the_same_was_seen_in_inference_mode(method: str, variant: str) -> None:
    """Lightning validates in that mode; the size is this test's own, so that what depends on it is made there."""
    model, batch = build(method, **settings_of(method).variants[variant]).train(), training_batch(method)
    batch = replace(batch, frames=batch.frames[..., :48, :80], masks=batch.masks[..., :48, :80])
    with torch.inference_mode():
        step(model, batch)
        run(model, moving_squares(4, (48, 80)))
    step(model, batch).backward()
    gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("method", "row"), variants_of("ablations"))
def test_an_ablation_row_trains_a_step_and_tracks(method: str, row: str) -> None:
    model = build(method, **settings_of(method).ablations[row]).train()
    before = {name: p.detach().clone() for name, p in model.network.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    loss = step(model, training_batch(method))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(before[name], p) for name, p in model.network.named_parameters())
    video = moving_squares(4)
    check(run(model, video), video)


class _Batches(torch.utils.data.Dataset[Batch]):
    def __init__(self, method: str, count: int) -> None:
        self.items = [training_batch(method, seed=10 * k) for k in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]


class _Watch(pl.Callback):
    """Which modules were in training mode while a step ran."""

    def __init__(self) -> None:
        self.training: dict[str, bool] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: VOSModel, *_: Any) -> None:
        self.training = {name: part.training for name, part in module.network.named_modules()}


@pytest.fixture(scope="module")
def trained(method: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model after two steps of a stage that leaves some parts frozen: what it was, what it is, its checkpoint."""
    parts = [name for name, child in build(method).network.named_children() if any(True for _ in child.parameters())]
    frozen = settings_of(method).frozen
    model = build(method, optim={"groups": {part: 1e-4 for part in parts if part not in frozen}})
    model.network.load_state_dict(build_lively(method).network.state_dict())
    before = copy.deepcopy(model.network.state_dict())
    watch, folder = _Watch(), tmp_path_factory.mktemp(method)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        default_root_dir=folder,
    )
    trainer.fit(model, torch.utils.data.DataLoader(_Batches(method, 2), batch_size=None))
    trainer.save_checkpoint(folder / "last.ckpt")
    after = copy.deepcopy(model.network.state_dict())
    return {"model": model, "before": before, "after": after, "watch": watch, "frozen": frozen, "folder": folder}


def test_frozen_parts_stay_bit_identical_and_the_others_learn(trained: dict[str, Any]) -> None:
    before, after, frozen = trained["before"], trained["after"], trained["frozen"]
    kept = [name for name in before if inside(name, frozen)]
    assert kept
    moved = [name for name in kept if not torch.equal(before[name], after[name])]
    assert not moved, f"frozen, yet changed (a norm in training mode?): {moved}"
    learned = [name for name in before if not inside(name, frozen) and not torch.equal(before[name], after[name])]
    assert learned


def test_frozen_parts_are_in_eval_while_the_others_train(trained: dict[str, Any]) -> None:
    training, frozen = trained["watch"].training, trained["frozen"]
    awake = [name for name, mode in training.items() if mode and inside(name, frozen)]
    assert not awake, f"frozen parts in training mode during a step: {awake}"
    assert any(mode for name, mode in training.items() if name and not inside(name, frozen))


def test_tracking_in_the_middle_of_training_leaves_the_modes_as_they_were(trained: dict[str, Any]) -> None:
    model: VOSModel = trained["model"]
    model.train()
    modes = {name: part.training for name, part in model.network.named_modules()}
    run(model, moving_squares(2))
    assert modes == {name: part.training for name, part in model.network.named_modules()}


# -- saving and loading ----------------------------------------------------------------------------------------------


def test_a_saved_model_gives_equal_outputs(model: VOSModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    loaded = VOSModel.from_pretrained(tmp_path / "saved")
    assert loaded.method == model.method
    assert not loaded.training
    video = moving_squares(5)
    assert difference(run(loaded, video), run(model, video)) == 0


def test_a_training_checkpoint_gives_equal_outputs(trained: dict[str, Any]) -> None:
    model: VOSModel = trained["model"]
    loaded = VOSModel.from_pretrained(trained["folder"] / "last.ckpt")
    video = moving_squares(5)
    results = run(model.eval(), video)
    assert_informative(results)
    assert difference(run(loaded, video), results) == 0


def test_inference_settings_travel_with_the_saved_model_and_can_be_overridden(
    method: str, model: VOSModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert VOSModel.from_pretrained(tmp_path).track_settings() == model.track_settings()
    assert VOSModel.from_pretrained(tmp_path, track={"group_size": 3}).track_settings().group_size == 3
    with pytest.raises(UsageError, match="group_sise"):
        VOSModel.from_pretrained(tmp_path, track={"group_sise": 3})
