"""The propagator: clips, late writes, prompts, dropped objects, and requests it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.contract_settings import build, moving_squares
from tests.helpers.toy_model import ToyMemory, ToyModel
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.views import FullFrame
from vos_zoo.methods.lwl.target_model import LWLMemory
from vos_zoo.types import UsageError

# -- the propagator --------------------------------------------------------------------------------------------------


class WatchedToy(ToyModel):
    """Notes what the engine asks of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.4)
        self.calls: list[tuple[str, Any]] = []
        self.eval()

    def encode(self, frames: Tensor) -> Any:
        self.calls.append(("encode", tuple(frames.shape)))
        return super().encode(frames)

    def initialise(self, memory: ToyMemory, features: Any, masks: Tensor, new: Sequence[int]) -> ToyMemory:
        after = super().initialise(memory, features, masks, new)
        self.calls.append(("initialise", after))
        return after

    def update(self, memory: ToyMemory, features: Any, masks: Tensor, rows: Sequence[int] | None = None) -> ToyMemory:
        after = super().update(memory, features, masks, rows)
        self.calls.append(("update", after))
        return after

    def named(self, verb: str) -> list[Any]:
        return [value for name, value in self.calls if name == verb]


def engine_of(model: ToyModel, **options: Any) -> Propagator:
    return Propagator(model, model.track_settings(None, **options))


def test_a_method_that_reads_clips_gets_clips_and_results_wait_for_them() -> None:
    model, video = WatchedToy(), moving_squares(9)
    engine = engine_of(model)
    counts = [len(engine.push(frame, video.labels[0] if t == 0 else None)) for t, frame in enumerate(video.frames)]
    assert counts == [1, 0, 0, 3, 0, 0, 3, 0, 0]
    assert [result.index for result in engine.flush()] == [7, 8]
    assert engine.flush() == []
    assert [shape[1] for shape in model.named("encode")] == [1, 3, 3, 2]


def test_a_prompt_in_the_middle_of_a_clip_cuts_the_clip_there() -> None:
    model, video = WatchedToy(), moving_squares(8)
    engine = engine_of(model)
    prompts = {0: video.only(1), 2: video.only(2, frame=2)}
    results = [engine.push(frame, prompts.get(t)) for t, frame in enumerate(video.frames)]
    assert [[r.index for r in part] for part in results] == [[0], [], [1, 2], [], [], [3, 4, 5], [], []]
    assert [r.ids for part in results for r in part] == [(1,), (1,), (1, 2), (1, 2), (1, 2), (1, 2)]


def test_a_write_runs_when_the_next_clip_needs_it_and_the_last_one_never() -> None:
    model, video = WatchedToy(), moving_squares(10)
    engine = engine_of(model)
    updates = []
    for t, frame in enumerate(video.frames):
        engine.push(frame, video.labels[0] if t == 0 else None)
        updates.append(len(model.named("update")))
    assert updates == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_a_method_is_given_the_prompt_on_its_canvas_and_later_what_the_merge_says() -> None:
    model, video = WatchedToy(), moving_squares(7, (60, 90))
    engine = engine_of(model, short_edge=None)
    results = [r for t, f in enumerate(video.frames) for r in engine.push(f, video.labels[0] if t == 0 else None)]
    view = FullFrame(32)
    view.project(torch.zeros(1, 3, 60, 90), [])
    first = model.named("initialise")[0].events[-1]
    assert first.canvas == (64, 96)
    given_masks = view.emit(first.masks[0])[0].numpy()
    assert (given_masks == np.stack([video.labels[0] == 1, video.labels[0] == 2])).all()
    learned = model.named("update")[0].events[-1]
    assert learned.frames == 3
    merged = torch.stack([result.probabilities[1:] for result in results[1:4]])
    torch.testing.assert_close(view.emit(learned.masks[0]), merged)


def test_known_objects_are_learned_where_somebody_gives_a_mask_if_the_method_asks_for_it() -> None:
    video = moving_squares(5)
    for wanted in (False, True):
        model = WatchedToy()
        model.schedule = WriteSchedule(clip_length=3, memory_every=100, write_on_prompt=wanted)
        engine = engine_of(model)
        for t, frame in enumerate(video.frames):
            engine.push(frame, {0: video.only(1), 3: video.only(2, frame=3)}.get(t))
        assert len(model.named("update")) == int(wanted)


