"""What must hold of GIEL's objects whatever its weights: symmetries, empty slots, maps, late objects."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.giel_clips import QUERY, VERSIONS, equal, history
from tests.helpers.giel_tools import batch, boxes, network, pictures, segment, soft_masks, support
from vos_zoo.engine.merge import aggregate
from vos_zoo.methods.giel.encoders import crop_margins, margins
from vos_zoo.methods.giel.labels import label_channels, pad_labels
from vos_zoo.methods.giel.settings import GielTrackSettings
from vos_zoo.methods.giel.target_model import Giel
from vos_zoo.types import Batch

# -- objects ---------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_permuting_the_objects_permutes_their_maps_and_leaves_the_global_one(version: dict, training: bool) -> None:
    clip, order = batch(objects=3, clips=2), [2, 0, 1]
    swapped = replace(clip, masks=clip.masks[:, :, order])
    ours, theirs = (network(**version).train(training).training_forward(c) for c in (clip, swapped))
    assert ours.logits.std(dim=2).mean() > 0.01, "the objects' maps are all alike"
    equal(ours.logits[:, :, order], theirs.logits)
    equal(ours.extras["saliency"], theirs.extras["saliency"])


def step(net: Giel, clip: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, loss, and gradients and running statistics after a step."""
    unrolled = net.training_forward(clip)
    loss = torch.stack(list(net.losses(unrolled, clip).values())).sum()
    loss.backward()
    after = {f"{name}.grad": p.grad for name, p in net.named_parameters() if p.grad is not None}
    after |= {name: value for name, value in net.named_buffers() if value.is_floating_point()}
    return unrolled.logits.detach(), loss.detach(), after


@VERSIONS
@pytest.mark.parametrize("training", [False, True])
def test_empty_slots_change_nothing(version: dict, training: bool) -> None:
    clips = []
    for slots in (3, 6):
        clip = batch(objects=3, clips=2, slots=slots)
        clip.masks[1, :, 2], clip.valid[1, 2] = 0, False  # the second clip has two objects
        clips.append(clip)
    nets = [network(**version).train(training) for _ in clips]
    (logits, loss, after), (more, same, later) = (step(net, clip) for net, clip in zip(nets, clips, strict=True))
    equal(more[:, :, :3], logits)
    assert (more[:, :, 3:] == -100).all()
    equal(loss, same)
    assert after.keys() == later.keys()
    for name, value in after.items():
        torch.testing.assert_close(value, later[name], atol=1e-10, rtol=1e-8, msg=name)


def test_an_object_that_is_not_in_the_first_frame_of_a_clip_is_background() -> None:
    clip = batch(objects=3)
    clip.masks[:, 0, 2] = 0
    gone = replace(clip, masks=clip.masks[:, :, :2], valid=clip.valid[:, :2])
    net = network()
    equal(step(net, clip)[1], step(net, gone)[1])


@VERSIONS
@torch.no_grad()
def test_chunks_of_any_size_give_the_same_masks(version: dict) -> None:
    net = network(**version)
    whole = segment(net, history(net, 8, settings=GielTrackSettings(group_size=8, short_edge=None)), QUERY).merged
    for size in (1, 2, 6):
        chunked = history(net, 8, settings=GielTrackSettings(group_size=size, short_edge=None))
        equal(segment(net, chunked, QUERY).merged, whole)


@torch.no_grad()
def test_the_default_settings_decode_at_most_six_objects_together() -> None:
    net, rows = network(refine_decoder=False), []
    head = net.instance_decoder
    assert head is not None and GielTrackSettings().group_size == 6
    memory = history(net, 8, settings=GielTrackSettings(short_edge=None))
    head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    segment(net, memory, QUERY)
    assert rows == [6, 2]


@torch.no_grad()
def test_one_object_has_the_closed_form_of_soft_aggregation() -> None:
    net = network()
    result = segment(net, history(net, 1), QUERY)
    p = result.probabilities
    assert p.std() > 0.01
    equal(result.merged[:, 1:], p**2 / (p**2 + (1 - p) ** 2))
    equal(result.merged.sum(dim=1), torch.ones_like(p[:, 0]))


