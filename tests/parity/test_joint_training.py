"""JOINT's training step: logits, encodings, losses and the gradient norm of every parameter, in both precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.golden import Golden, fill_weights
from tests.parity.joint import load
from vos_zoo.methods.joint.checkpoint import UNUSED, convert_state_dict
from vos_zoo.methods.joint.target_model import Joint, cosine
from vos_zoo.types import Batch

LOGITS, LOSS, GRADIENT_64, GRADIENT_32 = 2e-4, 1e-4, 1e-6, 5e-3


def training_batch(golden: Golden) -> Batch:
    frames = golden.tensor("images").permute(1, 0, 4, 2, 3).float()
    masks = golden.tensor("masks").transpose(0, 1)[:, :, None].float()
    return Batch(frames, masks, torch.ones(len(frames), 1, dtype=torch.bool), torch.zeros(*masks.shape[:3], 4))


def our_names(folder: Path) -> dict[str, str]:
    """The authors' entry name -> ours; the tied self-attention stands under the encoder's name."""
    conversion = convert_state_dict(dict.fromkeys(fill_weights(folder)))
    names = {theirs: ours for ours, theirs in conversion.names.items()}
    return names | {n.replace("decoder.self", "encoder.self"): ours for n, ours in names.items() if "decoder.self" in n}


def build(folder: Path, golden: Golden, precision: torch.dtype) -> Joint:
    """The network in training mode with the file's frozen parts; the input is normalised in float32."""
    hyper = golden.meta["hyper"]
    network: Any = load(
        folder,
        golden.salt,
        train_iterations=hyper["learner_iterations_first"],
        train_update_iterations=hyper["refinement_iterations"],
        losses={"lovasz": hyper["loss_weight_segm"], "cosine": hyper["loss_weight_cos"]},
    ).network
    names = our_names(folder)
    free = {str(name) for name, wanted in zip(golden["grad_names"], golden["requires_grad"], strict=True) if wanted}
    free = {names[name] for name in free if name not in UNUSED or ".WK." in name}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in free)
    normalise = network.backbone.normalise
    network.backbone.normalise = lambda frames: normalise(frames.float()).to(precision)
    return network.train().to(precision)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(reference_dir: Path) -> Path:
    return reference_dir / "joint"


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_training_step_has_the_golden_outputs_losses_and_gradients(folder: Path, precision: torch.dtype) -> None:
    golden, double = Golden(folder / "train_step.npz"), precision == torch.float64
    network, batch = build(folder, golden, precision), training_batch(golden)
    batch.masks = batch.masks.to(precision)
    unrolled = network.training_forward(batch)
    logits = unrolled.logits[:, :, 0].transpose(0, 1).detach().float().numpy()
    assert np.abs(logits - golden["logits"]).max() <= LOGITS
    for ours, theirs in {"labels": "label_ind", "values": "label_tra"}.items():
        encodings = unrolled.extras[ours].transpose(0, 1).detach().float().numpy()
        assert np.abs(encodings - golden[theirs]).max() <= 2e-5 * np.abs(golden[theirs]).max(), theirs
    with torch.no_grad():
        similar = cosine(unrolled.extras["labels"].flatten(2), unrolled.extras["values"].flatten(2)).mean(dim=0)
    np.testing.assert_allclose(similar, golden["cos_per_frame_f64"], rtol=1e-9 if double else LOSS)
    terms = network.losses(unrolled, batch)
    total = torch.stack(list(terms.values())).sum()
    for name, value in {"loss_segm": terms["lovasz"], "loss_cos": terms["cosine"], "loss_total": total}.items():
        assert value.item() == pytest.approx(float(golden[f"{name}_f64"]), rel=1e-9 if double else LOSS), name
    total.backward()
    check_gradients(network, golden, our_names(folder), double)


def check_gradients(network: Joint, golden: Golden, names: dict[str, str], double: bool) -> None:
    parameters, compared = dict(network.named_parameters()), set()
    for name, norm in zip(
        map(str, golden["grad_names"]), golden["grad_norm_f64" if double else "grad_norm"], strict=True
    ):
        if name not in names:
            assert ".WV." in name and np.isnan(norm), name
            continue
        gradient = parameters[names[name]].grad
        compared.add(names[name])
        if np.isnan(norm):
            assert gradient is None, name
        else:
            assert gradient is not None, name
            assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENT_64 if double else GRADIENT_32), name
    assert compared == parameters.keys()