def test_given_masks_win_over_predictions_and_known_objects_go_on_predicting_there() -> None:
    model, video = WatchedToy(), moving_squares(6, objects=3)
    engine = engine_of(model, short_edge=None, multiple=2)
    late = video.only(3, frame=4)
    results = [r for t, f in enumerate(video.frames) for r in engine.push(f, {0: video.only(1, 2), 4: late}.get(t))]
    here = results[4].probabilities
    assert results[4].ids == (1, 2, 3)
    assert here[3][torch.from_numpy(late == 3)].min() > 0.9
    assert here[3][torch.from_numpy(late == 0)].max() < 0.01
    elsewhere = here[1:3, torch.from_numpy(late == 0)]
    assert elsewhere.std() > 0.01, "known objects were not predicted in the frame of the prompt"


def test_a_stream_keeps_no_gradient_history() -> None:
    model, video = build("lwl").eval(), moving_squares(5, objects=3)
    engine = model.propagator()
    for t, frame in enumerate(video.frames):
        (result,) = engine.push(frame, video.labels[0] if t == 0 else None)
        assert not result.probabilities.requires_grad
    engine.drop([2])
    for group in engine._groups:
        memory: LWLMemory = group.memory
        assert not any(value.requires_grad for value in (memory.kernel, *memory.samples.buffers.values()))


def test_dropping_an_id_twice_in_one_call_drops_it_once_and_an_unknown_one_is_refused() -> None:
    model, video = WatchedToy(), moving_squares(8, objects=3)
    engine = engine_of(model)
    engine.push(video.frames[0], video.labels[0])
    engine.drop([1, 1])
    assert engine.ids == [2, 3]
    with pytest.raises(UsageError, match="9"):
        engine.drop([9])
    results = [r for frame in video.frames[1:4] for r in engine.push(frame)]
    assert [result.ids for result in results] == [(2, 3)] * 3


def test_object_slots_of_the_right_object_are_dropped() -> None:
    model, video = WatchedToy(), moving_squares(4, objects=3)
    engine = engine_of(model)
    engine.push(video.frames[0], video.labels[0])
    before = model.named("initialise")[0].prototypes
    engine.drop([2])
    assert torch.equal(engine._groups[0].memory.prototypes, before[:, [0, 2]])


