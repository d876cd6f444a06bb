"""Clips in the engine: wanted frames, skipped frames, writes by frame number, masks given over predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import build_lively, moving_squares, toy_installed
from tests.helpers.toy_model import ToyMemory, ToyModel
from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.merge import MergeRule, aggregate
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TrackSettings


class SinceWritten(WriteSchedule):
    """The frame `memory_every` frames after the last one written is written."""

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        last, chosen = 0, []
        for position, distance in enumerate(since):
            if distance - last >= self.memory_every:
                chosen.append(position)
                last = distance
        return chosen


class NeededFrames(ClipPlanner[Features, Tensor]):
    """Only the frames that are needed."""

    def plan(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        return ClipPlan(length, tuple(needed), tuple(needed))


class ClipToy(ToyModel):
    """Clips of five frames; a frame is written five frames after the last one; masks are overlaid."""

    schedule = SinceWritten(clip_length=5, memory_every=5, write_on_prompt=True)
    merging = MergeRule("overlaid")
    clips = NeededFrames()

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def encode(self, frames: Tensor) -> Features:
        self.calls.append(("encode", frames.shape[1]))
        return super().encode(frames)

    def initialise(self, memory: ToyMemory, features: Features, masks: Tensor, new: Sequence[int]) -> ToyMemory:
        self.calls.append(("initialise", tuple(new), masks))
        return super().initialise(memory, features, masks, new)

    def update(
        self, memory: ToyMemory, features: Features, masks: Tensor, rows: Sequence[int] | None = None
    ) -> ToyMemory:
        assert features.pixels.shape[1] == masks.shape[1]
        self.calls.append(("update", masks))
        return super().update(memory, features, masks, rows)

    def named(self, verb: str) -> list[Any]:
        return [call[1:] for call in self.calls if call[0] == verb]


def engine_of(model: ToyModel) -> Propagator:
    return Propagator(model, model.track_settings(None, short_edge=None))


def lively() -> ClipToy:
    with toy_installed():
        state = build_lively("toy").network.state_dict()
    model = ClipToy().eval()
    model.load_state_dict(state)
    return model


def drive(model: ToyModel, video: Any, prompts: dict[int, Any], wanted: Any = None) -> list[Any]:
    engine = engine_of(model)
    results = []
    for t, frame in enumerate(video.frames):
        results += engine.push(frame, prompts.get(t), wanted is None or t in wanted)
    return results + engine.flush()


def test_results_of_wanted_frames_alone_are_the_same_and_fewer_frames_are_encoded() -> None:
    video = moving_squares(13)
    full, few = lively(), lively()
    everything = drive(full, video, {0: video.labels[0]})
    chosen = drive(few, video, {0: video.labels[0]}, {5, 7, 12})
    assert [result.index for result in chosen] == [5, 7, 12]
    for result in chosen:  # up to the rounding of convolutions over fewer frames at once
        same = everything[result.index].probabilities
        torch.testing.assert_close(result.probabilities, same, atol=1e-5, rtol=0)
    assert sum(n for (n,) in full.named("encode")) == 13
    assert sum(n for (n,) in few.named("encode")) == 1 + 1 + 2 + 1, "frame 0, the due frames 5 and 10, and 7 and 12"


def test_a_clip_in_which_nothing_is_needed_costs_nothing() -> None:
    model, video = lively(), moving_squares(8)
    model.schedule = replace(model.schedule, memory_every=100)
    assert drive(model, video, {0: video.labels[0]}, {0}) != []
    assert model.named("encode") == [(1,)]


def test_skipped_frames_are_never_seen_but_time_counts() -> None:
    model, video = lively(), moving_squares(12)
    engine = engine_of(model)
    results = []
    for t, frame in enumerate(video.frames):
        if t in (0, 2, 4, 5, 7, 8, 9, 11):
            results += engine.push(frame, video.labels[0] if t == 0 else None)
        else:
            engine.skip()
    results += engine.flush()
    assert [result.index for result in results] == [0, 2, 4, 5, 7, 8, 9, 11]
    assert [n for (n,) in model.named("encode")] == [1, 5, 2], "clips are filled with frames that were seen"
    (first,) = model.named("update")
    torch.testing.assert_close(first[0][0], results[3].probabilities[None, 1:], msg="frame 5 is due, five after 0")


def test_track_takes_output_frames_also_under_their_former_name() -> None:
    with toy_installed():
        model = build_lively("toy")
    video = moving_squares(7)
    everything = list(model.track(video.frames, {0: video.labels[0]}))
    some = list(model.track(video.frames, {0: video.labels[0]}, output_frames=range(0, 7, 3)))
    assert [result.index for result in some] == [0, 3, 6]
    assert all(torch.equal(result.probabilities, everything[result.index].probabilities) for result in some)
    skipped = list(model.track(video.frames, {0: video.labels[0]}, output_frames=[0, 6], skip_others=True))
    assert [result.index for result in skipped] == [0, 6]
    with pytest.warns(FutureWarning, match="now output_frames and skip_others"):
        former = list(model.track(video.frames, {0: video.labels[0]}, wanted=[0, 6], unwanted="skip"))
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(former, skipped, strict=True))


def test_the_prediction_is_written_before_given_masks_are_put_over_it() -> None:
    model, video = lively(), moving_squares(12)
    late = video.only(2, frame=5)
    results = drive(model, video, {0: video.only(1), 5: late})
    alone = drive(lively(), video, {0: video.only(1)})
    (predicted,) = model.named("update")[0]
    torch.testing.assert_close(predicted[0], alone[5].probabilities[None, 1:])
    new, masks = model.named("initialise")[1]
    assert new == (1,)
    torch.testing.assert_close(masks[0], results[5].probabilities[None, 1:])
    given = torch.from_numpy(late == 2)
    assert results[5].probabilities[2][given].min() == 1
    assert results[5].probabilities[2][~given].max() == 0
    elsewhere = alone[5].probabilities[:, ~given]
    torch.testing.assert_close(results[5].probabilities[:2, ~given], elsewhere)


def test_features_of_a_frame_with_a_late_object_are_computed_once() -> None:
    model, video = lively(), moving_squares(8)
    drive(model, video, {0: video.only(1), 4: video.only(2, frame=4)})
    assert [n for (n,) in model.named("encode")] == [1, 4, 3]


def test_the_clock_of_writes_restarts_where_a_mask_is_given() -> None:
    model, video = lively(), moving_squares(14)
    drive(model, video, {0: video.only(1), 3: video.only(2, frame=3)})
    assert len(model.named("update")) == 1, "frame 8 is five after the prompt in 3; frame 13's write is never needed"


@dataclass(frozen=True)
class _Levels(Features):
    """Features with one more tensor per frame."""

    extra: Tensor | None = None


def test_picking_frames_keeps_every_tensor_and_forgets_the_plan() -> None:
    level = torch.arange(6.0).reshape(1, 6, 1, 1, 1)
    features = _Levels(level, level, level, level, level, None, ClipPlan.whole(6), extra=level)
    picked = features.pick([1, 4])
    assert picked.plan is None
    assert picked.extra is not None
    assert picked.extra.flatten().tolist() == [1.0, 4.0]
    assert features.pick(range(6)).pixels is level
    assert replace(picked, plan=ClipPlan.whole(2)).plan == ClipPlan(2, (0, 1), (0, 1))


def test_soft_aggregation_of_probabilities() -> None:
    halves = torch.full((2, 1, 1), 0.5)
    torch.testing.assert_close(aggregate(halves).softmax(0).flatten(), torch.tensor([1 / 7, 3 / 7, 3 / 7]))
    p = torch.rand(1, 4, 5)
    torch.testing.assert_close(aggregate(p).softmax(0)[1], (p**2 / (p**2 + (1 - p) ** 2))[0])
    valid = torch.tensor([[True, False]])
    both = aggregate(torch.rand(1, 2, 4, 4), valid)
    assert both[:, 2].eq(-torch.inf).all()
    assert aggregate(torch.ones(1, 1, 1, dtype=torch.float16)).isfinite().all()


def test_an_absent_slot_gets_no_gradient_and_changes_nothing() -> None:
    p = torch.rand(1, 3, 4, 4, requires_grad=True)
    valid = torch.tensor([[True, True, False]])
    merged = aggregate(p, valid).softmax(1)
    torch.testing.assert_close(merged[:, :3], aggregate(p[:, :2]).softmax(1))
    merged[:, 1].sum().backward()
    assert p.grad is not None
    assert p.grad[:, 2].abs().max() == 0
    assert np.isfinite(p.grad.numpy()).all()
