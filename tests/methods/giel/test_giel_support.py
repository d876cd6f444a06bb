"""Which frames GIEL compares a query with, and which it holds: the published rule verbatim, and its bounded form."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.helpers.giel_tools import boxes, network, pictures
from vos_zoo.methods.giel.memory import GielMemory
from vos_zoo.methods.giel.settings import GielTrackSettings
from vos_zoo.methods.giel.support import most_redundant, support_set
from vos_zoo.types import UsageError


@pytest.mark.parametrize(
    ("time", "size", "expected"),
    [
        (1, 5, [0]),
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (6, 5, [0, 1, 2, 3, 5]),
        (10, 5, [0, 2, 4, 6, 9]),
        (21, 5, [0, 5, 10, 15, 20]),
        (50, 5, [0, 12, 24, 36, 49]),
        (1, 2, [0]),
        (9, 2, [0, 8]),
    ],
)
def test_the_support_set_of_a_video_with_one_annotated_frame(time: int, size: int, expected: list[int]) -> None:
    assert support_set(range(time), [0], size) == expected


@pytest.mark.parametrize(
    ("time", "annotated", "expected"),
    [(10, [0, 4], [0, 2, 4, 6, 9]), (30, [0, 4, 9, 12, 15], [0, 4, 9, 12, 15, 29])],
)
def test_every_annotated_frame_is_in_the_support_set(time: int, annotated: list[int], expected: list[int]) -> None:
    assert support_set(range(time), annotated) == expected


def test_support_sets_ascend_hold_the_previous_frame_and_have_the_asked_size() -> None:
    for time in range(1, 120):
        for size in range(2, 7):
            chosen = support_set(range(time), [0], size)
            assert chosen == sorted(set(chosen))
            assert {0, time - 1} <= set(chosen)
            assert len(chosen) == min(time, size)


def test_one_frame_alone_can_be_the_support() -> None:
    assert support_set(range(9), [0, 4], mode="first") == [0]
    assert support_set(range(9), [0, 4], mode="previous") == [8]


def test_other_picks_take_the_centres_of_the_segments() -> None:
    assert support_set(range(21), [0], pick="center") == [0, 3, 8, 13, 18]
    assert support_set(range(21), [0], pick="center_plus_previous") == [0, 4, 10, 16, 20]
    assert support_set(range(9), [0, 4], keep="first") == [0, 2, 4, 6, 8]
    assert support_set(range(10), [0, 4], always_first=False) == [1, 3, 5, 7, 9]


def test_the_crowded_frame_is_the_one_with_the_closest_neighbours() -> None:
    assert most_redundant([0, 4, 8, 9, 10], [0]) == 9
    assert most_redundant([0, 4, 8, 9, 10], [0, 9]) == 8
    assert most_redundant([0, 1, 2, 3], [0]) == 1


def held(length: int, capacity: int | None, given: dict[int, list[int]] | None = None) -> GielMemory:
    """A memory after `length` frames with one number each; `given`: frame -> objects that start there."""
    memory = GielMemory(GielTrackSettings(capacity=capacity))
    for t in range(length):
        slots = (given or {0: [0]}).get(t, [])
        total = max(len(memory.starts), *(slot + 1 for slot in slots), 1)
        if slots:
            memory = memory.start(slots, torch.ones(1, total, dtype=torch.bool))
        memory = memory.write({"key": torch.full((1, 1), float(t))}, {"value": torch.zeros(1, total, 1)})
    return memory


def numbers(memory: GielMemory) -> list[int]:
    return [frame.number for frame in memory.frames]


def test_the_paper_holds_every_frame() -> None:
    assert numbers(held(200, None)) == list(range(200))
    assert [f.number for f in held(50, None).support()[0]] == [0, 12, 24, 36, 49]


def test_a_bounded_memory_equals_the_paper_until_it_is_full() -> None:
    for length in range(1, 11):
        bounded, whole = (held(length, capacity).support()[0] for capacity in (9, None))
        assert [f.number for f in bounded] == [f.number for f in whole]


def test_a_bounded_memory_stays_evenly_spaced_and_keeps_first_previous_and_given_frames() -> None:
    for length in (15, 40, 97, 300):
        memory = held(length, 9, {0: [0], 12: [1]})
        frames = numbers(memory)
        assert {0, 12, length - 1} <= set(frames)
        assert len(frames) == 11
        gaps = [b - a for a, b in itertools.pairwise(frames)]
        assert max(gaps) <= 3.1 * length / len(frames)
        chosen = [f.number for f in memory.support()[0]]
        ideal = support_set(range(length), [0, 12])
        assert len(chosen) == len(ideal)
        assert max(abs(a - b) for a, b in zip(chosen, ideal, strict=True)) <= 0.16 * length


def test_learnt_frames_are_never_evicted_and_always_in_the_support_set() -> None:
    memory = held(8, 4)
    for t in range(8, 40):
        memory = memory.learning() if t in (8, 9, 10) else memory
        memory = memory.write({"key": torch.full((1, 1), float(t))}, {"value": torch.zeros(1, 1, 1)})
    assert {0, 8, 9, 10, 39} <= set(numbers(memory)) and len(numbers(memory)) == 4 + 4
    frames, first = memory.support()
    assert [f.number for f in frames] == [0, 8, 9, 10, 39] and first == 0


def test_frames_older_than_every_object_are_forgotten() -> None:
    memory = held(6, None, {0: [0], 4: [1]})
    assert numbers(memory.drop([0])) == [4, 5]
    assert numbers(memory.drop([1])) == list(range(6))
    assert memory.drop([0, 1]).nbytes == 0
    restarted = memory.start([0, 1], torch.ones(1, 2, dtype=torch.bool))
    assert numbers(restarted) == []


def test_an_object_that_starts_anew_loses_what_was_held_of_it_and_nobody_else_does() -> None:
    memory = held(3, None, {0: [0, 1]})
    memory = memory.write({"key": torch.zeros(1, 1)}, {"value": torch.tensor([[[3.0], [5.0]]])})
    memory = memory.start([0], torch.ones(1, 2, dtype=torch.bool))
    assert memory.frames[-1].owned["value"].flatten().tolist() == [0.0, 5.0]
    assert memory.starts == (4, 0)


def test_the_first_key_is_that_of_the_earliest_annotated_frame_in_the_set() -> None:
    assert held(9, None).support()[1] == 0
    frames, first = held(9, None, {0: [0], 3: [1]}).drop([0]).support()
    assert frames[first].number == 3
    previous = GielTrackSettings(support_mode="previous")
    frames, first = GielMemory(previous, held(9, None).frames, (0,)).support()
    assert ([f.number for f in frames], first) == ([8], 0)


@torch.no_grad()
def test_held_bytes_halve_in_half_precision_and_outputs_stay_near() -> None:
    net, frames, given = network().float(), pictures(3).float(), boxes(1, 2)[0].float()
    outputs, sizes = [], []
    for dtype in ("float32", "bf16"):
        memory = net.new_memory(GielTrackSettings(memory_dtype=dtype, short_edge=None))
        memory = net.initialise(memory, net.encode(frames[0][None, None]), given[None, None], [0, 1])
        features = net.encode(frames[1][None, None])
        outputs.append(net.merging.merge(net.decode(net.read(memory, features), features).logits[0]))
        sizes.append(memory.nbytes)
    assert sizes[0] == 2 * sizes[1] > 0
    assert 0 < (outputs[0] - outputs[1]).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("setting", "value"),
    [("support_size", 0), ("support_mode", "last"), ("capacity", 3), ("memory_dtype", "int8"), ("segment_pick", "any")],
)
def test_settings_that_mean_nothing_are_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"track\.{setting}'? is"):
        GielTrackSettings(**{setting: value})  # type: ignore[arg-type]
