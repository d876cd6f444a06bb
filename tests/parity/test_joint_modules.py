"""JOINT stage by stage: backbone, both branches, label encoder, learner, decoder, ablation rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.golden import Golden, fill_weights
from tests.parity.joint import assert_close, load
from vos_zoo.methods._few_shot.learner import kernel_to_filter
from vos_zoo.methods.joint.target_model import Joint, cosine
from vos_zoo.methods.joint.transformer_target import JointFeatures
from vos_zoo.nn.attention import fused_attention
from vos_zoo.nn.norms import token_instance_norm
from vos_zoo.nn.resize import resize_to

MODULES, LOGITS = 2e-5, 2e-4


@pytest.fixture(scope="module")
def folder(reference_dir: Path) -> Path:
    return reference_dir / "joint"


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return Golden(folder / "modules.npz")


@pytest.fixture(scope="module")
def network(folder: Path, golden: Golden) -> Joint:
    return load(folder, golden.salt).network  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Setup:
    """Frames 0.. are memory, the last one is the test frame; axes of the file: (frame, sequence, ...)."""

    def __init__(self, network: Joint, golden: Golden) -> None:
        frames = golden.tensor("images").permute(1, 0, 4, 2, 3).float()
        self.masks = golden.tensor("masks").transpose(0, 1)[:, :, None, None].float()
        self.features: JointFeatures = network.encode(frames)
        self.samples = frames.shape[1] - 1
        self.size = (frames.shape[-2], frames.shape[-1])
        encoded = [network.encode_labels(self.frame(t), self.masks[:, t : t + 1, 0]) for t in range(self.samples)]
        self.labels = {name: torch.stack([one[name] for one in encoded]) for name in encoded[0]}

    def frame(self, t: int) -> JointFeatures:
        return self.features.frames(t, t + 1)

    @property
    def query(self) -> JointFeatures:
        return self.frame(self.samples)

    def memory_first(self, tensor: Tensor) -> Tensor:
        """(sequence, frame, ...) -> (frame, sequence, ...), memory frames only."""
        return tensor[:, : self.samples].transpose(0, 1)


@pytest.fixture(scope="module")
def setup(network: Joint, golden: Golden) -> Setup:
    with torch.no_grad():
        return Setup(network, golden)


def picture(tokens: Tensor, features: JointFeatures) -> Tensor:
    """Tokens ``(..., P, C)`` -> ``(..., C, h, w)``."""
    return tokens.transpose(-1, -2).unflatten(-1, features.f16.shape[-2:])


def test_backbone_equals_the_golden_one(golden: Golden, setup: Setup) -> None:
    query = setup.query
    for name, level in {"layer1": query.f4, "layer2": query.f8, "layer3": query.f16, "layer4": query.f32}.items():
        assert_close(golden, f"test_{name}", level, MODULES)
    assert_close(golden, "mem_layer3", setup.memory_first(setup.features.f16), MODULES)


def test_features_of_both_branches_equal_the_golden_ones(golden: Golden, setup: Setup) -> None:
    features, query = setup.features, setup.query
    assert_close(golden, "mem_tmfeat", setup.memory_first(features.target), MODULES)
    assert_close(golden, "test_tmfeat", query.target, MODULES)
    assert_close(golden, "mem_adjusted", setup.memory_first(picture(features.tokens, features)), MODULES)
    assert_close(golden, "test_adjusted", picture(query.tokens, features), MODULES)


def test_both_heads_of_the_label_encoder_equal_the_golden_ones(golden: Golden, setup: Setup) -> None:
    assert_close(golden, "label_ind", setup.labels["labels"], MODULES)
    assert_close(golden, "label_tra", setup.labels["values"], MODULES)
    assert_close(golden, "sample_weight", setup.labels["weights"], MODULES)
    both = (setup.labels[name].flatten(2) for name in ("labels", "values"))
    assert cosine(*both).mean().item() == pytest.approx(float(golden["cosine"]), rel=1e-5)


def templates(setup: Setup) -> tuple[Tensor, Tensor]:
    return setup.memory_first(setup.features.tokens), setup.memory_first(setup.features.keys)


def encoded_at_once(network: Joint, setup: Setup) -> Tensor:
    """The encoder over the whole memory, ``(S, B, P, C)``."""
    (tokens, keys), transformer = templates(setup), network.transformer
    flat_keys, flat_tokens = (x.transpose(0, 1).flatten(1, 2) for x in (keys, tokens))
    attended = fused_attention(flat_keys, flat_keys, flat_tokens, transformer.self_attention.scale)
    return token_instance_norm(attended.unflatten(1, (tokens.shape[0], tokens.shape[2])).transpose(0, 1) + tokens)


def test_encoder_stages_equal_the_golden_ones(network: Joint, golden: Golden, setup: Setup) -> None:
    (tokens, keys), scale = templates(setup), network.transformer.self_attention.scale
    sequence_first = [x.transpose(0, 1).flatten(1, 2) for x in (keys, keys, tokens)]
    attended = fused_attention(*sequence_first, scale).unflatten(1, (tokens.shape[0], tokens.shape[2]))
    for name in golden.names("enc_selfattn_frame"):
        if "__" not in name:
            assert_close(
                golden, name, attended[:, int(name.removeprefix("enc_selfattn_frame"))].transpose(0, 1), MODULES
            )
    assert_close(golden, "encoded_memory", picture(encoded_at_once(network, setup), setup.features), MODULES)


@pytest.mark.parametrize("gradients", [False, True], ids=["in one block", "recorded"])
def test_decoder_self_attention_equals_the_golden_one(
    network: Joint, golden: Golden, setup: Setup, gradients: bool
) -> None:
    tokens, keys = setup.query.tokens[:, 0], setup.query.keys[:, 0]
    with torch.set_grad_enabled(gradients):
        numerators, denominators = network.transformer.own_sums(tokens, keys)
    assert_close(golden, "dec_selfattn", (numerators / denominators[..., None]).transpose(0, 1), MODULES)
    normed = network.transformer.normed(tokens, numerators, denominators)
    assert_close(golden, "dec_normed", picture(normed, setup.features), MODULES)
    attended = fused_attention(keys, keys, tokens, network.transformer.self_attention.scale)
    assert_close(golden, "dec_selfattn", attended.transpose(0, 1), MODULES)


def memory_of(network: Joint, setup: Setup, values: str = "values", **settings: Any) -> Any:
    """The transformer's memory after all memory frames, written as the engine writes them."""
    branch = network.target.transductive  # type: ignore[attr-defined]
    memory = branch.new_memory(network.track_settings(**settings))
    for t in range(setup.samples):
        sample = {**branch.sample(setup.frame(t)), "values": setup.labels[values][t]}
        rows = list(range(len(sample["tokens"])))
        memory = branch.update(memory, sample, rows) if t else branch.initialise(memory, sample, rows)
    return memory


