"""The switches of GIEL: sizes, arithmetic, Table 1's rows, every open choice, and what cannot be combined."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.contract_settings import moving_squares
from tests.helpers.giel_tools import SMALL, batch, boxes, network, pictures, segment, soft_masks, support
from vos_zoo.create import create_model
from vos_zoo.methods.giel.encoders import KeyValueHead, start_alike
from vos_zoo.methods.giel.memory import GielMemory
from vos_zoo.methods.giel.settings import GielTrackSettings
from vos_zoo.methods.giel.target_model import Giel
from vos_zoo.tensors import constant
from vos_zoo.types import UsageError


@pytest.mark.parametrize(
    ("switches", "millions"),
    [
        ({}, 39.40),
        ({"refine_decoder": False}, 29.63),
        ({"share_kv": True}, 38.75),
        ({"share_kv": True, "refine_decoder": False}, 28.98),
        ({"temporal_attention": False}, 39.40 - 0.107),
        ({"share_decoder": True}, 39.40 - 10.033),
    ],
)
def test_the_number_of_parameters_is_the_papers(switches: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in Giel(**switches).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


def multiplications(objects: int, **switches: Any) -> float:
    """GMAC of one frame at 480 x 864 with five support frames: segment it, and write it."""
    settings = GielTrackSettings(short_edge=None, group_size=objects)
    constant.cache_clear()  # a constant that was made without the mode would be mixed with what it makes
    with FakeTensorMode(), torch.no_grad():
        net = Giel(**switches).eval()
        frame, masks = torch.zeros(1, 1, 3, 480, 864), torch.zeros(1, objects, 480, 864)
        memory = GielMemory(settings, starts=(0,) * objects, valid=torch.ones(1, objects, dtype=torch.bool))
        for _ in range(5):
            memory = net._write(memory, net.encode(frame), masks)
        with FlopCounterMode(display=False) as counter:
            features = net.encode(frame)
            net.decode(net.read(memory, features), features)
            net._write(memory, features, masks)
    constant.cache_clear()
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("refine", "ratio", "slack"), [(True, 1.92, 0.05), (False, 1.24, 0.03)])
def test_six_objects_cost_little_more_arithmetic_than_one(refine: bool, ratio: float, slack: float) -> None:
    one, six = (multiplications(n, refine_decoder=refine) for n in (1, 6))
    assert six / one == pytest.approx(ratio, abs=slack)
    assert one == pytest.approx(284 if refine else 179, rel=0.03)


ROWS: dict[str, dict[str, Any]] = {
    "reference": {},
    "no instance embedding": {"instance_embedding": False},
    "no instance embedding, labels propagated": {
        "instance_embedding": False,
        "no_instance_mode": "label_propagation",
    },
    "no global embedding": {"global_embedding": False},
    "no temporal attention": {"temporal_attention": False},
    "no refine decoder": {"refine_decoder": False},
}
SWITCHES: dict[str, dict[str, Any]] = {
    "fusion": {"fusion": "instance_only"},
    "share_kv": {"share_kv": True},
    "kv_kernel": {"kv_kernel": 3},
    "alike keys": {"key_gain": 0.2, "kv_kernel": 3},
    "share_decoder": {"share_decoder": True},
    "affinity_scale": {"affinity_scale": "none"},
    "attention on logits": {"attention_apply": "logits"},
    "attention on the readout": {"attention_apply": "readout"},
    "sigmoid attention": {"attention_norm": "sigmoid"},
    "normalised sigmoid attention": {"attention_norm": "sigmoid_l1", "attention_act": "relu"},
    "label kernels": {"label_kernels": [3, 3], "label_strides": [8, 2]},
    "label activation": {"label_out_act": "relu"},
    "one coarse layer": {"refine_decoder": False, "coarse_hidden": 0},
    "coarse softmax": {"refine_decoder": False, "coarse_act": "softmax"},
    "coarse activation first": {"refine_decoder": False, "coarse_act": "sigmoid_first"},
    "global background": {"aggregate_background": "global"},
    "union as the objects' mask": {"support_mask": "union"},
    "hard objects' mask": {"support_mask_hard": True},
    "hard labels": {"support_label_hard": True},
}


def train_and_track(switches: dict[str, Any]) -> Tensor:
    """One training step, then a video of seven frames whose third object is late; its last probabilities."""
    model = create_model("giel", track={"short_edge": None}, **{**SMALL, **switches})
    model.network.load_state_dict(network(**switches).float().state_dict())
    net, clip = model.network, batch(objects=2, slots=3)
    clip.frames, clip.masks = clip.frames.float(), clip.masks.float()
    net.train()
    unrolled = net.training_forward(clip)
    terms = net.losses(unrolled, clip)
    loss = torch.stack(list(terms.values())).sum()
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    torch.optim.Adam(net.parameters(), 1e-5).step()
    video = moving_squares(7, objects=3)
    prompts = {0: video.only(1, 2), 4: video.only(3, frame=4)}
    results = list(model.track(video.frames, prompts))
    assert [result.ids for result in results] == [(1, 2)] * 4 + [(1, 2, 3)] * 3
    for result in results:
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(64, 96), atol=1e-4, rtol=0)
    return results[-1].probabilities


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return train_and_track({})


@pytest.mark.parametrize("name", [*ROWS, *SWITCHES])
def test_a_switch_trains_tracks_and_changes_the_result(name: str, reference: Tensor) -> None:
    result = train_and_track({**ROWS, **SWITCHES}[name])
    assert result.std() > 0
    assert (result - reference).abs().max() > 1e-4 or name == "reference"


@pytest.mark.parametrize(
    ("instances", "global_embedding", "attention", "refine"),
    list(itertools.product(["embedding", "per_object", "label_propagation"], *[[True, False]] * 3)),
)
def test_the_rows_of_table_1_can_be_combined(
    instances: str, global_embedding: bool, attention: bool, refine: bool
) -> None:
    mode = {} if instances == "embedding" else {"instance_embedding": False, "no_instance_mode": instances}
    net = network(global_embedding=global_embedding, temporal_attention=attention, refine_decoder=refine, **mode)
    clip = batch(objects=2, slots=3)
    terms = net.train().losses(net.training_forward(clip), clip)
    assert set(terms) == ({"instances", "global"} if global_embedding else {"instances"})
    torch.stack(list(terms.values())).sum().backward()
    silent = {n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    # A constant added to all support keys is cancelled by the softmax, unless the attention sees it.
    assert silent <= set() if attention else {"support_head.key.bias"}


@torch.no_grad()
def test_each_object_has_its_own_keys_where_the_global_branch_runs_per_object() -> None:
    net = network(instance_embedding=False)
    given = boxes(1, 2)[0]
    memory = support(net, pictures(2), given, soft_masks(1, 2))
    both = segment(net, memory, pictures(1, seed=9)[0])
    for k in range(2):
        alone = support(net, pictures(2), given[[k]], soft_masks(1, 2)[:, [k]])
        own = segment(net, alone, pictures(1, seed=9)[0])
        torch.testing.assert_close(both.logits[:, k], own.logits[:, 0], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"fusion": "sum"}, "model.fusion is 'sum'"),
        ({"no_instance_mode": "none"}, "model.no_instance_mode is 'none'"),
        ({"aggregate_background": "global", "global_embedding": False}, "there is no global map"),
        ({"coarse_act": "softmax"}, "belongs to the fast version"),
        ({"kv_kernel": 2}, "model.kv_kernel is 2"),
        ({"label_strides": [4, 2]}, "model.label_strides is"),
        ({"label_kernels": [4, 4]}, "model.label_kernels is"),
        ({"attention_act": "tanh"}, "model.attention_act is 'tanh'"),
        ({"attention_hidden": [8]}, "model.attention_hidden is"),
        ({"mask_channel_init": "ones"}, "model.mask_channel_init is 'ones'"),
        ({"train_mode": "twice"}, "model.train_mode is 'twice'"),
    ],
)
def test_switches_that_mean_nothing_are_refused_by_name(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Giel(**{**SMALL, **switches})


# -- running ---------------------------------------------------------------------------------------------------------


def tracked(video: Any, **track: Any) -> list[Tensor]:
    model = create_model("giel", track={"short_edge": None, **track}, **SMALL)
    model.network.load_state_dict(network().float().state_dict())
    return [r.probabilities for r in model.eval().track(video.frames, {0: video.labels[0]})]


@pytest.mark.parametrize("mode", ["first", "previous"])
def test_the_support_can_be_one_frame_and_then_the_others_do_not_matter(mode: str) -> None:
    video = moving_squares(7)
    full, one = tracked(video), tracked(video, support_mode=mode)
    assert (full[-1] - one[-1]).abs().max() > 1e-4
    if mode == "first":
        other = moving_squares(7)
        other.frames[3:6] = 255 - other.frames[3:6]
        assert torch.equal(tracked(other, support_mode=mode)[-1], one[-1])
        assert not torch.equal(tracked(other)[-1], full[-1])


@pytest.mark.parametrize("size", [2, 3, 6])
def test_the_size_of_the_support_matters_once_the_video_is_longer(size: int) -> None:
    video = moving_squares(9)
    default, other = tracked(video), tracked(video, support_size=size)
    shorter = min(size, 5)
    assert all(torch.equal(a, b) for a, b in zip(default[: shorter + 1], other[: shorter + 1], strict=True))
    assert (default[-1] - other[-1]).abs().max() > 1e-5


def test_averaging_with_the_mirrored_video_is_symmetric() -> None:
    video, mirror = moving_squares(5), moving_squares(5)
    mirror.frames[:], mirror.labels[:] = video.frames[:, :, ::-1].copy(), video.labels[:, :, ::-1].copy()
    both, mirrored = tracked(video, flip=True), tracked(mirror, flip=True)
    plain = tracked(video)
    for a, b in zip(both, mirrored, strict=True):
        torch.testing.assert_close(a, b.flip(-1), atol=1e-4, rtol=1e-3)
    assert (both[-1] - plain[-1]).abs().max() > 1e-3


def test_the_last_frame_is_never_encoded_as_support_and_every_other_one_once() -> None:
    model, video, encoded = create_model("giel", track={"short_edge": None}, **SMALL).eval(), moving_squares(6), []
    net: Any = model.network
    net.support_encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    list(model.track(video.frames, {0: video.only(1), 3: video.only(2, frame=3)}))
    assert encoded == [1] * 5


def test_an_object_whose_mask_vanished_stays_an_empty_slot() -> None:
    video = moving_squares(4)
    labels = np.where(video.labels[0] == 2, 0, video.labels[0]).astype(np.uint8)
    labels[1, 1] = 2  # lost where the frame is made smaller
    model = create_model("giel", track={"short_edge": 32}, **SMALL).eval()
    results = list(model.track(video.frames, {0: labels}))
    alone = list(model.track(video.frames, {0: video.only(1)}))
    assert results[-1].probabilities[2].max() < 1e-6
    torch.testing.assert_close(results[-1].probabilities[:2], alone[-1].probabilities, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", [1, 3])
def test_alike_keys_start_as_the_inner_products_of_the_features(kernel: int) -> None:
    heads = [KeyValueHead(64, 64, 8, kernel), KeyValueHead(64, 64, 8, kernel)]
    start_alike(heads, 0.5)
    support, query = torch.randn(2, 1, 64, 3, 4, generator=torch.Generator().manual_seed(0))
    keys = [head(features)[0] for head, features in zip(heads, (support, query), strict=True)]
    torch.testing.assert_close((keys[0] * keys[1]).sum(1), 0.25 * (support * query).sum(1))


def test_only_the_keys_start_alike() -> None:
    net = Giel(**{**SMALL, "key_gain": 0.2})
    support, query = net.support_head, net.query_head
    assert query is not None and support.value is not None and query.value is not None
    assert torch.equal(support.key.weight, query.key.weight)
    assert not torch.equal(support.value.weight, query.value.weight)
    with pytest.raises(UsageError, match=r"model\.key_gain is 0"):
        Giel(**{**SMALL, "key_gain": 0.0})
