"""PCVOS's own: savings against the naive form, clips of which some frames are wanted, losses, clock, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import BY_METHOD, build, build_lively, moving_squares, training_batch
from tests.helpers.naive_pcvos import dense_read, naive_copy, refine
from vos_zoo.create import convert_checkpoint
from vos_zoo.methods.pcvos.checkpoint import PREFIXES
from vos_zoo.methods.pcvos.clips import Reach, plan_frames, refined_runs, seen_from
from vos_zoo.methods.pcvos.losses import Bootstrap, bootstrapped_cross_entropy, clip_dice
from vos_zoo.methods.pcvos.matching import largest, match
from vos_zoo.methods.pcvos.parts import PCVOSMerge, PCVOSSchedule
from vos_zoo.methods.pcvos.refinement import Refinement
from vos_zoo.methods.pcvos.target_model import PCVOS
from vos_zoo.model import VOSModel
from vos_zoo.tasks.fit import start_from
from vos_zoo.types import UsageError

SIZE = (71, 99)


@pytest.fixture(scope="module")
def model() -> VOSModel:
    """A small network whose masks have structure."""
    return build_lively("pcvos")


def network_of(model: VOSModel) -> PCVOS:
    assert isinstance(model.network, PCVOS)
    return model.network


def run(model: VOSModel, frames: int = 13, **settings: Any) -> dict[int, Tensor]:
    """Frame number -> probabilities; two objects start in frame 0, a third in frame 4."""
    video = moving_squares(frames, SIZE, objects=3)
    prompts = {0: video.only(1, 2), 4: video.only(3, frame=4)}
    return {result.index: result.probabilities for result in model.track(video.frames, prompts, **settings)}


# -- savings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"clip_length": 1}, {"clip_length": 7, "segment": 2}, {"clip_length": 4}])
def test_the_fast_form_equals_the_naive_one(model: VOSModel, settings: dict[str, Any]) -> None:
    naive = build("pcvos").eval()
    naive.network = naive_copy(network_of(model), **BY_METHOD["pcvos"].model)
    ours, theirs = (run(one, memory_every=2, **settings) for one in (model, naive))
    assert ours.keys() == theirs.keys()
    structured = 0
    for t, own in ours.items():
        assert (own - theirs[t]).abs().max() <= 2e-5, f"frame {t}"
        structured += int(own[1:].std() > 0.1)
    assert structured > 6


@pytest.mark.parametrize("volume", [(1, 4, 5), (3, 9, 8), (5, 3, 15)])
@pytest.mark.parametrize("window", [(2, 7, 7), (3, 4, 4), (1, 7, 7)])
def test_shared_attention_weights_and_fused_projections_are_exact(
    volume: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    refinement = Refinement(6, 8, window, depth=3).double()
    for parameter in refinement.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    local, values = torch.randn(2, *volume, 6).double(), torch.randn(2, 3, *volume, 8).double()
    found = refinement(values, local)
    for b in range(2):
        for k in range(3):
            assert (found[b, k] - refine(refinement, values[b, k], local[b])).abs().max() <= 1e-12


@pytest.mark.parametrize("length", [5, 20, 21, 320, 999, 5000])
def test_the_largest_scores_are_found_group_by_group(length: int) -> None:
    scores = torch.from_numpy(np.random.default_rng(length).permutation(7 * length).reshape(7, length)).float()
    values, index = largest(scores, 20)
    expected = scores.topk(min(20, length), dim=1).values
    assert torch.equal(values.sort(dim=1, descending=True).values, expected)
    assert torch.equal(scores.gather(1, index), values)


def test_matching_gathers_what_a_dense_affinity_would_read() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.randn(9, 4), torch.randn(333, 4), torch.randn(333, 5)
    found = match(query, keys, torch.arange(333), 20)
    own = (found.scores.softmax(dim=1)[..., None] * values[found.positions]).sum(dim=1)
    assert (own - dense_read(query, keys, values, 20)).abs().max() <= 1e-5


def test_half_precision_gives_nearly_the_same_masks(model: VOSModel) -> None:
    full, half = (run(model, frames=8, clip_length=3, precision=precision) for precision in ("float32", "bf16"))
    for t, own in half.items():
        assert own.dtype == torch.float32
        assert (own - full[t]).abs().mean() <= 0.01, f"frame {t}"


# -- clips of which some frames are wanted ---------------------------------------------------------------------------


def test_what_a_refined_frame_depends_on_is_what_its_gradient_reaches() -> None:
    torch.manual_seed(0)
    for window, depth, length in [((2, 3, 3), 2, 5), ((2, 3, 3), 2, 8), ((2, 3, 3), 2, 2), ((3, 2, 2), 3, 10)]:
        refinement = Refinement(3, 4, window, depth).double()
        local = torch.randn(1, length, 4, 4, 3).double()
        values = torch.randn(1, 1, length, 4, 4, 4).double().requires_grad_()
        refined = refinement(values, local)
        for frame in range(length):
            (gradient,) = torch.autograd.grad(refined[0, 0, frame].square().sum(), values, retain_graph=True)
            reached = gradient[0, 0].abs().amax(dim=(1, 2, 3)) > 1e-30
            assert seen_from(frame, length, refinement.reach) == set(reached.nonzero()[:, 0].tolist()), frame


@pytest.mark.parametrize(("length", "encoded"), [(5, (2, 3, 4)), (10, (4, 6, 7, 8, 9)), (15, (4, 9, 12, 13, 14))])
def test_for_the_last_frame_of_a_clip_three_or_four_frames_and_the_segments_ends_do(
    length: int, encoded: tuple[int, ...]
) -> None:
    reach = Reach(2, (0, 1))
    assert plan_frames(length, [length - 1], reach, 5) == encoded
    assert plan_frames(length, [length - 1], None, None) == (length - 1,)
    assert plan_frames(length, [], reach, 5) == ()
    assert plan_frames(length, range(length), reach, 5) == tuple(range(length))


@pytest.mark.parametrize("needed", [[0], [3], [4], [8], [2, 9], [5, 6], [0, 10]])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 11])
def test_a_stretch_refined_by_itself_is_exactly_what_the_whole_clip_gives(length: int, needed: Sequence[int]) -> None:
    needed = [frame for frame in needed if frame < length] or [length - 1]
    torch.manual_seed(0)
    refinement = Refinement(4, 8, (2, 3, 3))
    local, values = torch.randn(1, length, 5, 4, 4), torch.randn(1, 2, length, 5, 4, 8)
    with torch.no_grad():
        whole = refinement(values, local)
        for start, stop in refined_runs(length, needed, refinement.reach):
            inside = [frame for frame in needed if start <= frame < stop]
            run = slice(start, stop)
            part = refinement(values[:, :, run], local[:, run], [frame - start for frame in inside])
            assert (part - whole[:, :, inside]).abs().max() <= 1e-6


@pytest.mark.parametrize(("length", "wanted"), [(5, range(4, 40, 5)), (10, range(4, 40, 5)), (7, [3, 9, 12]), (9, [])])
def test_frames_that_nobody_wants_are_left_out_and_the_others_stay_the_same(
    model: VOSModel, monkeypatch: pytest.MonkeyPatch, length: int, wanted: Sequence[int]
) -> None:
    settings: dict[str, Any] = {"clip_length": length, "segment": 3, "frames": 23}
    everything, seen = run(model, **settings), []
    encode = model.network.encode

    def counted(frames: Tensor) -> Any:
        seen.append(frames.shape[1])
        return encode(frames)

    monkeypatch.setattr(model.network, "encode", counted)
    some = run(model, output_frames=wanted, **settings)
    assert list(some) == [t for t in range(23) if t in wanted]
    for t, own in some.items():
        assert (own - everything[t]).abs().max() <= 1e-4, f"frame {t}"
    assert sum(seen) < 20


# -- the clock and the memory ----------------------------------------------------------------------------------------


def test_a_frame_is_remembered_at_least_an_interval_after_the_last_one(model: VOSModel) -> None:
    network = network_of(model)
    settings = network.track_settings(clip_length=5)
    assert network.schedule.frames_to_write([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], False, settings) == [4]
    assert network.schedule.frames_to_write([6, 7, 8], [1, 2, 3], True, settings) == []
    assert network.schedule.frames_to_write([2, 4, 5, 7, 8], [2, 4, 5, 7, 8], False, settings) == [2]
    often = network.track_settings(clip_length=5, memory_every=2)
    assert network.schedule.frames_to_write([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], False, often) == [1, 3]
    assert network.schedule.frames_to_write([1, 2], [1, 2], False, None) == [1]
    assert PCVOSSchedule(train_memory="all").frames_to_write([1, 2], [1, 2], False, None) == [0, 1]


def test_a_bounded_memory_keeps_the_first_frame_of_every_object(model: VOSModel) -> None:
    video = moving_squares(30, (64, 80), objects=2)
    engine = model.propagator(clip_length=2, capacity=4)
    for t, frame in enumerate(video.frames):
        engine.push(frame, {0: video.only(1), 5: video.only(2, frame=5)}.get(t))
    bank = engine._groups[0].memory.bank
    assert len(bank) == 4 and sum(bank.pinned) == 2
    assert {bank.starts[0], bank.starts[1]} == {bank.numbers[p] for p in range(4) if bank.pinned[p]}


def test_a_given_mask_wins_and_older_objects_leave_it(model: VOSModel) -> None:
    network = network_of(model)
    before = torch.full((4, 6, 8), 0.2)
    before[1] = 0.6
    before[3] = 0
    masks = torch.zeros(1, 6, 8)
    masks[0, :3] = 1
    after = network.merging.overlay(before, masks, [2])
    assert (after[3, :3] > 1 - 1e-5).all() and (after[1:3, :3] < 1e-5).all() and (after[3, 3:] < 1e-5).all()
    assert (after[1, 3:] > 0.6).all(), "outside the mask older objects are merged a second time, and sharpened"
    assert torch.allclose(after.sum(dim=0), torch.ones(6, 8))


def test_memory_is_written_by_frame_numbers_where_frames_are_skipped(model: VOSModel) -> None:
    video, required = moving_squares(12, SIZE), [0, 2, 4, 5, 7, 8, 9, 11]
    engine = model.propagator(clip_length=5)
    for t, frame in enumerate(video.frames):
        if t in required:
            engine.push(frame, video.only(1) if t == 0 else None)
        else:
            engine.skip()
    engine.flush()
    (group,) = engine._groups
    engine._write(group)
    assert len(group.memory.bank) == 3  # frames 0, 5 and 11


# -- training --------------------------------------------------------------------------------------------------------


def test_ever_fewer_and_harder_pixels_count() -> None:
    bootstrap = Bootstrap(20_000, 70_000, 0.15)
    assert [bootstrap.at(step) for step in (0, 20_000, 45_000, 70_000, 10**6)] == [
        1,
        1,
        pytest.approx(0.575),
        0.15,
        0.15,
    ]
    odds = torch.zeros(1, 1, 2, 2, 5)
    odds[:, :, 1, 0, 0] = 4.0
    truth = torch.zeros(1, 1, 2, 5, dtype=torch.int64)
    hardest = bootstrapped_cross_entropy(odds, truth, 0.15)
    assert hardest.item() == pytest.approx(float(torch.logaddexp(torch.tensor(0.0), torch.tensor(4.0))))
    assert bootstrapped_cross_entropy(odds, truth, 1.0) < hardest


def test_dice_counts_present_objects_over_the_whole_clip() -> None:
    truth = torch.zeros(1, 2, 2, 3, 3)
    truth[:, :, 0, 1:] = 1
    valid = torch.tensor([[True, False]])
    assert clip_dice(truth, truth, valid).item() == pytest.approx(0, abs=1e-6)
    assert clip_dice(torch.ones_like(truth), truth, valid).item() == pytest.approx(1 - 25 / 31)
    assert clip_dice(1 - truth, truth, ~valid).item() == pytest.approx(1 - 1 / 19)


def test_an_empty_slot_changes_nothing() -> None:
    network = network_of(build("pcvos"))
    batch = training_batch("pcvos", queries=4)
    batch.valid[:, 1] = False
    batch.masks[:, :, 1] = 0
    both = network.losses(network.training_forward(batch), batch)
    batch.frames, batch.boxes = batch.frames, batch.boxes[:, :, :1]
    batch.masks, batch.valid = batch.masks[:, :, :1], batch.valid[:, :1]
    alone = network.losses(network.training_forward(batch), batch)
    assert both.keys() == alone.keys() == {"cross_entropy", "dice"}
    for name, value in both.items():
        assert value.item() == pytest.approx(alone[name].item(), rel=1e-5), name


def test_gradients_reach_the_first_clip_through_its_predicted_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    network, merge = network_of(build("pcvos")), PCVOSMerge.merge_training
    batch = training_batch("pcvos", queries=4)
    logits = network.training_forward(batch).logits
    first = {name: p for name, p in network.named_parameters() if name.startswith("value_encoder.conv1.weight")}
    whole = torch.autograd.grad(logits[:, 2:].square().sum(), list(first.values()), retain_graph=True)
    monkeypatch.setattr(PCVOSMerge, "merge_training", lambda *a: merge(*a).detach())
    cut = torch.autograd.grad(network.training_forward(batch).logits[:, 2:].square().sum(), list(first.values()))
    assert not torch.allclose(whole[0], cut[0], rtol=1e-3)


def test_weights_of_one_object_gain_an_orthogonal_channel_for_the_others(tmp_path: Any) -> None:
    single, several = build("pcvos", others=False, refinement=False), build("pcvos", seed=1)
    single.save_pretrained(tmp_path)
    start_from(several, str(tmp_path), [""])
    theirs, ours = (network_of(m).value_encoder.conv1.weight for m in (single, several))
    assert torch.equal(ours[:, :4], theirs)
    filters = ours[:, 4].flatten(1)
    products = filters @ filters.T if len(filters) <= 49 else filters.T @ filters
    assert torch.allclose(products, torch.eye(len(products)), atol=1e-5)
    with torch.no_grad():
        ours[:, 4] = 0
    options: dict[str, Any] = {"refinement": False}
    zeroed = build("pcvos", **options).eval()
    kept = {n: t for n, t in several.network.state_dict().items() if n in zeroed.network.state_dict()}
    zeroed.network.load_state_dict(kept)
    found = [run(m, frames=6, clip_length=2) for m in (zeroed, single.eval())]
    for t, own in found[0].items():
        assert (own - found[1][t]).abs().max() <= 1e-5, "without the filters it is the network of one object"


# -- settings and files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_length": 0}, r"'track.clip_length' is 0, expected at least 1"),
        ({"segment": 0}, r"'track.segment' is 0, expected at least 1"),
        ({"capacity": 1}, r"'track.capacity' is 1, expected at least 2"),
        ({"clip_lenght": 3}, "did you mean 'track.clip_length'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model: VOSModel, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.track_settings(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_memory": "none"}, "choose last or all"),
        ({"window": [2, 7]}, "frames, rows and columns"),
        ({"losses": {"lovazs": 1.0}}, "lovazs"),
        ({"losses": {}}, "is empty"),
        ({"train_clip": 0}, "train_clip is 0"),
    ],
)
def test_hyper_parameters_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("pcvos", **options)


def authors_state(network: PCVOS) -> dict[str, Tensor]:
    """Our weights under the authors' names."""
    state = {}
    for ours, tensor in network.state_dict().items():
        start = next(prefix for prefix in PREFIXES if ours.startswith(prefix))
        state[PREFIXES[start] + ours.removeprefix(start)] = tensor
    for number in range(len(network.refinement.blocks) if network.refinement else 0):
        state[f"refine_transformer.layers.0.blocks.{number}.attn.relative_position_index"] = torch.zeros(98, 98)
    return state


