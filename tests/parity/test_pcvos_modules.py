"""PCVOS stage by stage: encoders, matching, progressive matching, refinement, decoder, aggregation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.golden import Golden
from tests.parity.pcvos import assert_close, differences, load
from tests.parity.ties import Ties, settle
from vos_zoo.engine.merge import aggregate
from vos_zoo.methods.pcvos import memory as reading
from vos_zoo.methods.pcvos.matching import Matches, similarities
from vos_zoo.methods.pcvos.memory import ClipMemory
from vos_zoo.methods.pcvos.refinement import Refinement
from vos_zoo.methods.pcvos.target_model import PCVOS, PCVOSFeatures

MODULES = 5e-5
TIE = 1e-3
"""Similarities that differ by less may change places."""


@pytest.fixture(scope="module")
def golden(reference_dir: Path) -> Golden:
    return Golden(reference_dir / "pcvos" / "modules.npz")


@pytest.fixture(scope="module")
def network(reference_dir: Path, golden: Golden) -> PCVOS:
    return load(reference_dir / "pcvos", golden).network  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Setup:
    """The first frame is given, all later ones are one clip; the memory holds the first frame."""

    def __init__(self, network: PCVOS, golden: Golden) -> None:
        self.frames = golden.tensor("frames").permute(0, 3, 1, 2)[None].float()
        labels = golden.tensor("labels")[0]
        self.masks = torch.stack([labels == i for i in range(1, int(labels.max()) + 1)])[None, None].float()
        self.objects = list(range(self.masks.shape[2]))
        self.features: PCVOSFeatures = network.encode(self.frames)
        self.clip = self.features.frames(1, None)
        self.top_k = golden.meta["top_k"]
        self.read(network)
        self.grid = (self.features.f16.shape[-2], self.features.f16.shape[-1])

    def read(self, network: PCVOS) -> None:
        self.progressive = self.memory(network, True).read(self.clip.keys)
        self.plain = self.memory(network, False).read(self.clip.keys)

    def memory(self, network: PCVOS, progressive: bool, **settings: int) -> ClipMemory:
        chosen = network.track_settings(top_k=self.top_k, progressive=progressive, **settings)
        return network.initialise(network.new_memory(chosen), self.features.frames(0, 1), self.masks, self.objects)

    def picture(self, values: Tensor) -> Tensor:
        """(..., P, C) -> (..., C, h, w)."""
        return values.transpose(-1, -2).unflatten(-1, self.grid)


@pytest.fixture(scope="module")
def setup(network: PCVOS, golden: Golden) -> Iterator[Setup]:
    """Near ties of what is read are decided as in the golden file; everything behind depends on them."""
    with torch.no_grad():
        setup = Setup(network, golden)

    def misfit() -> tuple[int, float]:
        with torch.no_grad():
            setup.read(network)
            stages = read_stages(network, golden, setup)
        for number, (name, ours) in enumerate(stages.items()):
            relative = differences(golden, name, ours) / golden.meta["arrays"][name]["absmax"]
            if relative.max() > MODULES:
                return len(stages) - number, (relative - MODULES / 2).clamp(min=0).sum().item()
        return 0, 0.0

    with Ties() as ties:
        settle(ties, misfit)
        yield setup


def read_stages(network: PCVOS, golden: Golden, setup: Setup) -> dict[str, Tensor]:
    """What depends on which positions are read, by golden name."""
    assert network.refinement is not None and setup.clip.local is not None
    query, memory = query_and_memory(golden, setup)
    one = setup.progressive[:, :1]
    return {
        "match.affinity": affinity(query, memory, setup.top_k)[0].T,
        "nopmm.readout": setup.picture(setup.plain[0]).transpose(1, 2),
        "pmm.readout": setup.picture(setup.progressive[0]).transpose(1, 2),
        "icr.out": network.refinement(grid(one, setup), setup.clip.local).permute(0, 1, 5, 2, 3, 4),
        "dec.logits": network.decode(setup.picture(one).transpose(1, 2), setup.clip),
    }


def query_and_memory(golden: Golden, setup: Setup) -> tuple[Tensor, Tensor]:
    """Keys of the frame that is matched, and of those before it."""
    keys, shape = setup.features.keys[0], golden.meta["arrays"]["match.similarity"]["shape"]
    frames = shape[1] // shape[2]
    return keys[frames], keys[:frames].flatten(0, 1)


def affinity(query: Tensor, memory: Tensor, count: int) -> tuple[Tensor, Matches]:
    """Weights of all positions ``(Q, N)``, and what was found."""
    found = reading.match(query, memory, torch.arange(len(memory)), count)
    weights = torch.zeros(len(query), len(memory))
    return weights.scatter_(1, found.positions, found.scores.softmax(dim=1)), found


def test_the_key_encoder_equals_the_golden_one(network: PCVOS, golden: Golden, setup: Setup) -> None:
    backbone, features = network.backbone, setup.features
    pooled = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(backbone.normalise(setup.frames[0])))))
    assert_close(golden, "key.stem_pool", pooled, MODULES)
    for name, level in {"f4": features.f4, "f8": features.f8, "f16": features.f16}.items():
        assert_close(golden, f"key.{name}", level, MODULES)
    assert_close(golden, "key.f16_thin", network.projections.thin(features.f16[0]), MODULES)
    assert_close(golden, "key.k16", setup.picture(features.keys), MODULES)
    assert features.local is not None
    assert_close(golden, "key.local", features.local.permute(0, 1, 4, 2, 3), MODULES)


def test_the_value_encoder_equals_the_golden_one(network: PCVOS, golden: Golden, setup: Setup) -> None:
    encoder, frame, masks = network.value_encoder, setup.frames[:, 0], setup.masks[:, 0]
    x = encoder.stem(frame, masks)
    assert_close(golden, "value.stem_pool", x, MODULES)
    for name in ("layer1", "layer2", "layer3"):
        x = encoder.get_submodule(name)(x)
        assert_close(golden, f"value.{name}", x, MODULES)
    f16 = setup.features.f16[:, 0]
    mixed = encoder.fuser.block1(x, f16)
    assert_close(golden, "value.fuser_block1", mixed, MODULES)
    assert_close(golden, "value.cbam_channel", encoder.fuser.attention.channel(mixed), MODULES)
    assert_close(golden, "value.cbam", encoder.fuser.attention(mixed), MODULES)
    assert_close(golden, "value.v16", encoder(frame, masks, f16), MODULES)
    assert_close(golden, "value.single", encoder(frame, masks[:, :1], f16), MODULES)


def test_the_matching_equals_the_golden_one(golden: Golden, setup: Setup) -> None:
    query, memory = query_and_memory(golden, setup)
    scores = similarities(query, memory)
    assert_close(golden, "match.similarity", scores.T, MODULES)
    weights, found = affinity(query, memory, setup.top_k)
    values, order = found.scores.sort(dim=1, descending=True)
    assert_close(golden, "match.top_values", values.T, MODULES)
    theirs, own = golden["match.top_index"].reshape(setup.top_k, -1), found.positions.gather(1, order).T.numpy()
    border, clear = values[:, -1], 0
    for place in range(theirs.shape[1]):
        others = set(theirs[:, place].tolist()) ^ set(own[:, place].tolist())
        clear += not others
        for position in others:
            assert abs(scores[place, position] - border[place]) <= TIE, f"query {place}: position {position}"
    assert clear >= 0.99 * theirs.shape[1]
    assert_close(golden, "match.affinity", weights.T, MODULES)


def test_progressive_and_plain_readouts_equal_the_golden_ones(golden: Golden, setup: Setup) -> None:
    progressive, plain = (setup.picture(values[0]).transpose(1, 2) for values in (setup.progressive, setup.plain))
    assert_close(golden, "pmm.readout", progressive, MODULES)
    assert_close(golden, "nopmm.readout", plain, MODULES)
    last = golden.meta["arrays"]["nopmm.difference_last2"]["shape"][2]
    scale = golden.meta["arrays"]["nopmm.readout"]["absmax"] / golden.meta["arrays"]["nopmm.difference_last2"]["absmax"]
    assert_close(golden, "nopmm.difference_last2", (progressive - plain)[:, :, -last:], MODULES * scale)
    assert (progressive - plain)[:, :, :-last].abs().max() == 0


def test_the_memory_is_read_in_blocks_of_any_size(network: PCVOS, setup: Setup) -> None:
    memory = setup.memory(network, progressive=True)
    small = replace(memory, policy=replace(memory.policy, block_bytes=1 << 10))
    keys = setup.features.keys
    for frame in range(1, 4):
        values = memory.bank.stored("values")[0] * (1 + frame)
        memory, small = memory.write(keys[:, frame], values), small.write(keys[:, frame], values)
    ours, theirs = memory.read(setup.clip.keys), small.read(setup.clip.keys)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def grid(values: Tensor, setup: Setup) -> Tensor:
    """(..., P, C) -> (..., h, w, C)."""
    return values.unflatten(-2, setup.grid)


def test_the_refinement_equals_the_golden_one(network: PCVOS, golden: Golden, setup: Setup) -> None:
    refinement, local = network.refinement, setup.clip.local
    assert isinstance(refinement, Refinement) and local is not None
    values, keys = setup.progressive[:, :1].flatten(2, 3), local.flatten(1, 3)
    volume = (local.shape[1], *setup.grid)
    assert_close(golden, "icr.norm1_key_block0", refinement.blocks[0].norm1(keys), MODULES)
    for number, block in enumerate(refinement.blocks):
        windows = block.windows(volume, keys.device)
        weights = block.attn.weights(block.norm1(keys), windows)
        attended = block.attn.apply_weights(weights, block.norm1_v(values), windows)
        assert_close(golden, f"icr.attn_windows_block{number}", attended, MODULES)
        values = block.feed_forward(block.attend(weights, values, windows))
        assert_close(golden, f"icr.block{number}", values, MODULES)
    refined = refinement(grid(setup.progressive[:, :1], setup), local)
    assert_close(golden, "icr.out", refined.permute(0, 1, 5, 2, 3, 4), MODULES)


def test_small_maps_are_refined_with_the_quirk_of_shrunk_windows(network: PCVOS, golden: Golden, setup: Setup) -> None:
    names = golden.names("small.icr_")
    assert names and network.refinement is not None and setup.clip.local is not None
    for name in names:
        _, _, frames, height, width = golden.meta["arrays"][name]["shape"]
        local = setup.clip.local[:, :frames, :height, :width]
        values = grid(setup.progressive[:, :1], setup)[:, :, :frames, :height, :width]
        refined = network.refinement(values.contiguous(), local.contiguous())
        assert_close(golden, name, refined.permute(0, 1, 5, 2, 3, 4), MODULES)


def test_the_decoder_equals_the_golden_one(network: PCVOS, golden: Golden, setup: Setup) -> None:
    stages: dict[str, list[Tensor]] = defaultdict(list)
    decoder = network.decoder
    handles = [decoder.up_16_8.register_forward_pre_hook(lambda _, inputs: stages["compress"].append(inputs[0]))]
    for name, module in {"up8": decoder.up_16_8, "up4": decoder.up_8_4.out_conv}.items():
        handles.append(module.register_forward_hook(lambda _, __, out, name=name: stages[name].append(out.clone())))
    readout = setup.picture(setup.progressive[:, :1]).transpose(1, 2)
    logits = network.decode(readout, setup.clip)
    for handle in handles:
        handle.remove()
    for name, maps in stages.items():
        assert_close(golden, f"dec.{name}", torch.cat(maps), MODULES)
    assert_close(golden, "dec.pred", decoder.pred(F.relu(torch.cat(stages["up4"]))), MODULES)
    assert_close(golden, "dec.logits", logits, MODULES)


def test_clips_of_any_length_have_the_golden_probabilities(network: PCVOS, golden: Golden, setup: Setup) -> None:
    found = 0
    for name in golden.names("clip"):
        clip = re.fullmatch(r"clip(\d+)\.prob", name)
        if clip is None:
            continue
        length, objects = int(clip[1]), golden.meta["arrays"][name]["shape"][0]
        features = setup.features.frames(1, 1 + length)
        readout = setup.picture(setup.progressive[:, :objects, :length]).transpose(1, 2)
        if f"clip{length}.icr_out" in golden:
            assert features.local is not None and network.refinement is not None
            refined = network.refinement(grid(setup.progressive[:, :1, :length], setup), features.local)
            assert_close(golden, f"clip{length}.icr_out", refined.permute(0, 1, 5, 2, 3, 4), MODULES)
        logits = network.decode(readout, features)
        assert_close(golden, name, logits.sigmoid().transpose(1, 2), MODULES)
        if f"clip{length}.aggregated" in golden:
            merged = network.merging.merge(logits[0])
            assert_close(golden, f"clip{length}.aggregated", merged.transpose(0, 1), MODULES)
        found += 1
    assert found


def test_given_masks_are_aggregated_as_the_golden_ones(network: PCVOS, golden: Golden, setup: Setup) -> None:
    masks = setup.masks[0, 0]
    assert_close(golden, "aggregate.binary", aggregate(masks).softmax(dim=0), MODULES)
    nothing = F.pad(torch.ones(1, *masks.shape[-2:]), (0, 0, 0, 0, 0, len(masks)))
    assert_close(golden, "aggregate.binary", network.merging.overlay(nothing, masks, setup.objects), MODULES)
    np.testing.assert_array_equal(aggregate(masks).argmax(dim=0), golden["labels"][0])
