"""LLB stage by stage: backbone, label generator, learner, transformer, fusion, decoder, training step."""

from __future__ import annotations

import json
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
from vos_zoo.methods._few_shot.parallel_targets import ParallelTargets
from vos_zoo.methods._few_shot.target import FewShotTarget
from vos_zoo.methods.llb.label_encoder import background_filtered
from vos_zoo.methods.llb.target_model import LLB
from vos_zoo.methods.llb.vitae import to_map, to_tokens
from vos_zoo.model import mean_jaccard
from vos_zoo.nn.attention import attention_sums
from vos_zoo.nn.resize import resize_to
from vos_zoo.types import Batch

MODULES, LOSS, GRADIENTS = 2e-5, 1e-4, 1e-3


@pytest.fixture(scope="module")
def folder(reference_dir: Path) -> Path:
    return reference_dir / "llb"


def build(folder: Path, salt: str | None, **hyperparameters: Any) -> LLB:
    network: LLB = convert_checkpoint(fill_weights(folder, salt=salt), method="llb", **hyperparameters).eval().network  # type: ignore[assignment]
    return network


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return Golden(folder / "modules.npz")


@pytest.fixture(scope="module")
def network(folder: Path, golden: Golden) -> LLB:
    return build(folder, golden.salt)


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradients" in request.node.name):
        yield