SMALL = {**BY_METHOD["pcvos"].model, "backbone": "resnet18"}


@pytest.mark.parametrize("options", [{}, {"refinement": False}, {"refinement": False, "others": False}])
def test_a_file_says_by_its_entries_what_is_to_be_built(options: dict[str, Any]) -> None:
    network = network_of(build("pcvos", **{"backbone": "resnet18", **options}))
    read = network_of(convert_checkpoint(authors_state(network), method="pcvos", **SMALL))
    assert (read.refinement is None) == ("refinement" in options)
    for name, tensor in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("entry", "shape", "message"),
    [
        ("key_encoder.res2.0.conv1.weight", None, "lacks the entry 'key_encoder.res2.0.conv1.weight'"),
        ("refine_transformer.layers.0.blocks.1.mlp.fc2.bias", None, "lacks the entry 'refine_transformer.layers.0"),
        ("decoder.more", (3,), "unknown entry 'decoder.more'"),
        ("classifier.weight", (3,), "unknown entry 'classifier.weight'"),
        ("key_comp.bias", (3,), "has shape"),
        ("refine_transformer.layers.0.blocks.0.attn.relative_position_index", (98, 49), "expected a square"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(entry: str, shape: tuple[int, ...] | None, message: str) -> None:
    state = authors_state(network_of(build("pcvos", backbone="resnet18")))
    if shape is None:
        del state[entry]
    else:
        state[entry] = torch.zeros(shape)
    with pytest.raises(UsageError, match=message):
        convert_checkpoint(state, method="pcvos", **SMALL)
