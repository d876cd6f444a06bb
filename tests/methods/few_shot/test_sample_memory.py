"""The memory of samples: weights, the ring, floors, and what a policy may not be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vos_zoo.methods._few_shot.sample_memory import SampleMemory, SamplePolicy

# -- sample memory ---------------------------------------------------------------------------------------------------

POLICIES = st.builds(
    SamplePolicy,
    capacity=st.integers(2, 9),
    learning_rate=st.floats(0.02, 0.6),
    minimum_first_weight=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    equal_second=st.booleans(),
)


def numbered(value: float, rows: int = 1) -> dict[str, Tensor]:
    """A sample that can be recognised."""
    return {"x": torch.full((rows, 2), value)}


@given(policy=POLICIES, writes=st.integers(0, 25))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_sample_weights_sum_to_one_up_to_the_floor_of_the_first(policy: SamplePolicy, writes: int) -> None:
    memory = SampleMemory(policy).start(numbered(0), [0])
    for k in range(writes):
        memory = memory.write(numbered(k + 1))
        weights, floor = memory.weights[:, 0], policy.minimum_first_weight
        assert (weights >= 0).all()
        if floor and weights[0] <= floor * (1 + 1e-6):
            assert weights[0].item() == pytest.approx(floor)
            assert 1 - 1e-5 <= weights.sum() <= floor + 1 / (1 + floor) + 1e-5
        else:
            assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        assert not weights[memory.filled :].any()


@given(policy=POLICIES, writes=st.integers(1, 25))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_the_ring_fills_before_it_overwrites_and_keeps_a_floored_first_sample(
    policy: SamplePolicy, writes: int
) -> None:
    memory = SampleMemory(policy).start(numbered(0), [0])
    size = memory.nbytes
    for k in range(1, writes + 1):
        before = memory.samples("x")[:, 0, 0].tolist()
        memory = memory.write(numbered(k))
        held = memory.samples("x")[:, 0, 0].tolist()
        assert memory.filled == len(held) == min(k + 1, policy.capacity)
        assert memory.nbytes == size
        assert held[memory.latest[0]] == k
        lost = set(before) - set(held)
        assert len(lost) == (k >= policy.capacity)
        assert k not in before
        if policy.minimum_first_weight > 0:
            assert held[0] == 0, "the first sample gave way although its weight has a floor"


@given(policy=POLICIES, permanent=st.lists(st.booleans(), min_size=1, max_size=25))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_permanent_samples_stay_and_the_others_are_kept_as_without_them(
    policy: SamplePolicy, permanent: list[bool]
) -> None:
    memory, plain = (SampleMemory(policy).start(numbered(0), [0]) for _ in range(2))
    for k, kept in enumerate(permanent, start=1):
        memory = memory.write(numbered(k), permanent=kept)
        plain = plain if kept else plain.write(numbered(k))
    held = memory.samples("x")[:, 0, 0].tolist()
    given = [k for k, kept in enumerate(permanent, start=1) if kept]
    assert sorted(held) == sorted([*plain.samples("x")[:, 0, 0].tolist(), *given])
    weights = dict(zip(held, memory.sample_weights()[:, 0].tolist(), strict=True))
    others = dict(zip(plain.samples("x")[:, 0, 0].tolist(), plain.sample_weights()[:, 0].tolist(), strict=True))
    assert {k: weights[k] for k in others} == pytest.approx(others, rel=1e-5)
    assert [weights[k] for k in given] == pytest.approx([max(others.values())] * len(given), rel=1e-5)


@torch.no_grad()
def test_without_a_floor_the_oldest_sample_gives_way_the_first_included() -> None:
    memory = SampleMemory(SamplePolicy(3, minimum_first_weight=0.0, equal_second=True)).start(numbered(0), [0])
    held = []
    for k in range(1, 7):
        memory = memory.write(numbered(k))
        held.append(sorted(memory.samples("x")[:, 0, 0].tolist()))
    assert held[1:] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]


@torch.no_grad()
def test_newer_samples_weigh_more_by_the_learning_rate() -> None:
    memory = SampleMemory(SamplePolicy(8, learning_rate=0.2, minimum_first_weight=0.0)).start(numbered(0), [0])
    for k in range(1, 6):
        memory = memory.write(numbered(k))
    weights = memory.sample_weights()[:, 0]
    torch.testing.assert_close(weights[2:] / weights[1:-1], torch.full((4,), 1 / 0.8))


@torch.no_grad()
def test_objects_of_one_memory_keep_their_own_rings() -> None:
    memory = SampleMemory(SamplePolicy(3)).start({"x": torch.tensor([[1.0], [2.0]])}, [0, 1])
    memory = memory.write({"x": torch.tensor([[20.0]])}, rows=[1])
    memory = memory.start({"x": torch.tensor([[3.0]])}, [2])
    memory = memory.write({"x": torch.tensor([[11.0], [21.0], [31.0]])})
    assert memory.counts == (2, 3, 2)
    assert memory.samples("x")[..., 0].tolist() == [[1, 2, 3], [11, 20, 31], [0, 21, 0]]
    assert not memory.sample_weights()[2, [0, 2]].any(), "a slot without a sample must not count"
    rest = memory.drop([1])
    assert len(rest) == 2
    assert rest.counts == (2, 2)
    assert rest.samples("x")[..., 0].tolist() == [[1, 3], [11, 31]]
    assert rest.nbytes < memory.nbytes


@torch.no_grad()
def test_starting_a_known_object_anew_forgets_what_it_had() -> None:
    memory = SampleMemory(SamplePolicy(4)).start({"x": torch.tensor([[1.0], [2.0]])}, [0, 1])
    memory = memory.write({"x": torch.tensor([[10.0], [20.0]])}).start({"x": torch.tensor([[5.0]])}, [0])
    assert memory.counts == (1, 2)
    assert memory.samples("x")[..., 0].tolist() == [[5, 2], [0, 20]]
    assert memory.sample_weights()[:, 0].tolist() == [1, 0]


@torch.no_grad()
def test_moving_a_memory_keeps_its_contents() -> None:
    memory = SampleMemory(SamplePolicy(3)).start(numbered(1), [0]).write(numbered(2))
    moved = memory.to("cpu")
    assert torch.equal(moved.samples("x"), memory.samples("x"))
    assert (moved.counts, moved.latest, moved.nbytes) == (memory.counts, memory.latest, memory.nbytes)
    assert memory.to("meta").buffers["x"].is_meta


@pytest.mark.parametrize("wrong", [{"capacity": 1}, {"learning_rate": 0.0}, {"learning_rate": 1.0}])
def test_impossible_policies_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplePolicy(**wrong)