def clip(frames: np.ndarray) -> Tensor:
    """Frames ``(T, h, w, 3)`` -> canvases ``(1, T, 3, h, w)`` of one sequence."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float()


@pytest.fixture(scope="module")
def filtered(network: LLB, golden: Golden) -> Tensor:
    pixels = network.backbone.normalise(clip(golden["frames"])[0])
    return background_filtered(pixels, golden.tensor("masks")[:, None].float())


def test_backbone_and_feature_heads_equal_the_golden_ones(network: LLB, golden: Golden) -> None:
    features = network.encode(clip(golden["frames"]))
    levels = (features.f4, features.f8, features.f16, features.f32)
    for number, level in enumerate(levels, 1):
        golden.assert_close(f"bb_layer{number}", level, MODULES)
    golden.assert_close("tm_feat", features.target, MODULES)
    golden.assert_close("tr_feat", features.tokens.transpose(2, 3), MODULES)


def test_every_branch_of_the_label_backbone_equals_the_golden_one(
    network: LLB, golden: Golden, filtered: Tensor
) -> None:
    golden.assert_close("bff", filtered, MODULES)
    x = filtered[:2]
    for number, layer in enumerate(network.label_encoder.label_backbone.layers):
        cell = layer.RC
        pyramid = to_tokens(cell.PRM(x))
        golden.assert_close(f"rc{number}_prm", pyramid, MODULES)
        if cell.attn is not None:
            golden.assert_close(f"rc{number}_pcm", cell.PCM(x), MODULES)
            golden.assert_close(f"rc{number}_performer", cell.attn.attend(pyramid), MODULES)
        x = cell(x)
        golden.assert_close(f"rc{number}_out", to_tokens(x), MODULES)
        tokens = to_tokens(x)
        for k, normal in enumerate(layer.NC):
            if f"nc{k}_out" in golden:
                golden.assert_close(f"nc{k}_pcm", normal.PCM(to_map(tokens, x.shape)), MODULES)
                golden.assert_close(f"nc{k}_attn", normal.attn(normal.norm1(tokens)), MODULES)
            tokens = normal(tokens, x.shape)
            if f"nc{k}_out" in golden:
                golden.assert_close(f"nc{k}_out", tokens, MODULES)
        x = to_map(tokens, x.shape)
    golden.assert_close("vitae_out", x, MODULES)


def test_the_heads_of_the_label_generator_equal_the_golden_ones(network: LLB, golden: Golden, filtered: Tensor) -> None:
    generator = network.label_encoder
    features = generator.label_backbone(filtered[:2])
    golden.assert_close("vitae_out", features, MODULES)
    golden.assert_close("proj_tm", generator.prejector_tm(features), MODULES)
    golden.assert_close("proj_tr", generator.prejector_tr(features), MODULES)
    label, weight, value = generator.encode(filtered[:2])
    golden.assert_close("label_tm", label, MODULES)
    golden.assert_close("label_tr", value, MODULES)
    golden.assert_close("label_sw", weight, MODULES)


def samples_of(network: LLB, golden: Golden, count: int) -> dict[str, Tensor]:
    """The first `count` frames with their masks as samples of one object, ``(S, 1, ...)``."""
    features = network.encode(clip(golden["frames"][:count]))
    masks = golden.tensor("masks")[:count, None, None, None].float()
    own = [network._encode_sample(features.frames(t, t + 1), mask) for t, mask in enumerate(masks)]
    return {name: torch.stack([sample[name] for sample in own]) for name in own[0]}


def inductive(network: LLB) -> FewShotTarget:
    assert isinstance(network.target, ParallelTargets)
    assert isinstance(network.target.inductive, FewShotTarget)
    return network.target.inductive


def fitted(network: LLB, samples: dict[str, Tensor], iterations: int) -> FilterState:
    """The filter after some iterations from zero on the first sample."""
    first = {name: value[:1] for name, value in samples.items()}
    start = inductive(network).learner.start(first["features"], inductive(network).outputs)
    return inductive(network).fit(start, first, iterations)


def test_learner_equals_the_golden_one_after_every_iteration(network: LLB, golden: Golden) -> None:
    samples = samples_of(network, golden, 1)
    for name in golden.names("filter_it"):
        if name.endswith("__stats"):
            continue
        fit = fitted(network, samples, int(name.removeprefix("filter_it")))
        golden.assert_close(name, kernel_to_filter(fit.kernel), MODULES)
    for name in golden.names("losses_it"):
        fits = [fitted(network, samples, iterations) for iterations in range(len(golden[name]))]
        learner = inductive(network).learner
        losses = [learner.objective(fit, samples["labels"], samples["weights"]).item() for fit in fits]
        np.testing.assert_allclose(losses, golden[name], rtol=LOSS)


def temporal_weights(golden: Golden) -> Tensor:
    """Temporal weights of the golden update on two frames, as its description states them."""
    stated = re.search(r"temporal weight \(([\d., ]+)\)", golden.meta["arrays"]["filter_upd3"]["what"])
    assert stated is not None
    return torch.tensor([float(weight) for weight in stated[1].split(",")])


def updated(network: LLB, golden: Golden, samples: dict[str, Tensor], iterations: int) -> FilterState:
    """The filter of the first frame, refined on two frames with temporal weights."""
    kernel = fitted(network, samples, 20).kernel
    temporal = temporal_weights(golden)[:, None]
    start = FilterState(kernel, apply_kernel(samples["features"], kernel))
    return inductive(network).fit(start, samples, iterations, temporal)


def test_an_update_on_two_frames_with_temporal_weights_equals_the_golden_one(network: LLB, golden: Golden) -> None:
    samples = samples_of(network, golden, 2)
    iterations = len(golden["losses_upd3"]) - 1
    golden.assert_close("filter_upd3", kernel_to_filter(updated(network, golden, samples, iterations).kernel), MODULES)
    weights = samples["weights"] * temporal_weights(golden)[:, None, None, None, None]
    fits = [updated(network, golden, samples, count) for count in range(iterations + 1)]
    losses = [inductive(network).learner.objective(fit, samples["labels"], weights).item() for fit in fits]
    np.testing.assert_allclose(losses, golden["losses_upd3"], rtol=LOSS)


def remembered(network: LLB, golden: Golden, frames: int, grown: bool) -> Any:
    """The transformer's memory of the first frames: written one by one, or (as in training) encoded all at once."""
    assert isinstance(network.target, ParallelTargets)
    transduction = network.target.transductive
    samples = samples_of(network, golden, frames)
    with torch.set_grad_enabled(grown):
        memory = transduction.new_memory(None if grown else network.track_settings())
        for t in range(frames):
            sample = {name: value[t] for name, value in samples.items()}
            write = transduction.update if t else transduction.initialise
            memory = write(memory, sample, [0])
    return memory


@pytest.mark.parametrize("grown", [False, True], ids=["tracking", "training"])
def test_transduction_branch_equals_the_golden_one(network: LLB, golden: Golden, grown: bool) -> None:
    assert isinstance(network.target, ParallelTargets)
    query = network.encode(clip(golden["frames"])[:, 2:])
    for name, frames in (("tr_out_1mem", 1), ("tr_out", 2)):
        memory = remembered(network, golden, frames, grown)
        with torch.set_grad_enabled(grown):
            golden.assert_close(name, network.target.transductive.read(memory, query), MODULES)


def test_transformer_stages_equal_the_golden_ones(network: LLB, golden: Golden) -> None:
    memory, query = (network.encode(clip(golden["frames"])[:, part]) for part in (slice(0, 2), slice(2, None)))
    transformer = network.transformer
    tokens, keys = memory.tokens.flatten(1, 2), memory.keys.flatten(1, 2)
    sums = attention_sums(keys, keys, tokens, transformer.self_attention.scale)
    shares = [part.unflatten(1, memory.tokens.shape[1:3]) for part in sums]
    encoded = transformer.normed(memory.tokens, *shares).transpose(0, 1)
    golden.assert_close("tr_enc", encoded.transpose(-2, -1), MODULES)
    normed = transformer.normed(query.tokens[:, 0], query.numerators[:, 0], query.denominators[:, 0])
    golden.assert_close("tr_query", normed.transpose(-2, -1), MODULES)


