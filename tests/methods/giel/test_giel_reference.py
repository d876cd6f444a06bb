"""GIEL equals its equations: every stage against einsums in float64, one query frame and the recurrent loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers.giel_reference import forward
from tests.helpers.giel_tools import BOTH, batch, boxes, network, pictures, segment, soft_masks, support
from vos_zoo.methods.giel.decoder import CoarseHead

SIZE = (56, 90)
RELATIVE = 1e-9


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to nine digits of the largest value."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0
    assert (ours - theirs).abs().max() <= RELATIVE * theirs.abs().max()


@pytest.mark.parametrize("version", BOTH, ids=["full", "fast"])
@torch.no_grad()
def test_every_stage_equals_the_einsums(version: dict[str, bool]) -> None:
    net = network(backbone="resnet18", **version)
    frames, given = pictures(4, SIZE), boxes(1, 3, SIZE)[0]
    predicted, saliency = soft_masks(2, 3, SIZE), soft_masks(2, 1, SIZE, seed=7)[:, 0]
    masks = torch.cat([given.sum(dim=0)[None], saliency])
    everyone = torch.cat([given[None], predicted])
    labels = torch.cat([1 - everyone.sum(dim=1, keepdim=True), everyone], dim=1)
    fast = not version["refine_decoder"]
    theirs = forward(dict(net.state_dict()), frames[:3], masks, labels, frames[3], fast=fast)

    memory = support(net, frames[:3], given, predicted, saliency)
    features = net.encode(frames[3][None, None])
    assert features.key is not None and features.value is not None and net.temporal_attention is not None
    for name, tensor in (("r2", features.f4), ("r3", features.f8), ("r4", features.f16)):
        close(tensor[0], theirs[name])
    close(features.key[0, 0], theirs["key_q"])
    close(features.value[0, 0], theirs["value_q"])
    keys = torch.stack([frame.shared["key"] for frame in memory.frames], dim=1)
    close(keys[0], theirs["key_s"])
    close(torch.cat([frame.shared["value"] for frame in memory.frames]), theirs["value_s"])
    close(torch.cat([frame.owned["value"] for frame in memory.frames]).transpose(0, 1), theirs["values"])
    close(net.temporal_attention(keys, features.key[:, 0])[0].exp(), theirs["weight"])
    affinity = net._affinity(list(keys.unbind(1)), features.key[:, 0], 0)
    close(affinity[0].T, theirs["a"].flatten(0, 2).flatten(1))
    readout = net.read(memory, features)
    assert readout.saliency is not None
    close(readout.objects[0], theirs["read"])
    close(readout.saliency[0, 0], theirs["global_logit"])
    close(net._object_maps(readout, features)[0], theirs["local"])
    assert isinstance(net.instance_decoder, CoarseHead) == fast
    ours = segment(net, memory, frames[3])
    close(ours.probabilities[0], theirs["p"])
    close(net.merging.log_odds(ours.logits)[0], theirs["odds"])
    close(ours.merged[0], theirs["merged"])


@torch.no_grad()
def test_the_recurrent_loss_equals_the_einsums_step_by_step() -> None:
    net, clip = network(backbone="resnet18"), batch(objects=2)
    frames, masks = clip.frames[0], clip.masks[0]
    state = dict(net.state_dict())
    seen, labels = [masks[0].sum(dim=0)], [torch.cat([1 - masks[0].sum(dim=0, keepdim=True), masks[0]])]
    total = 0.0
    for t in (1, 2, 3):
        step = forward(state, frames[:t], torch.stack(seen), torch.stack(labels), frames[t])
        truth = torch.cat([1 - masks[t].sum(dim=0, keepdim=True), masks[t]])
        union, g = masks[t].sum(dim=0), step["global_logit"]
        entropy = -(union * torch.log(torch.sigmoid(g)) + (1 - union) * torch.log(torch.sigmoid(-g))).mean()
        total += (entropy - (truth * torch.log(step["merged"])).sum(dim=0).mean()).item() / 3
        seen.append(torch.sigmoid(g))
        labels.append(step["merged"])
    unrolled = net.training_forward(clip)
    ours = sum(term.item() for term in net.losses(unrolled, clip).values())
    assert math.isclose(ours, total, rel_tol=RELATIVE)


@torch.no_grad()
def test_a_late_object_equals_the_einsums_with_zero_codes_before_it() -> None:
    net, frames = network(backbone="resnet18"), pictures(4, SIZE)
    masks = boxes(4, 2, SIZE)
    predicted, saliency = soft_masks(1, 1, SIZE)[0], soft_masks(2, 1, SIZE, seed=7)[:, 0]
    memory = support(net, frames[:2], masks[0, :1], predicted[None], saliency[:1])
    features = replace(net.encode(frames[2][None, None]), saliency=saliency[1][None, None, None])
    late = torch.stack([predicted[0] * (1 - masks[2, 1]), masks[2, 1]])
    memory = net.initialise(memory, features, late[None, None], [1])
    ours = segment(net, memory, frames[3])

    nothing = torch.zeros_like(masks[0, 0])
    everyone = torch.stack([torch.stack([masks[0, 0], nothing]), torch.stack([predicted[0], nothing]), late])
    labels = torch.cat([1 - everyone.sum(dim=1, keepdim=True), everyone], dim=1)
    seen = torch.stack([masks[0, 0], saliency[0], torch.maximum(saliency[1], masks[2, 1])])
    theirs = forward(dict(net.state_dict()), frames[:3], seen, labels, frames[3], introduced=[0, 2])
    close(ours.objects[0], theirs["read"])
    close(ours.merged[0], theirs["merged"])
