"""What must hold of GIEL's affinity and support: distributions, weights of frames, order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.giel_clips import QUERY, VERSIONS, equal, history
from tests.helpers.giel_tools import boxes, network, pictures, segment, soft_masks, support
from vos_zoo.methods.giel.affinity import affinity

# -- the affinity ----------------------------------------------------------------------------------------------------


def keys(frames: int = 3, clips: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(clips, frames + 1, 16, 4, 6, generator=generator, dtype=torch.float64)
    return drawn[:, :frames], drawn[:, frames]


def shares(attention: Tensor, frames: int) -> Tensor:
    """What every query position takes from every frame, ``(B, hw, T)``."""
    return attention.unflatten(-1, (frames, -1)).sum(dim=-1)


@torch.no_grad()
def test_columns_of_the_affinity_are_distributions() -> None:
    net, (support_keys, query) = network(), keys()
    assert net.temporal_attention is not None
    for weights in (None, net.temporal_attention(support_keys, query)):
        a = affinity(support_keys, query, weights)
        assert a.shape == (2, 24, 72)
        assert a.min() >= 0
        equal(a.sum(dim=-1), torch.ones(2, 24, dtype=torch.float64))


@torch.no_grad()
def test_the_frames_weights_are_positive_sum_to_one_and_differ() -> None:
    net, (support_keys, query) = network(), keys()
    assert net.temporal_attention is not None
    weights = net.temporal_attention(support_keys, query).exp()
    assert weights.min() > 0
    assert weights.std(dim=1).min() > 1e-3
    equal(weights.sum(dim=1), torch.ones(2, dtype=torch.float64))


@torch.no_grad()
def test_one_frame_has_weight_one_and_equals_the_model_without_attention() -> None:
    net, (support_keys, query) = network(), keys(1)
    assert net.temporal_attention is not None
    assert (net.temporal_attention(support_keys, query) == 0).all()
    memory = history(net, frames=1)
    with_attention = segment(net, memory, QUERY).merged
    net.temporal_attention = None
    assert torch.equal(segment(net, memory, QUERY).merged, with_attention)


@torch.no_grad()
def test_equal_weights_are_no_weights_and_a_weight_multiplies_its_block() -> None:
    support_keys, query = keys()
    plain = affinity(support_keys, query)
    equal(affinity(support_keys, query, torch.full((2, 3), -np.log(3), dtype=torch.float64)), plain)
    log_weights = torch.tensor([[0.1, -1.0, 0.4], [2.0, 0.0, -3.0]], dtype=torch.float64).log_softmax(dim=1)
    blocks = plain * log_weights.exp().repeat_interleave(24, dim=1)[:, None]
    equal(affinity(support_keys, query, log_weights), blocks / blocks.sum(dim=-1, keepdim=True))


@torch.no_grad()
def test_a_higher_score_of_a_frame_raises_its_share_for_every_query_position() -> None:
    net, (support_keys, query) = network(), keys()
    assert net.temporal_attention is not None
    scores = net.temporal_attention.scores(support_keys, query)
    before = shares(affinity(support_keys, query, scores.log_softmax(dim=1)), 3)
    for frame in range(3):
        raised = scores.clone()
        raised[:, frame] += 0.5
        after = shares(affinity(support_keys, query, raised.log_softmax(dim=1)), 3)
        assert (after[..., frame] > before[..., frame]).all()
        others = [t for t in range(3) if t != frame]
        assert (after[..., others] < before[..., others]).all()


@VERSIONS
@torch.no_grad()
def test_the_order_of_the_support_behind_the_first_frame_does_not_matter(version: dict) -> None:
    net = network(**version)
    memory = history(net)
    a, b, c = memory.frames  # type: ignore[attr-defined]
    swapped = replace(memory, frames=(a, c, b))  # type: ignore[type-var]
    equal(segment(net, swapped, QUERY).merged, segment(net, memory, QUERY).merged)


@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_the_whole_support_twice_is_the_same_support(attention: bool) -> None:
    net = network(temporal_attention=attention)
    memory = history(net)
    twice = replace(memory, frames=memory.frames * 2)  # type: ignore[type-var, attr-defined]
    equal(segment(net, twice, QUERY).merged, segment(net, memory, QUERY).merged)


class Ones(nn.Module):
    """A label encoder that says one everywhere."""

    def forward(self, labels: Tensor) -> Tensor:
        return labels.new_ones(len(labels), 24, labels.shape[-2] // 16, labels.shape[-1] // 16)


@torch.no_grad()
def test_with_a_constant_label_encoder_every_object_reads_the_global_embedding() -> None:
    net = network()
    net.label_encoder = Ones()  # type: ignore[assignment]
    memory, seen = history(net), []
    decoder = net.global_decoder
    assert decoder is not None
    decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objects = segment(net, memory, QUERY).objects
    assert seen[0].std() > 0
    equal(objects, seen[0][:, None].expand_as(objects))


@torch.no_grad()
def test_the_global_map_does_not_know_the_objects_apart() -> None:
    net, given, predicted = network(), boxes(1, 3)[0], soft_masks(2, 3)
    saliency = soft_masks(2, 1, seed=5)[:, 0]
    merge = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    apart = segment(net, support(net, pictures(3), given, predicted, saliency), QUERY)
    joined = [torch.einsum("mk,...khw->...mhw", merge, masks) for masks in (given, predicted)]
    merged = segment(net, support(net, pictures(3), *joined, saliency), QUERY)
    assert apart.saliency is not None and merged.saliency is not None and apart.saliency.std() > 0.01
    equal(apart.saliency, merged.saliency)
    assert (apart.merged[:, 3] - merged.merged[:, 2]).abs().max() > 1e-3