@pytest.mark.parametrize("incremental", [False, True], ids=["re-encoded", "incremental"])
def test_the_stored_templates_and_the_readout_equal_the_golden_ones(
    network: Joint, golden: Golden, setup: Setup, incremental: bool
) -> None:
    memory = memory_of(network, setup, incremental=incremental)
    transformer, query = network.transformer, setup.query
    encoded = memory.samples.samples("encoded")
    expected = transformer.cross_attention(encoded_at_once(network, setup))
    assert (encoded - expected).abs().max() <= 2e-6
    seen = (query.tokens[:, 0], query.numerators[:, 0], query.denominators[:, 0])
    normed = transformer.cross_attention(transformer.normed(*seen))
    for name in [name for name in golden.names("cross_prob_q") if "__" not in name]:
        query_token = normed[0, int(name.removeprefix("cross_prob_q"))]
        similarity = encoded[:, 0].flatten(0, 1) @ query_token * transformer.cross_attention.scale
        assert_close(golden, name, similarity.softmax(0), MODULES)
    read = network.target.transductive.read(memory, query)  # type: ignore[attr-defined]
    assert_close(golden, "enc_tra", read, MODULES)


def fitted(network: Joint, setup: Setup, iterations: int) -> Any:
    learner = network.learner
    features = setup.memory_first(setup.features.target)
    fit = learner.start(features, setup.labels["labels"].shape[2])
    return learner(fit, features, setup.labels["labels"], setup.labels["weights"], iterations)


def test_the_learner_equals_the_golden_one(network: Joint, golden: Golden, setup: Setup) -> None:
    for name in golden.names("filter_it"):
        if "__" not in name:
            fit = fitted(network, setup, int(name.removeprefix("filter_it")))
            assert_close(golden, name, kernel_to_filter(fit.kernel), MODULES)
    labels, weights = setup.labels["labels"], setup.labels["weights"]
    for iterations in (0, 1, 5, len(golden["learner_loss"]) - 1):
        fit = fitted(network, setup, iterations)
        loss = network.learner.objective(fit, labels, weights).mean().item()
        assert loss == pytest.approx(golden["learner_loss"][iterations], rel=1e-4)


def induced(network: Joint, golden: Golden, setup: Setup) -> Tensor:
    iterations = max(int(n.removeprefix("filter_it")) for n in golden.names("filter_it") if "__" not in n)
    branch = network.target.inductive  # type: ignore[attr-defined]
    memory = branch.new_memory(network.track_settings())
    kernel = fitted(network, setup, iterations).kernel
    return branch.read(type(memory)(memory.schedule, memory.samples, kernel), setup.query)


