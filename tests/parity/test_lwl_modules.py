"""LWL stage by stage: backbone, target-model features, label encoder, learner, decoder, box encoder, training steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.golden import Golden, fill_weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.methods._few_shot.learner import FilterState, apply_kernel, kernel_to_filter
from vos_zoo.methods._few_shot.target import LearnerSchedule
from vos_zoo.methods.lwl.label_encoder import rasterise_boxes
from vos_zoo.methods.lwl.target_model import LWL
from vos_zoo.nn.resize import resize_to
from vos_zoo.types import Batch

MODULES, FILTERS = 1e-4, 1e-3
LOSS, GRADIENTS = 1e-4, 1e-3


@pytest.fixture(scope="module")
def folder(reference_dir: Path) -> Path:
    return reference_dir / "lwl"


def build(folder: Path, salt: str | None, boxes: bool = False, **hyperparameters: Any) -> LWL:
    state = fill_weights(folder, "state_dict_box.csv" if boxes else "state_dict.csv", salt)
    model = convert_checkpoint(state, method="lwl", **hyperparameters).eval()
    network: LWL = model.network  # type: ignore[assignment]
    return network


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return Golden(folder / "modules.npz")


@pytest.fixture(scope="module")
def network(folder: Path, golden: Golden) -> LWL:
    return build(folder, golden.salt)


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradients" in request.node.name):
        yield


def clip(images: np.ndarray) -> Tensor:
    """Frames ``(T, h, w, 3)`` -> canvases ``(T, 1, 3, h, w)``: every frame its own canvas."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)[:, None].float()


def test_backbone_stages_equal_the_golden_ones(network: LWL, golden: Golden) -> None:
    x = network.backbone.normalise(clip(golden["images"]).flatten(0, 1))
    golden.assert_close("net_input", x, MODULES)
    backbone: Any = network.backbone
    x = backbone.conv1(x)
    golden.assert_close("bb_conv1", x, MODULES)
    x = backbone.relu(backbone.bn1(x))
    golden.assert_close("bb_stem", x, MODULES)
    x = backbone.maxpool(x)
    golden.assert_close("bb_pool", x, MODULES)
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layer = getattr(backbone, name)
        if f"bb_{name}_0" in golden:
            golden.assert_close(f"bb_{name}_0", layer[0](x), MODULES)
        x = layer(x)
        golden.assert_close(f"bb_{name}", x, MODULES)


def test_target_features_and_label_encoder_equal_the_golden_ones(network: LWL, golden: Golden) -> None:
    features = network.encode(clip(golden["images"]))
    golden.assert_close("tm_conv", network.feature_conv(features.f16.flatten(0, 1)), MODULES)
    golden.assert_close("tm_feat", features.target, MODULES)
    encoder = network.label_encoder
    x = encoder.conv_block(golden.tensor("masks")[:1, None].float())
    golden.assert_close("le_conv", x, MODULES)
    x = encoder.pool(x)
    golden.assert_close("le_pool", x, MODULES)
    x = encoder.res1(x)
    golden.assert_close("le_res1", x, MODULES)
    golden.assert_close("le_res2", encoder.res2(x), MODULES)
    label, weight = encoder(golden.tensor("masks")[:1, None].float())
    golden.assert_close("label", label, MODULES)
    golden.assert_close("weight", weight, MODULES)


def first_fit(
    network: LWL, golden: Golden, iterations: int, frames: tuple[int, ...] = (0,)
) -> tuple[FilterState, dict[str, Tensor]]:
    features = network.encode(clip(golden["images"])[list(frames)])
    masks = golden.tensor("masks")[list(frames)][:, None, None].float()
    sample = {name: value[None] for name, value in network._encode_sample(features, masks).items()}
    fit = network.learner.start(sample["features"], network.label_channels)
    return network.target.fit(fit, sample, iterations), sample


def test_learner_equals_the_golden_one_after_every_iteration(network: LWL, golden: Golden) -> None:
    norms = golden["filter_norms"]
    for name in golden.names("filter_it"):
        fit, sample = first_fit(network, golden, int(name.removeprefix("filter_it")))
        golden.assert_close(name, kernel_to_filter(fit.kernel), FILTERS)
        assert fit.kernel.norm().item() == pytest.approx(norms[int(name.removeprefix("filter_it"))], rel=FILTERS)
        carried, anew = fit.scores, apply_kernel(sample["features"], fit.kernel)
        assert (carried - anew).abs().max() <= 1e-4 * anew.abs().max()
    for name in golden.names("learner_loss_"):
        losses = []
        for iterations in range(len(golden[name])):
            fit, sample = first_fit(network, golden, iterations)
            losses.append(network.learner.objective(fit, sample["labels"], sample["weights"]).item())
        np.testing.assert_allclose(losses, golden[name], rtol=FILTERS)