@VERSIONS
@torch.no_grad()
def test_a_batch_of_clips_equals_the_clips_alone(version: dict) -> None:
    net, clip = network(**version), batch(objects=2, clips=2)
    both = net.training_forward(clip).logits
    for b in range(2):
        alone = replace(clip, frames=clip.frames[[b]], masks=clip.masks[[b]], valid=clip.valid[[b]])
        equal(net.training_forward(alone).logits[0], both[b])


# -- maps ------------------------------------------------------------------------------------------------------------


class Muted(nn.Module):
    """A decoder whose logits are minus infinity in the left half."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.share = inner, inner.share

    def forward(self, *arguments: object) -> Tensor:
        logits = self.inner(*arguments)
        logits[..., : logits.shape[-1] // 2] = -torch.inf
        return logits


@VERSIONS
@torch.no_grad()
def test_where_the_global_map_is_zero_there_is_background_only(version: dict) -> None:
    net = network(**version)
    memory = history(net)
    assert net.global_decoder is not None
    net.global_decoder = Muted(net.global_decoder)  # type: ignore[assignment]
    result = segment(net, memory, QUERY)
    assert (result.probabilities[..., :48] == 0).all()
    assert (result.probabilities[..., 48:] > 0).all()
    assert result.merged[:, 1:, :, :48].max() <= 1e-13
    assert (result.merged.argmax(dim=1)[..., :48] == 0).all()
    assert torch.isfinite(result.merged).all()


def test_soft_aggregation_sums_to_one_keeps_the_order_and_survives_half_precision() -> None:
    p = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    merged = aggregate(p).softmax(dim=1)
    equal(merged.sum(dim=1), torch.ones(2, 4, 6, dtype=torch.float64))
    assert torch.equal(merged[:, 1:].argsort(dim=1), p.argsort(dim=1))
    halves = aggregate(torch.full((2, 1, 1), 0.5)).softmax(dim=0).flatten()
    torch.testing.assert_close(halves, torch.tensor([1, 3, 3]) / 7)
    net = network()
    sure = torch.tensor([0.0, 60.0, -60.0, 11.0], dtype=torch.float16).view(2, 2, 1)
    odds = net.merging.log_odds(sure)
    assert odds.dtype == torch.float32 and torch.isfinite(odds).all()


@VERSIONS
@torch.no_grad()
def test_shared_skip_paths_equal_those_repeated_for_every_object(version: dict) -> None:
    net = network(**version)
    head = net.instance_decoder
    assert head is not None
    features = net.encode(pictures(2)[:, None])
    assert features.value is not None
    value, r3, r2 = features.value[:, 0], features.f8[:, 0], features.f4[:, 0]
    read = torch.randn(6, *value.shape[1:], dtype=torch.float64)
    rows = torch.tensor([0, 0, 0, 0, 1, 1])
    repeated = head(read, head.share(value[rows], r3[rows], r2[rows]))
    equal(head(read, head.share(value, r3, r2), rows), repeated)
    alone = head(read[:4], head.share(value[:1], r3[:1], r2[:1]), rows[:4])
    equal(alone, repeated[:4])


@torch.no_grad()
def test_the_skip_paths_run_once_per_frame_whatever_the_number_of_objects() -> None:
    net = network()
    memory, calls = history(net, 8, settings=GielTrackSettings(short_edge=None, group_size=2)), []
    assert net.instance_decoder is not None
    net.instance_decoder.skip4.register_forward_pre_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    segment(net, memory, QUERY)
    assert len(calls) == 1


# -- labels and geometry ---------------------------------------------------------------------------------------------


def test_label_channels_sum_to_one_also_in_the_margin_and_to_zero_where_nothing_is_known() -> None:
    masks = soft_masks(2, 3, (50, 90))
    distribution = torch.cat([1 - masks.sum(dim=1, keepdim=True), masks], dim=1)
    distribution[:, :, 5, 7] = 0
    labels = pad_labels(label_channels(distribution))
    assert labels.shape == (2, 3, 3, 64, 96)
    known = torch.ones(64, 96, dtype=torch.float64)
    known[7 + 5, 3 + 7] = 0
    equal(labels.sum(dim=2), known.expand(2, 3, -1, -1))
    assert (labels[..., :7, :].unbind(2)[2] == 1).all()
    equal(labels[:, 0, 1, 7:57, 3:93], masks[:, 1] * known[7:57, 3:93] + masks[:, 2] * known[7:57, 3:93])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((384, 740), (6, 6, 0, 0)), ((480, 854), (5, 5, 0, 0)), ((480, 910), (1, 1, 0, 0)), ((33, 64), (0, 0, 7, 8))],
)
def test_padding_is_split_evenly_and_the_odd_pixel_goes_right_and_below(size: tuple, expected: tuple) -> None:
    assert margins(*size) == expected
    picture = torch.rand(2, *size)
    padded = nn.functional.pad(picture, margins(*size))
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
    assert torch.equal(crop_margins(padded, size), picture)


@pytest.mark.parametrize(("size", "cells"), [((384, 740), (24, 47)), ((480, 854), (30, 54))])
def test_the_published_sizes_have_the_published_feature_maps(size: tuple, cells: tuple) -> None:
    with torch.device("meta"):
        net = Giel()
        features = net.encode(torch.zeros(1, 1, 3, *size))
    assert features.key is not None and features.value is not None
    assert features.key.shape == (1, 1, 128, *cells)
    assert features.value.shape == (1, 1, 512, *cells)
    assert features.f16.shape[2] == 1024


@VERSIONS
@torch.no_grad()
def test_outputs_have_the_size_of_the_input_and_its_margin_changes_nothing_that_is_stored(version: dict) -> None:
    net, size = network(**version), (57, 90)
    frames, given = pictures(2, size), boxes(1, 2, size)[0]
    memory = support(net, frames[:1], given)
    result = segment(net, memory, frames[1])
    assert result.merged.shape == (1, 3, *size)
    # Padded by hand with the mean colour and with background: the same, pixel for pixel.
    mean = 255 * torch.tensor(net.query_encoder.normalise.mean, dtype=torch.float64)[:, None, None]
    pad = margins(*size)
    larger = nn.functional.pad(frames - mean, pad) + mean
    by_hand = segment(net, support(net, larger[:1], nn.functional.pad(given, pad)), larger[1])
    equal(crop_margins(by_hand.merged, size), result.merged)


# -- late objects ----------------------------------------------------------------------------------------------------


@VERSIONS
@torch.no_grad()
def test_a_late_object_has_nothing_in_older_frames_and_leaves_the_others_as_they_were(version: dict) -> None:
    net = network(**version)
    memory = history(net, 1)
    before = [frame.owned["value"].clone() for frame in memory.frames]  # type: ignore[attr-defined]
    frame, masks = pictures(1, seed=4)[0], boxes(1, 2)[0]
    features = replace(net.encode(frame[None, None]), saliency=soft_masks(1, 1, seed=6)[None])
    later = net.initialise(memory, features, masks[None, None], [1])
    assert later.starts == (0, 3)
    for old, own in zip(before, later.frames, strict=False):
        assert (own.owned["value"][:, 1] == 0).all()
        assert torch.equal(own.owned["value"][:, :1], old)
    # Its read comes from its own frames alone: what is held of older ones does not enter.
    spoiled = tuple(
        replace(f, owned={"value": f.owned["value"] + torch.tensor([1.0, 0.0])[None, :, None, None, None]})
        for f in later.frames[:3]
    )
    ours, theirs = segment(net, later, QUERY), segment(net, replace(later, frames=(*spoiled, later.frames[3])), QUERY)
    equal(ours.objects[:, 1], theirs.objects[:, 1])
    assert (ours.objects[:, 0] - theirs.objects[:, 0]).abs().max() > 1e-3


@torch.no_grad()
def test_the_support_sees_the_global_map_and_what_joins_as_one_mask() -> None:
    net, seen = network(), []
    net.support_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    memory = history(net, 1)
    masks, saliency = boxes(1, 2)[0], soft_masks(1, 1, seed=6)
    features = replace(net.encode(QUERY[None, None]), saliency=saliency[None])
    net.initialise(memory, features, masks[None, None], [1])  # type: ignore[arg-type]
    equal(seen[0], boxes(1, 1)[:1].sum(dim=1, keepdim=True))
    equal(seen[1][0], soft_masks(2, 1, seed=5)[0])
    equal(seen[3][0, 0], torch.maximum(saliency[0, 0], masks[1]))