LABELS = moving_squares(1).labels[0]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        pytest.param(LABELS[:-1], ["frame 1", "(63, 96)", "(64, 96)"], id="wrong size"),
        pytest.param(LABELS[..., None], ["frame 1", "(64, 96, 1)"], id="an axis too many"),
        pytest.param(LABELS.astype(np.float32), ["frame 1", "float32"], id="float"),
        pytest.param(LABELS > 0, ["frame 1", "bool"], id="bool"),
        pytest.param(LABELS.astype(np.int64) * 300, ["frame 1", "0..255"], id="ids above 255"),
        pytest.param(-LABELS.astype(np.int16), ["frame 1", "0..255"], id="negative ids"),
        pytest.param({0: (1, 1, 5, 5)}, ["object 0", "1 to 254"], id="box of the background"),
        pytest.param({256: (1, 1, 5, 5)}, ["object 256", "1 to 254"], id="box of id 256"),
        pytest.param({1: (1, 1, -5, 5)}, ["object 1", "greater than 0"], id="negative width"),
        pytest.param({1: (1, 1, 5)}, ["object 1", "x,y,w,h"], id="three numbers"),
        pytest.param({1: (1, 1, float("nan"), 5)}, ["object 1"], id="not a number"),
        pytest.param({1: (300, 1, 5, 5)}, ["object 1", "96x64"], id="outside"),
        pytest.param({1: (90, 60, 10, 2)}, ["object 1", "96x64", "inside is 1:90,60,6,2"], id="leaves the frame"),
        pytest.param({255: (1, 1, 5, 5)}, ["object 255", "1 to 254"], id="box of void"),
        pytest.param({"1": (1, 1, 5, 5)}, ["'1'", "whole numbers"], id="text as id"),
        pytest.param({True: (1, 1, 5, 5)}, ["True", "whole numbers"], id="truth value as id"),
        pytest.param({1: LABELS > 0}, ["object 1", "bool (64, 96)", "label map"], id="mask under an id"),
        pytest.param({1: None}, ["object 1", "None", "x,y,w,h"], id="nothing under an id"),
        pytest.param({1: "1,1,5,5"}, ["object 1", "x,y,w,h"], id="text as box"),
        pytest.param({1: {2: (1, 1, 5, 5)}}, ["object 1", "x,y,w,h"], id="nested"),
        pytest.param((1, 1, 5, 5), ["frame 1", "box needs the id"], id="box without id"),
        pytest.param("mask.png", ["frame 1", "mask.png", "label map"], id="file name"),
        pytest.param(7, ["frame 1", "7", "label map"], id="number"),
        pytest.param([[1, 2], [3]], ["frame 1", "converted to an array"], id="ragged list"),
        pytest.param({1: (1, 1, 5, 5)}, ["masks, not boxes"], id="box for a method without boxes"),
    ],
)
def test_a_wrong_prompt_is_refused_in_one_clear_line_and_nothing_is_lost(prompt: Any, words: list[str]) -> None:
    model, video = WatchedToy(), moving_squares(5)
    engine, untouched = engine_of(model), engine_of(model)
    for own in (engine, untouched):
        own.push(video.frames[0], LABELS)
    with pytest.raises(UsageError) as caught:
        engine.push(video.frames[1], prompt)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    rest = [[r for frame in video.frames[1:4] for r in own.push(frame)] for own in (engine, untouched)]
    assert [r.index for r in rest[0]] == [1, 2, 3]
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(*rest, strict=True))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        pytest.param(np.zeros((64, 96), np.uint8), ["frame 1", "(64, 96)"], id="gray"),
        pytest.param(np.zeros((64, 96, 3), np.float32), ["frame 1", "float32"], id="float"),
        pytest.param(np.zeros((64, 96, 4), np.uint8), ["frame 1", "(64, 96, 4)"], id="four channels"),
        pytest.param(np.zeros((64, 95, 3), np.uint8), ["frame 1", "(64, 95)", "(64, 96)"], id="other size"),
        pytest.param([[[0, 0, 0]]], ["frame 1", "uint8"], id="a list"),
    ],
)
def test_a_wrong_frame_is_refused_in_one_clear_line(frame: Any, words: list[str]) -> None:
    engine = engine_of(WatchedToy())
    engine.push(moving_squares(1).frames[0], LABELS)
    with pytest.raises(UsageError) as caught:
        engine.push(frame)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "late", [LABELS[:, :-1], LABELS.astype(np.float64), {1: (1, 1, -3, 4)}], ids=["size", "type", "box"]
)
def test_a_wrong_prompt_for_a_late_frame_is_refused_before_the_work_begins(late: Any) -> None:
    model, video = build("lwl").eval(), moving_squares(5)
    read = []

    def frames() -> Any:
        for t, frame in enumerate(video.frames):
            read.append(t)
            yield frame

    with pytest.raises(UsageError, match=r"frame 4|object 1"):
        list(model.track(frames(), {0: LABELS, 4: late}))
    assert read in ([], [0])


def test_a_prompt_for_a_negative_frame_is_refused_before_a_frame_is_read() -> None:
    with pytest.raises(UsageError, match="-1"):
        build("lwl").eval().track(iter(()), {-1: LABELS})


def test_frames_that_share_memory_with_a_buffer_may_be_overwritten_after_the_call() -> None:
    model, video = WatchedToy(), moving_squares(4)
    buffer, copies = np.empty_like(video.frames[0]), engine_of(model)
    shared = engine_of(model)
    ours, theirs = [], []
    for t, frame in enumerate(video.frames):
        buffer[:] = frame
        ours += shared.push(buffer, video.labels[0] if t == 0 else None)
        theirs += copies.push(frame.copy(), video.labels[0] if t == 0 else None)
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(ours, theirs, strict=True))