def test_a_batch_of_two_sequences_fits_two_filters(network: LWL, golden: Golden) -> None:
    stated = re.search(r"(\d+) iterations", golden.meta["arrays"]["filter_batch2"]["desc"])
    assert stated is not None
    fit, _ = first_fit(network, golden, int(stated[1]), frames=(0, 1))
    golden.assert_close("filter_batch2", kernel_to_filter(fit.kernel), FILTERS)


def test_decoder_stages_equal_the_golden_ones(network: LWL, golden: Golden) -> None:
    fit, _ = first_fit(network, golden, 20)
    features = network.encode(clip(golden["images"])[1:2])
    score = apply_kernel(features.target.transpose(0, 1), fit.kernel)[0]
    golden.assert_close("score", score, FILTERS)
    decoder, context = network.decoder, None
    pyramid = [level[:, 0] for level in (features.f32, features.f16, features.f8, features.f4)]
    for name, level in zip(decoder.levels, pyramid, strict=True):
        if context is not None:
            context = decoder.proj[name](context)
            golden.assert_close(f"dec_proj_{name}", context, MODULES)
        mixed, pooled = decoder.TSE[name](level, resize_to(score, level.shape), lambda x: x)
        deep = pooled if context is None else context
        golden.assert_close(f"dec_TSE_{name}_h", mixed, MODULES)
        golden.assert_close(f"dec_TSE_{name}_pool", deep, MODULES)
        x = decoder.RRB1[name](mixed)
        golden.assert_close(f"dec_RRB1_{name}", x, MODULES)
        x = decoder.CAB[name](x, deep)
        golden.assert_close(f"dec_CAB_{name}", x, MODULES)
        context = decoder.RRB2[name](x)
        golden.assert_close(f"dec_RRB2_{name}", context, MODULES)
    doubled = torch.nn.functional.interpolate(context, scale_factor=2, mode="bicubic", align_corners=False)
    golden.assert_close("dec_up_conv1", decoder.project.conv1(doubled), MODULES)
    logits = network.decode(score[:, None, None], features)
    golden.assert_close("logit", logits, MODULES)


def test_updates_in_both_styles_equal_the_golden_ones(network: LWL, golden: Golden) -> None:
    fit, sample = first_fit(network, golden, 20)
    features = network.encode(clip(golden["images"])[1:2])
    logits = network.decode(apply_kernel(features.target, fit.kernel)[:, None], features)
    label, weight = network.label_encoder(logits[:, 0].sigmoid())
    golden.assert_close("label1", label, MODULES)
    golden.assert_close("weight1", weight, MODULES)
    both = {
        "features": torch.cat([sample["features"], features.target.transpose(0, 1)]),
        "labels": torch.cat([sample["labels"], label[None]]),
        "weights": torch.cat([sample["weights"], weight[None]]),
    }
    fit = FilterState(fit.kernel, apply_kernel(both["features"], fit.kernel))
    iterations = len(golden["loss_upd_train"]) - 1
    golden.assert_close("filter_upd_train", kernel_to_filter(network.target.fit(fit, both, iterations).kernel), FILTERS)
    temporal = golden.tensor("temporal_weights")[:, None]
    refreshed = network.target.fit(fit, both, iterations, temporal)
    golden.assert_close("filter_upd_infer", kernel_to_filter(refreshed.kernel), FILTERS)
    last = network.encode(clip(golden["images"])[2:3])
    golden.assert_close("logit2", network.decode(apply_kernel(last.target, refreshed.kernel)[:, None], last), MODULES)