def test_induction_and_fusion_equal_the_golden_ones(network: LLB, golden: Golden) -> None:
    samples, query = samples_of(network, golden, 2), network.encode(clip(golden["frames"])[:, 2:])
    fit = updated(network, golden, samples, len(golden["losses_upd3"]) - 1)
    induced = apply_kernel(query.target.transpose(0, 1), fit.kernel)
    golden.assert_close("tm_out", induced, MODULES)
    assert isinstance(network.target, ParallelTargets)
    memory = remembered(network, golden, 2, grown=False)
    fused = network.target.fuse(induced[:, :, None], network.target.transductive.read(memory, query))
    golden.assert_close("fused", fused, MODULES)


def test_decoder_stages_equal_the_golden_ones(network: LLB, golden: Golden) -> None:
    fused = golden.tensor("fused").view(golden.meta["arrays"]["fused"]["full_shape"])[0]
    features = network.encode(clip(golden["frames"])[:, 2:])
    decoder, context = network.decoder, None
    for name, level in zip(decoder.levels, (features.f32, features.f16, features.f8, features.f4), strict=True):
        if context is not None:
            context = decoder.proj[name](context)
            golden.assert_close(f"dec_proj_{name}", context, MODULES)
        mixed, pooled = decoder.TSE[name](level[:, 0], resize_to(fused, level.shape), lambda x: x)
        golden.assert_close(f"dec_TSE_{name}", mixed, MODULES)
        x = decoder.RRB1[name](mixed)
        golden.assert_close(f"dec_RRB1_{name}", x, MODULES)
        x = decoder.CAB[name](x, pooled if context is None else context)
        golden.assert_close(f"dec_CAB_{name}", x, MODULES)
        context = decoder.RRB2[name](x)
        golden.assert_close(f"dec_RRB2_{name}", context, MODULES)
    doubled = torch.nn.functional.interpolate(context, scale_factor=2, mode="bicubic", align_corners=False)
    golden.assert_close("dec_project_conv1", decoder.project.conv1(doubled), MODULES)
    golden.assert_close("logits", network.decode(fused[:, None, None], features), MODULES)


def convert_names(folder: Path) -> dict[str, str]:
    """The authors' entry name -> ours; of two tied entries both."""
    from vos_zoo.methods.llb.checkpoint import convert_state_dict

    lines = (folder / "state_dict.csv").read_text().splitlines()[1:]
    conversion = convert_state_dict(dict.fromkeys(line.split(",")[0] for line in lines))
    names = {theirs: ours for ours, theirs in conversion.names.items()}
    tied = json.loads((folder / "recipe.json").read_text())["tied"]
    return names | {twin: names[name] for name, twin in tied.items() if name in names}


def test_training_step_gradients_equal_the_golden_ones(folder: Path) -> None:
    golden = Golden(folder / "train_step.npz")
    network, theirs = build(folder, golden.salt).train(), convert_names(folder)
    frozen = {theirs[name] for name in golden.meta["parameters_without_gradient"] if name in theirs}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    frames = golden.tensor("frames").permute(1, 0, 4, 2, 3).float()
    masks = golden.tensor("masks").transpose(0, 1)[:, :, None].float()
    batch = Batch(frames, masks, torch.ones(len(frames), 1, dtype=torch.bool), torch.zeros(*masks.shape[:3], 4))
    unrolled = network.training_forward(batch)
    golden.assert_close("logits", unrolled.logits.transpose(0, 1), MODULES)
    golden.assert_close("enc_tm", unrolled.extras["labels"].transpose(0, 1), MODULES)
    golden.assert_close("enc_tr", unrolled.extras["values"].transpose(0, 1), MODULES)
    terms = network.losses(unrolled, batch)
    assert terms["lovasz"].item() == pytest.approx(float(golden["loss_segm"]), rel=LOSS)
    assert terms["cosine"].item() == pytest.approx(float(golden["loss_diff"]), rel=LOSS)
    assert mean_jaccard(unrolled.logits, unrolled.truth).item() == pytest.approx(float(golden["acc"]), rel=LOSS)
    loss = torch.stack(list(terms.values())).sum()
    assert loss.item() == pytest.approx(float(golden["loss_total"]), rel=LOSS)
    loss.backward()
    parameters = dict(network.named_parameters())
    assert not [name for name, parameter in parameters.items() if parameter.requires_grad and parameter.grad is None]
    for name, norm in zip(golden["grad_names"], golden["grad_norms"], strict=True):
        gradient = parameters[theirs[str(name)]].grad
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS), name
