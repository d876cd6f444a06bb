"""JOINT's own promises: its clock, its norm's gradients, what the encoder computes when, and what objects share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.naive_joint import NaiveTarget
from vos_zoo.methods.joint import transformer_target
from vos_zoo.methods.joint.settings import JointTrackSettings
from vos_zoo.methods.joint.target_model import Joint, JointSchedule
from vos_zoo.methods.joint.transformer import JointTransformer
from vos_zoo.methods.joint.transformer_target import JointFeatures, TransformerMemory, TransformerTarget
from vos_zoo.nn.attention import bounded_attention, fused_attention
from vos_zoo.nn.norms import token_instance_norm
from vos_zoo.types import UsageError

CHANNELS, WIDTH, GRID = 12, 6, (3, 4)


@pytest.fixture
def branch() -> TransformerTarget:
    torch.manual_seed(0)
    return TransformerTarget(JointTransformer(5, CHANNELS, WIDTH).eval())


def features_of(branch: TransformerTarget, window: list[int], seed: int) -> JointFeatures:
    """Random canvases, one per distinct number in `window`."""
    generator = torch.Generator().manual_seed(seed)
    f16 = torch.randn(max(window) + 1, 1, 5, *GRID, generator=generator)
    seen = {name: value[:, None] for name, value in branch.project_features(f16[:, 0]).items()}
    return JointFeatures(f16, f16, f16, f16, f16, torch.tensor(window), **seen)


def sample_of(branch: TransformerTarget, window: list[int], seed: int) -> dict[str, Tensor]:
    values = torch.rand(len(window), 3, *GRID, generator=torch.Generator().manual_seed(seed))
    return {**branch.sample(features_of(branch, window, seed)), "values": values}


def long_story(branch: TransformerTarget, writes: int, incremental: bool, shared: bool) -> TransformerMemory:
    """Two objects, a third one later, evictions, an object that starts anew, one that goes."""
    window = [0, 0, 0] if shared else [0, 1, 2]
    memory = branch.new_memory(JointTrackSettings(capacity=4, incremental=incremental))
    memory = branch.initialise(memory, sample_of(branch, [0, 1], 0), [0, 1])
    for step in range(1, writes):
        if step == 3:
            memory = branch.initialise(memory, sample_of(branch, [0], 100), [2])
        if step == 9:
            memory = branch.initialise(memory, sample_of(branch, [0], 101), [1])
        if step == 14:
            memory = memory.drop([0])
        alive = len(memory.samples)
        rows = [alive - 1] if step % 4 == 0 else list(range(alive))
        memory = branch.update(memory, sample_of(branch, [window[row] for row in rows], step), rows)
    return memory


@pytest.mark.parametrize("shared", [True, False], ids=["coinciding windows", "windows apart"])
@pytest.mark.parametrize("writes", [2, 8, 12, 150])
@torch.no_grad()
def test_an_incremental_memory_equals_a_re_encoded_one_and_a_naive_one(
    branch: TransformerTarget, writes: int, shared: bool
) -> None:
    grown = long_story(branch, writes, incremental=True, shared=shared)
    anew = long_story(branch, writes, incremental=False, shared=shared)
    query = features_of(branch, list(range(len(grown.samples))), seed=999)
    torch.testing.assert_close(branch.read(grown, query), branch.read(anew, query), atol=2e-5, rtol=1e-4)
    naive = NaiveTarget(branch.transformer).read(anew, query)
    torch.testing.assert_close(branch.read(anew, query), naive, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_objects_with_the_same_window_share_the_attention_between_their_templates(
    branch: TransformerTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[Any] = []
    weights = transformer_target.bounded_weights
    monkeypatch.setattr(transformer_target, "bounded_weights", lambda *a: (blocks.append(1), weights(*a))[1])
    counts = {}
    for shared in (True, False):
        memory = branch.new_memory(JointTrackSettings(capacity=8))
        memory = branch.initialise(memory, sample_of(branch, [0, 1, 2], 0), [0, 1, 2])
        for step in range(1, 6):
            blocks.clear()
            memory = branch.update(memory, sample_of(branch, [0, 0, 0] if shared else [0, 1, 2], step), None)
        counts[shared] = len(blocks)
    others = 5
    assert counts[False] == 3 * others, "a template's attention to itself came with it"
    assert counts[True] == (others - 1) + 3, "only the blocks with the first templates are each object's own"


@torch.no_grad()
def test_reading_encodes_nothing_of_the_memory(branch: TransformerTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = long_story(branch, 6, incremental=True, shared=True)
    before = {name: buffer.clone() for name, buffer in memory.samples.buffers.items()}
    monkeypatch.setattr(branch, "_weights", None)
    monkeypatch.setattr(branch.transformer, "template_keys", None)
    branch.read(memory, features_of(branch, [0, 0, 0], 7))
    for name, buffer in memory.samples.buffers.items():
        assert torch.equal(buffer, before[name])


def test_every_nth_frame_of_an_object_stores_the_one_before_it_but_never_the_given_one() -> None:
    clock = {
        every: [n for n in range(1, 17) if JointSchedule().is_due(n - 1, JointTrackSettings(write_every=every))]
        for every in (1, 3, 5)
    }
    assert clock == {1: list(range(2, 17)), 3: [2, 5, 8, 11, 14], 5: [4, 9, 14]}


def test_the_presets_are_the_two_published_intervals() -> None:
    assert [Joint.presets[name]["write_every"] for name in ("davis", "youtube_vos")] == [3, 5]


@pytest.mark.parametrize("sequences", [1, 2])
def test_gradients_of_the_token_norm_are_right_for_gradients_in_token_order(sequences: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(sequences, 24, 8, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(24, sequences, 8, dtype=torch.float64).transpose(0, 1)
    (found,) = torch.autograd.grad(token_instance_norm(x), x, upstream)
    centred = x.detach() - x.detach().mean(1, keepdim=True)
    deviation = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    normed = centred / deviation
    along = (upstream * normed).mean(1, keepdim=True)
    expected = (upstream - upstream.mean(1, keepdim=True) - normed * along) / deviation
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("channels", [8, 32, 5], ids=["as wide as keys", "four heads", "narrow"])
def test_block_attention_equals_fused_attention_and_the_softmax(channels: int) -> None:
    torch.manual_seed(0)
    queries, keys = (torch.nn.functional.normalize(torch.randn(n, 8), dim=-1) for n in (7, 1100))
    values = torch.randn(1100, channels)
    expected = (30 * queries @ keys.T).softmax(1) @ values
    fused = fused_attention(queries[None], keys[None], values[None], 30.0)[0]
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
    blocks = [
        (keys[part], torch.cat([values[part].T, torch.ones(1, len(keys[part]))]))
        for part in (slice(0, 300), slice(300, 1100))
    ]
    torch.testing.assert_close(bounded_attention(queries, blocks, 30.0).T, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"induction": False, "transduction": False}, "at least one branch"),
        ({"two_heads": False, "losses": {"lovasz": 1.0, "cosine": 1.0}}, "one mask encoding"),
    ],
)
def test_networks_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Joint(backbone="resnet18", feature_channels=8, key_channels=4, label_widths=(2, 2, 2), decoder_width=4, **wrong)
    with pytest.raises(UsageError, match="write_every"):
        JointTrackSettings(write_every=0)