def test_every_stage_of_the_decoder_equals_the_golden_one(network: Joint, golden: Golden, setup: Setup) -> None:
    query = setup.query
    inductive = induced(network, golden, setup)
    assert_close(golden, "enc_ind", inductive, MODULES)
    transductive = network.target.transductive.read(memory_of(network, setup), query)  # type: ignore[attr-defined]
    scores, decoder, context = (inductive + transductive)[:, 0, 0], network.decoder, None
    pyramid = [level[:, 0] for level in (query.f32, query.f16, query.f8, query.f4)]
    for name, level in zip(decoder.levels, pyramid, strict=True):
        deeper = None if context is None else decoder.proj[name](context)
        mixed, pooled = decoder.TSE[name](level, resize_to(scores, level.shape), lambda x: x)
        assert_close(golden, f"dec_TSE_{name}", mixed, MODULES)
        x = decoder.RRB1[name](mixed)
        assert_close(golden, f"dec_RRB1_{name}", x, MODULES)
        x = decoder.CAB[name](x, pooled if deeper is None else deeper)
        assert_close(golden, f"dec_CAB_{name}", x, MODULES)
        context = decoder.RRB2[name](x)
        assert_close(golden, f"dec_RRB2_{name}", context, MODULES)
    doubled = torch.nn.functional.interpolate(context, scale_factor=2, mode="bicubic", align_corners=False)
    assert_close(golden, "dec_up_conv1", decoder.project.conv1(doubled), MODULES)
    logits = network.decode(inductive + transductive, query)
    assert np.abs(logits.numpy().reshape(golden["logits"].shape) - golden["logits"]).max() <= LOGITS


def test_the_logits_of_the_ablation_rows_equal_the_golden_ones(network: Joint, golden: Golden, setup: Setup) -> None:
    inductive = induced(network, golden, setup)
    branch = network.target.transductive  # type: ignore[attr-defined]
    transductive = branch.read(memory_of(network, setup), setup.query)
    shared = branch.read(memory_of(network, setup, values="labels"), setup.query)
    rows = {"tb_only": transductive, "ib_only": inductive, "single_head": inductive + shared}
    for name, scores in rows.items():
        logits = network.decode(scores, setup.query).flatten()[:: int(golden[f"logits_{name}__stride"])]
        assert (logits - golden.tensor(f"logits_{name}").flatten()).abs().max() <= LOGITS, name


@pytest.mark.parametrize(
    ("switches", "row"),
    [
        ({"induction": False}, "tb_only"),
        ({"transduction": False}, "ib_only"),
        ({"two_heads": False}, "single_head"),
    ],
    ids=["transduction only", "induction only", "one head"],
)
def test_the_switches_of_the_ablations_build_these_networks(
    network: Joint, golden: Golden, setup: Setup, switches: dict[str, bool], row: str
) -> None:
    ablated = Joint(**switches).eval()
    given = network.state_dict()
    if row == "tb_only":  # its one head is the transformer's
        for ours, full in {"res1": "value_trunk.0", "res2": "value_trunk.1", "label_pred.0": "value_pred"}.items():
            for name in [n for n in given if n.startswith(f"label_encoder.{full}.")]:
                given[name.replace(full, ours)] = given[name]
    ablated.load_state_dict({name: given[name] for name in ablated.state_dict()})
    settings = ablated.track_settings(first_iterations=20, update_iterations=0, capacity=setup.samples + 1)
    memory = ablated.new_memory(settings)
    features = ablated.encode(setup.features.pixels)
    memory = ablated.initialise(memory, features.frames(0, 1), setup.masks[:, :1, 0], [0, 1])
    for t in range(1, setup.samples):
        memory = ablated.update(memory, features.frames(t, t + 1), setup.masks[:, t : t + 1, 0])
    if row == "tb_only":
        query = features.frames(setup.samples, None)
        logits = ablated.decode(ablated.read(memory, query), query).flatten()
        stride = int(golden["logits_tb_only__stride"])
        assert (logits[::stride] - golden.tensor("logits_tb_only").flatten()).abs().max() <= LOGITS
    else:
        assert ("transformer.adjust.weight" in ablated.state_dict()) == (row == "single_head")
        assert not any("value" in name for name in ablated.state_dict())


def test_every_entry_of_the_authors_file_is_used_or_known(folder: Path) -> None:
    from vos_zoo.create import convert_checkpoint
    from vos_zoo.types import UsageError

    state = fill_weights(folder)
    unit = "transformer.decoder.cross_attn.WV.weight"
    tied = "transformer.encoder.self_attn.WK.weight"
    for broken in (
        {name: value for name, value in state.items() if name != unit},
        {name: value for name, value in state.items() if name != tied},
        {**state, unit: state[unit][:-1]},
        {**state, "transformer.feature_extractor.weight": state[unit]},
        {**state, "label_encoder.res1_tr.conv1.weight": state["label_encoder.res1_tr.conv1.weight"][:1]},
    ):
        with pytest.raises(UsageError):
            convert_checkpoint(broken, method="joint")
