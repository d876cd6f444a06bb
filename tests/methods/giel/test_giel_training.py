"""How GIEL trains: its losses, the recurrence over a clip, which parameters and statistics move, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.helpers.giel_tools import BOTH, SMALL, batch, boxes, network, pictures, segment, soft_masks, support
from vos_zoo.engine.merge import aggregate
from vos_zoo.losses import class_map
from vos_zoo.methods.giel.affinity import TemporalAttention, affinity
from vos_zoo.methods.giel.encoders import Trunk
from vos_zoo.methods.giel.losses import IGNORED, global_loss, instance_loss
from vos_zoo.methods.giel.target_model import Giel
from vos_zoo.types import Batch, UsageError, VOSError

VERSIONS = pytest.mark.parametrize("version", BOTH, ids=["full", "fast"])


def total(net: Giel, clip: Batch) -> Tensor:
    return torch.stack(list(net.losses(net.training_forward(clip), clip).values())).sum()


# -- losses ----------------------------------------------------------------------------------------------------------


def test_losses_have_their_closed_values() -> None:
    labels = torch.randint(0, 2, (1, 2, 8, 9))
    assert global_loss(torch.zeros(1, 2, 8, 9), labels).item() == pytest.approx(math.log(2))
    half = aggregate(torch.full((1, 2, 1, 8, 9), 0.5))
    assert instance_loss(half, labels).item() == pytest.approx(math.log(2))
    sure = torch.where(labels > 0, 40.0, -40.0)
    assert global_loss(sure, labels) < 1e-5
    assert instance_loss(aggregate(sure[:, :, None].sigmoid()), labels) < 1e-5


def test_ignored_pixels_count_in_no_loss() -> None:
    labels = torch.zeros(1, 1, 6, 6, dtype=torch.long)
    labels[..., :3] = 1
    logits = torch.randn(1, 1, 6, 6)
    ignored = labels.clone()
    ignored[..., :2, :] = IGNORED
    other = logits.clone()
    other[..., :2, :] += 5
    assert global_loss(logits, ignored) == global_loss(other, ignored)
    assert global_loss(logits, ignored) == pytest.approx(global_loss(logits[..., 2:, :], labels[..., 2:, :]).item())
    odds, spoiled = (aggregate(x[:, :, None].sigmoid()) for x in (logits, other))
    assert instance_loss(odds, ignored) == instance_loss(spoiled, ignored)
    assert instance_loss(odds, ignored) == pytest.approx(instance_loss(odds[..., 2:, :], labels[..., 2:, :]).item())
    assert global_loss(logits, labels) != global_loss(other, labels)


def test_a_map_of_classes_takes_the_object_above_a_half() -> None:
    masks = torch.tensor([[0.2, 0.6, 0.0], [0.4, 0.55, 1.0]]).view(2, 1, 3)
    assert class_map(masks).tolist() == [[0, 1, 2]]


@VERSIONS
@torch.no_grad()
def test_the_weight_of_the_objects_loss_scales_that_term_alone(version: dict) -> None:
    clip = batch()
    terms = [n.losses(n.training_forward(clip), clip) for n in (network(**version, lambda_instance=w) for w in (1, 3))]
    assert terms[1]["global"] == terms[0]["global"]
    assert terms[1]["instances"].item() == pytest.approx(3 * terms[0]["instances"].item())


# -- the recurrence --------------------------------------------------------------------------------------------------


@VERSIONS
@torch.no_grad()
def test_every_step_of_a_clip_equals_a_single_call_on_the_same_support(version: dict) -> None:
    net, clip = network(**version), batch()
    unrolled = net.training_forward(clip)
    frames, given = clip.frames[0], clip.masks[0, 0]
    merged = net.merging.merge_training(unrolled.logits)[0]
    saliency = unrolled.extras["saliency"][0].sigmoid()
    for t in (1, 2, 3):
        alone = segment(net, support(net, frames[:t], given, merged, saliency), frames[t])
        torch.testing.assert_close(alone.logits[0], unrolled.logits[0, t - 1], atol=1e-10, rtol=1e-10)
        assert alone.saliency is not None
        torch.testing.assert_close(alone.saliency[0, 0], unrolled.extras["saliency"][0, t - 1], atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_changed_prediction_changes_the_next_frame() -> None:
    net, frames, given = network(), pictures(3), boxes(1, 2)[0]
    merged, saliency = soft_masks(1, 2), soft_masks(1, 1, seed=5)[:, 0]
    before = segment(net, support(net, frames[:2], given, merged, saliency), frames[2]).merged
    for labels, union in ((merged * 0.9, saliency), (merged, saliency * 0.9)):
        after = segment(net, support(net, frames[:2], given, labels, union), frames[2]).merged
        assert (after - before).abs().max() > 1e-4


@torch.no_grad()
def test_one_shot_training_is_one_call_with_the_true_masks_of_all_other_frames() -> None:
    net, clip = network(train_mode="one_shot"), batch()
    unrolled = net.training_forward(clip)
    assert unrolled.logits.shape[1] == unrolled.truth.shape[1] == 1
    assert torch.equal(unrolled.truth[:, 0], clip.masks[:, 3])
    frames, masks = clip.frames[0], clip.masks[0]
    alone = segment(net, support(net, frames[:3], masks[0], masks[1:3]), frames[3])
    torch.testing.assert_close(alone.logits, unrolled.logits[:, 0], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("detached", [False, True])
def test_detaching_the_support_stops_the_gradient_between_steps(detached: bool) -> None:
    net, clip = network(detach_support=detached), batch()
    unrolled = net.training_forward(clip)
    maps, saliency = unrolled.logits, unrolled.extras["saliency"]
    last = net.losses(
        replace(unrolled, logits=maps[:, 1:2], truth=unrolled.truth[:, 1:2], extras={
            "saliency": saliency[:, 1:2], "valid": unrolled.extras["valid"],
        }),
        clip,
    )  # fmt: skip
    seen = {name: p for name, p in net.named_parameters() if name == "global_decoder.pred.weight"}
    assert seen
    step_two = torch.autograd.grad(sum(last.values()), list(seen.values()), retain_graph=True)[0]
    # With the first step's masks as constants the gradient is what the second step alone gives.
    frames, given = clip.frames[0], clip.masks[0, 0]
    merged = net.merging.merge_training(maps)[0].detach()
    memory = support(net, frames[:2], given, merged, saliency[0].sigmoid().detach())
    alone = segment(net, memory, frames[2])
    assert alone.saliency is not None
    labels = class_map(clip.masks[:, 2:3])
    odds = net.merging.log_odds(alone.logits[:, None])
    own = torch.autograd.grad(global_loss(alone.saliency, labels) + instance_loss(odds, labels), list(seen.values()))[0]
    same = torch.allclose(step_two, own, atol=1e-10, rtol=1e-8)
    assert same is detached


@pytest.mark.parametrize("detached", [False, True])
def test_both_masks_of_a_prediction_carry_a_gradient_unless_they_are_detached(detached: bool) -> None:
    net, frames = network(detach_support=detached), pictures(2)
    memory, features = support(net, frames[:1], boxes(1, 2)[0]), net.encode(frames[1][None, None])
    readout = net.read(memory, features)
    kept = net.clips.retain(features, readout, net.decode(readout, features))
    assert kept.saliency is not None
    assert kept.saliency.requires_grad is not detached
    assert net.merging.merge_training(net.decode(readout, features).logits).requires_grad is not detached


# -- gradients and statistics ----------------------------------------------------------------------------------------


def clip_of_changing_statistics() -> Batch:
    """Frames that differ in brightness and contrast, two objects."""
    clip = batch(objects=2)
    scale = torch.tensor([1.0, 0.6, 0.8, 0.4], dtype=torch.float64)[None, :, None, None, None]
    return replace(clip, frames=clip.frames * scale + 255 * (1 - scale) * 0.3)


def silent(net: Giel) -> set[str]:
    """Parameters that the loss of a clip does not reach."""
    net.train()
    if net.temporal_attention is not None:
        with torch.no_grad():
            net.temporal_attention.fc3.weight.mul_(50 / 3)
    total(net, clip_of_changing_statistics()).backward()
    return {n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() <= 1e-12}


@VERSIONS
def test_the_loss_of_a_clip_reaches_every_parameter(version: dict) -> None:
    assert silent(network(**version)) == set()


def test_without_temporal_attention_the_support_keys_bias_alone_is_cancelled() -> None:
    assert silent(network(temporal_attention=False)) == {"support_head.key.bias"}


def test_a_piecewise_linear_attention_starves_its_common_inputs_where_support_keys_are_alike() -> None:
    reached = {}
    for act in ("gelu", "relu"):
        torch.manual_seed(0)
        attention = TemporalAttention(16, act=act).double()
        torch.manual_seed(1)
        base = torch.randn(1, 1, 16, 4, 6, dtype=torch.float64)
        keys = base + 1e-3 * torch.randn(1, 3, 16, 4, 6, dtype=torch.float64)
        query = torch.randn(1, 16, 4, 6, dtype=torch.float64)
        a = affinity(keys, query, attention(keys, query))
        (a * torch.randn(a.shape, dtype=torch.float64)).sum().backward()
        assert attention.query.weight.grad is not None
        reached[act] = attention.query.weight.grad.abs().max().item()
    assert reached["relu"] < 1e-4 * reached["gelu"]


def test_a_single_support_frame_sends_no_gradient_to_the_attention() -> None:
    net = network().train()
    total(net, batch(frames=2)).backward()
    assert net.temporal_attention is not None
    assert all(p.grad is None or (p.grad == 0).all() for p in net.temporal_attention.parameters())


def test_trunk_statistics_stay_and_label_statistics_move() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.named_buffers() if "running" in name}
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    total(net, batch()).backward()
    optimiser.step()
    moved = {name for name, value in net.named_buffers() if "running" in name and not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("label_encoder.")}
    assert len(moved) == 4
    norms = [m for m in net.query_encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert all(norm.weight.grad is not None for norm in norms)


def test_the_trunks_norms_can_be_trained_whole_or_not_at_all() -> None:
    free = network(bn_statistics="batch").train()
    before = free.query_encoder.body.state_dict()["bn1.running_mean"].clone()
    total(free, batch())
    assert not torch.equal(free.query_encoder.body.state_dict()["bn1.running_mean"], before)
    fixed = network(bn_affine_trainable=False)
    norms = [m for m in fixed.query_encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(list(norm.parameters()) for norm in norms)
    assert fixed.state_dict().keys() == network().state_dict().keys()


# -- first weights ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A ResNet-50 with random weights and statistics, and the file of its state dict."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


@torch.no_grad()
def test_a_trunk_takes_215_entries_of_a_resnet50_and_equals_it(resnet50: tuple[nn.Module, Path]) -> None:
    model, path = resnet50
    trunk = Trunk("resnet50", str(path), "default")
    theirs = model.state_dict()
    entries = {n.removeprefix("body."): v for n, v in trunk.state_dict().items() if "num_batches" not in n}
    assert len(entries) == 215
    equal = [name for name, value in entries.items() if value.shape == theirs[name].shape]
    assert all(torch.equal(entries[name], theirs[name]) for name in equal)
    assert set(entries) - set(equal) == {"conv1.weight"}
    assert torch.equal(entries["conv1.weight"][:, :3], theirs["conv1.weight"])
    bound = entries["conv1.weight"][:, 3].abs().max()
    assert 0.9 / 7 < bound <= 1 / 7
    rgb = Trunk("resnet50", str(path))
    picture = 255 * torch.rand(1, 3, 64, 64)
    x: Any = model
    y = x.maxpool(x.relu(x.bn1(x.conv1(rgb.normalise(picture)))))
    torch.testing.assert_close(rgb(picture)[2], x.layer3(x.layer2(x.layer1(y))), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trunk(picture, torch.zeros(1, 1, 64, 64))[2], rgb(picture)[2], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_weights_of_a_mask_rcnn_compute_what_they_did_without_an_epsilon(
    resnet50: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    model, _ = resnet50
    path = tmp_path / "detector.pth"
    torch.save({f"backbone.body.{n}": v for n, v in model.state_dict().items() if "num_b" not in n}, path)
    trunk = Trunk("resnet50", str(path))
    norm: Any = trunk.body.bn1
    x = torch.randn(1, 64, 4, 4)
    theirs: Any = model
    bn = theirs.bn1
    expected = (x - bn.running_mean[:, None, None]) / bn.running_var.sqrt()[:, None, None]
    expected = expected * bn.weight[:, None, None] + bn.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("init", "bound"), [("zeros", (0, 0)), ("orthogonal", (0.01, 1.0)), ("default", (0.1, 1 / 7))])
def test_the_masks_filters_start_as_asked(init: str, bound: tuple[float, float]) -> None:
    kernel = Trunk("resnet18", mask_init=init).state_dict()["body.conv1.weight"][:, 3]
    assert bound[0] <= kernel.abs().max() <= bound[1]


def test_first_weights_that_are_not_there_are_refused_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(VOSError, match=r"model\.init=maskrcnn_coco: .*maskrcnn_resnet50_fpn_coco.* cannot be fetched"):
        Giel(init="maskrcnn_coco")
    with pytest.raises(UsageError, match=r"model\.init: 'nowhere\.pth' is neither a file nor one of none, maskrcnn"):
        Giel(init="nowhere.pth")
    with pytest.raises(UsageError, match=r"model\.init=maskrcnn_coco"):
        Giel(backbone="resnet18", init="maskrcnn_coco")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"other\.pth' lacks 'bn1\.weight', which 'resnet18' needs"):
        Giel(**{**SMALL, "backbone": "resnet18", "init": str(tmp_path / "other.pth")})


# -- it learns -------------------------------------------------------------------------------------------------------


@VERSIONS
def test_it_learns_a_clip_of_two_moving_objects_and_tells_them_apart(version: dict) -> None:
    clip = batch(objects=2)
    clip = replace(clip, frames=(clip.frames * 0.4 + 120 * clip.masks[:, :, :1]).float(), masks=clip.masks.float())
    torch.manual_seed(0)
    net = Giel(**{**SMALL, "bn_statistics": "batch", **version}).train()
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        total(net, clip).backward()
        optimiser.step()
    net.eval()
    swapped = replace(clip, masks=clip.masks.flip(2))
    with torch.no_grad():
        for video in (clip, swapped):
            predicted = net.merging.merge_training(net.training_forward(video).logits) > 0.5
            truth = video.masks[:, 1:] > 0.5
            overlap = (predicted & truth).sum(dim=(-1, -2)) / (predicted | truth).sum(dim=(-1, -2))
            assert overlap.mean(dim=(0, 1)).min() > 0.9
