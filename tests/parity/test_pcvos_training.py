"""PCVOS's training step, and STCN's: merged log-odds, every loss term, and the gradient norm of every parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.golden import Golden
from tests.parity.pcvos import base_weights, weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.losses import class_map
from vos_zoo.methods.pcvos.checkpoint import convert_state_dict
from vos_zoo.methods.pcvos.losses import bootstrapped_cross_entropy, clip_dice
from vos_zoo.methods.pcvos.parts import merged_odds
from vos_zoo.methods.pcvos.target_model import PCVOS
from vos_zoo.types import Batch

LOGITS, LOSS, TERM, GRADIENT = 5e-4, 1e-5, 1e-5, 1e-3
NOISE = "key_proj.key_proj.bias"
"""Its gradient is zero but for rounding: adding a constant to all keys changes no similarity."""


@pytest.fixture(scope="module")
def folder(reference_dir: Path) -> Path:
    return reference_dir / "pcvos"


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return Golden(folder / "train_step.npz")


def batch_of(golden: Golden, step: int, frames: int | None = None, objects: int | None = None) -> Batch:
    """The file's sequences: their first `frames` frames and `objects` objects (None: all)."""
    images = golden.tensor("images")[:, :frames].permute(0, 1, 4, 2, 3).float()
    valid = golden.tensor("selector")[:, :objects].bool()
    labels = golden.tensor("labels")[:, :frames, None]
    masks = (labels == torch.arange(1, valid.shape[1] + 1)[:, None, None]).float()
    return Batch(images, masks, valid, torch.zeros(*masks.shape[:3], 4), step=step)


def check_odds(golden: Golden, variant: str, network: PCVOS, logits: Tensor, valid: Tensor) -> None:
    odds = merged_odds(logits.detach(), valid)
    stride = odds.shape[-1] // golden[f"{variant}__agg_logits"].shape[-1]
    difference = (odds[..., ::stride, ::stride] - golden.tensor(f"{variant}__agg_logits")).abs()
    present = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
    assert difference.amax(dim=(1, 3, 4))[present].max() <= LOGITS
    if f"{variant}__prob" in golden:
        merged = network.merging.merge_training(logits.detach(), valid)[..., ::stride, ::stride]
        assert (merged - golden.tensor(f"{variant}__prob")).abs().max() <= LOGITS / 10


def check_gradients(golden: Golden, names: list[str], norms: Any, network: PCVOS, state: dict[str, Tensor]) -> None:
    ours = {theirs: own for own, theirs in convert_state_dict(state).names.items()}
    parameters, compared = dict(network.named_parameters()), set()
    for name, norm in zip(names, norms, strict=True):
        gradient = parameters[ours[name]].grad
        assert gradient is not None, name
        compared.add(ours[name])
        if name != NOISE:
            assert gradient.double().norm().item() == pytest.approx(norm, rel=GRADIENT), name
    assert compared == parameters.keys()


@pytest.mark.parametrize("variant", ["last", "all"])
def test_a_training_step_has_the_golden_odds_losses_and_gradients(folder: Path, golden: Golden, variant: str) -> None:
    stored, state = golden.meta["losses"][variant], weights(folder, golden)
    network: Any = convert_checkpoint(state, method="pcvos", train_memory=variant).network
    step = int(golden.meta["gradient_of"].split()[-1])
    unrolled = network.train().training_forward(batch_of(golden, step))
    valid = batch_of(golden, step).valid
    check_odds(golden, variant, network, unrolled.logits, valid)
    for name, values in stored.items():
        if not name.startswith("it"):
            continue
        batch = batch_of(golden, int(name.removeprefix("it")))
        assert network.bootstrap.at(batch.step) == pytest.approx(values["p"], rel=1e-6)
        terms = network.losses(unrolled, batch)
        assert terms["cross_entropy"].item() == pytest.approx(values["loss_image"], rel=LOSS), name
        assert terms["dice"].item() == pytest.approx(values["loss_clip"], rel=LOSS), name
        total = torch.stack(list(terms.values())).sum()
        assert total.item() == pytest.approx(values["loss_total"], rel=LOSS), name
        check_cross_entropy(network, unrolled.logits.detach(), batch, values)
    check_dice(network, unrolled.logits.detach(), batch_of(golden, step), stored["dice_terms"]["clip_sq"])
    torch.stack(list(network.losses(unrolled, batch_of(golden, step)).values())).sum().backward()
    names = [str(name) for name in golden["param_names"]]
    check_gradients(golden, names, golden[f"{variant}__grad_norm"], network, state)


def check_cross_entropy(network: PCVOS, logits: Tensor, batch: Batch, values: dict[str, Any]) -> None:
    """Cross entropy of every sequence and frame by itself."""
    truth = class_map(batch.masks[:, 1:] * batch.valid[:, None, :, None, None])
    odds, share = merged_odds(logits, batch.valid), network.bootstrap.at(batch.step)
    found = [
        [
            bootstrapped_cross_entropy(odds[b : b + 1, t : t + 1], truth[b : b + 1, t : t + 1], share).item()
            for t in range(odds.shape[1])
        ]
        for b in range(odds.shape[0])
    ]
    np.testing.assert_allclose(found, values["ce_per_sample_frame"], rtol=TERM)


def check_dice(network: PCVOS, logits: Tensor, batch: Batch, terms: Any) -> None:
    """Dice of every sequence, clip and object by itself; an absent object counts nothing."""
    merged, truth = network.merging.merge_training(logits, batch.valid), batch.masks[:, 1:]
    for b, sequence in enumerate(terms):
        clips = zip(
            merged[b : b + 1].split(network.schedule.clip_length, 1),
            truth[b : b + 1].split(network.schedule.clip_length, 1),
            sequence,
            strict=True,
        )
        for own, given, expected in clips:
            for k, value in enumerate(expected):
                dice = clip_dice(own[:, :, k : k + 1], given[:, :, k : k + 1], batch.valid[b : b + 1, k : k + 1])
                assert dice.item() == pytest.approx(value, rel=TERM)


@pytest.mark.parametrize(("variant", "objects", "channels"), [("stcn_single", 1, 4), ("stcn_multi", None, 5)])
def test_with_everything_off_a_training_step_is_that_of_stcn(
    folder: Path, golden: Golden, variant: str, objects: int | None, channels: int
) -> None:
    state, stored = base_weights(folder, golden, channels), golden.meta["losses"][variant]
    options = {"train_clip": 1, "losses": {"cross_entropy": 1.0}}
    network: Any = convert_checkpoint(state, method="pcvos", **options).network
    assert network.refinement is None and network.value_encoder.others == (channels == 5)
    frames = 1 + golden[f"{variant}__agg_logits"].shape[1]
    batch = batch_of(golden, stored["it"], frames, objects)
    unrolled = network.train().training_forward(batch)
    check_odds(golden, variant, network, unrolled.logits, batch.valid)
    terms = network.losses(unrolled, batch)
    assert terms.keys() == {"cross_entropy"}
    assert terms["cross_entropy"].item() == pytest.approx(stored["losses"]["total_loss"], rel=LOSS)
    terms["cross_entropy"].backward()
    names = [str(name) for name in golden[f"{variant}__param_names"]]
    check_gradients(golden, names, golden[f"{variant}__grad_norm"], network, state)