def training_batch(golden: Golden) -> Batch:
    frames = golden.tensor("images").permute(1, 0, 4, 2, 3).float()
    masks = golden.tensor("masks").transpose(0, 1)[:, :, None].float()
    valid = torch.ones(len(frames), 1, dtype=torch.bool)
    return Batch(frames, masks, valid, torch.zeros(*masks.shape[:3], 4))


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_training_step_gradients_equal_the_golden_ones(folder: Path, variant: str) -> None:
    golden = Golden(folder / "train_step.npz")
    settings = golden.meta["settings"]
    network = build(folder, golden.salt, refine_in_training=variant == "paper").train()
    network.target.train_schedule = LearnerSchedule(settings["init_iter"], settings["update_iter"])
    theirs = convert_names(folder)
    frozen = {theirs[str(name)] for name in golden["no_grad_names"]}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    batch = training_batch(golden)
    unrolled = network.training_forward(batch)
    prefix = "paper_" if variant == "paper" else ""
    golden.assert_close(f"{prefix}logits", unrolled.logits.transpose(0, 1), MODULES)
    loss = network.losses(unrolled, batch)["lovasz"]
    assert loss.item() == pytest.approx(float(golden[f"{prefix}loss_total"]), rel=LOSS)
    loss.backward()
    norms = golden[f"{prefix}grad_norms"]
    parameters = dict(network.named_parameters())
    for name, norm in zip(golden["grad_names"], norms, strict=True):
        gradient = parameters[theirs[str(name)]].grad
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS), name
    if variant == "released":
        assert float(golden["loss_lovasz"]) * settings["loss_weight"] == pytest.approx(float(golden["loss_total"]))
        for name, entry in {
            "grad_filter_reg": network.learner.filter_reg,
            "grad_label_pred": network.label_encoder.label_pred[0].weight,  # type: ignore[index]
            "grad_samp_w": network.label_encoder.samp_w_pred.weight,  # type: ignore[union-attr]
        }.items():
            assert entry.grad is not None
            golden.assert_close(name, entry.grad, GRADIENTS)


def convert_names(folder: Path, table: str = "state_dict.csv") -> dict[str, str]:
    """The authors' entry name -> ours."""
    from vos_zoo.methods.lwl.checkpoint import convert_state_dict

    entries = [line.split(",")[0] for line in (folder / table).read_text().splitlines()[1:]]
    conversion = convert_state_dict(dict.fromkeys(entries))
    return {theirs: ours for ours, theirs in conversion.names.items()}


def test_box_encoder_stages_equal_the_golden_ones(folder: Path) -> None:
    golden = Golden(folder / "box_init.npz")
    network = build(folder, golden.salt, boxes=True)
    frame = torch.from_numpy(golden["image"]).permute(2, 0, 1).float()
    boxes = golden.tensor("box").float()[None]
    features = network.encode(frame[None, None])
    golden.assert_close("tm_feat", features.target, MODULES)
    size = (frame.shape[1], frame.shape[2])
    mask = rasterise_boxes(boxes, size)
    assert mask.sum().item() == float(golden["box_mask_sum"])
    small = torch.nn.functional.interpolate(mask[None], features.target.shape[-2:], mode="bilinear")
    golden.assert_close("box_mask_small", small, MODULES)
    assert network.box_encoder is not None
    x = network.box_encoder.res[0](torch.cat([features.target[:, 0], small], dim=1))
    golden.assert_close("box_res0", x, MODULES)
    golden.assert_close("box_res1", network.box_encoder.res[1](x), MODULES)
    golden.assert_close("box_enc", network.box_encoder(boxes, features.target[:, 0], size), MODULES)
    logits = network.box_logits(frame, boxes)
    golden.assert_close("logit", logits, MODULES)
    assert ((logits[0] > 0).numpy() == golden["mask0"]).mean() >= 0.999
    assert np.abs(logits[0].sigmoid().numpy() - golden["prob0"].astype(np.float32)).max() <= 2e-3


def test_box_training_gradients_equal_the_golden_ones(folder: Path) -> None:
    golden = Golden(folder / "box_init.npz")
    network = build(folder, golden.salt, boxes=True, trains="boxes")
    network.requires_grad_(False)
    assert network.box_encoder is not None
    network.box_encoder.requires_grad_(True)
    frames = torch.from_numpy(golden["tr_images"]).permute(0, 3, 1, 2)[:, None].float()
    masks = golden.tensor("tr_masks")[:, None, None].float()
    boxes = golden.tensor("tr_boxes")[:, None, None]
    batch = Batch(frames, masks, torch.ones(len(frames), 1, dtype=torch.bool), boxes)
    loss = sum(network.losses(network.training_forward(batch), batch).values())
    assert loss.item() == pytest.approx(float(golden["tr_loss"]), rel=LOSS)  # type: ignore[union-attr]
    loss.backward()  # type: ignore[union-attr]
    names = convert_names(folder, "state_dict_box.csv")
    parameters = dict(network.named_parameters())
    for name, norm in zip(golden["tr_grad_names"], golden["tr_grad_norms"], strict=True):
        gradient = parameters[names[str(name)]].grad
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS), name
