"""The bank of frames: what it keeps, what gives way, whom it serves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vos_zoo.methods.pcvos.frame_bank import BankPolicy, FrameBank
from vos_zoo.types import UsageError


def frame(number: int, objects: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Shared and owned tensors that say which write and which object they come from."""
    keys = {"keys": torch.full((1, 3), float(number))}
    values = torch.stack([torch.full((1, 2), 100.0 * slot + number) for slot in range(objects)], dim=1)
    return keys, {"values": values}


def filled(writes: int, capacity: int | None = None, objects: int = 1, pinned: tuple[int, ...] = (0,)) -> FrameBank:
    bank = FrameBank(BankPolicy(capacity))
    for n in range(writes):
        bank = bank.write(*frame(n, objects), new=range(objects) if n == 0 else (), pinned=n in pinned)
    return bank


@settings(deadline=None)
@given(writes=st.integers(1, 20), capacity=st.one_of(st.none(), st.integers(2, 6)))
def test_the_first_frame_and_the_newest_ones_are_kept(writes: int, capacity: int | None) -> None:
    bank = filled(writes, capacity)
    room = writes if capacity is None else min(writes, capacity)
    kept = [0, *range(writes - room + 1, writes)]
    assert [bank.numbers[slot] for slot in bank.frame_slots] == kept
    assert bank.stored("keys")[bank.frame_slots, 0, 0].tolist() == kept
    assert bank.stored("values")[bank.frame_slots, 0, 0, 0].tolist() == kept


def test_bytes_are_constant_once_the_bank_is_full() -> None:
    bank, seen = FrameBank(BankPolicy(5)), []
    for n in range(20):
        bank = bank.write(*frame(n, 1), new=[0] if n == 0 else (), pinned=n == 0)
        seen.append(bank.nbytes)
    assert len(set(seen[5:])) == 1
    assert filled(20).nbytes > seen[-1]


def test_where_every_frame_is_pinned_the_oldest_but_the_first_gives_way() -> None:
    bank = filled(6, 3, pinned=tuple(range(6)))
    assert sorted(bank.numbers) == [0, 4, 5]


def test_permanent_frames_are_never_evicted_and_take_no_room_from_the_others() -> None:
    bank = FrameBank(BankPolicy(3))
    for n in range(12):
        bank = bank.write(*frame(n, 1), new=[0] if n == 0 else (), pinned=n == 0, permanent=n in (2, 5, 6, 7, 8))
    assert sorted(bank.numbers) == [0, 2, 5, 6, 7, 8, 10, 11]
    assert bank.stored("keys")[bank.frame_slots, 0, 0].tolist() == sorted(bank.numbers)


def test_a_late_object_uses_frames_from_its_start_on_and_has_nothing_before() -> None:
    bank = filled(3)
    bank = bank.write(*frame(3, 2), new=[1], pinned=True).write(*frame(4, 2))
    assert bank.starts == (0, 3)
    assert bank.used_by(0) == [True] * 5
    assert bank.used_by(1) == [False, False, False, True, True]
    assert bank.groups() == [[0], [1]]
    assert bank.stored("values")[:3, 0, 1].abs().max() == 0
    assert bank.stored("values")[3:, 0, 1, 0].tolist() == [103.0, 104.0]


def test_objects_that_start_together_are_one_group_and_so_are_those_whose_older_frames_are_gone() -> None:
    assert filled(2, objects=3).groups() == [[0, 1, 2]]
    bank = FrameBank(BankPolicy(2))
    for n, new in enumerate([[0], [1], [], []]):
        bank = bank.write(*frame(n, 2 if n else 1), new=new)
    assert bank.groups() == [[0, 1]]


def test_an_object_that_starts_anew_forgets_and_frames_nobody_uses_are_freed() -> None:
    bank = filled(3, objects=2).write(*frame(3, 2), new=[0], pinned=True)
    assert bank.used_by(0) == [False, False, False, True]
    assert bank.used_by(1) == [True] * 4
    both = bank.write(*frame(4, 2), new=[0, 1], pinned=True)
    assert both.numbers == (4,)
    assert both.stored("keys").unique().tolist() == [4.0]


def test_dropping_closes_ranks_and_an_empty_bank_keeps_nothing() -> None:
    bank = filled(3, objects=3)
    kept = bank.drop([1])
    assert kept.stored("values")[0, 0, :, 0].tolist() == [0.0, 200.0]
    assert kept.starts == (0, 0)
    empty = bank.drop([0, 1, 2])
    assert (len(empty), empty.nbytes, empty.objects) == (0, 0, 0)


def test_gradients_flow_through_every_frame_written() -> None:
    leaves = [torch.randn(1, 3, requires_grad=True) for _ in range(3)]
    bank = FrameBank()
    for n, leaf in enumerate(leaves):
        bank = bank.write({"keys": leaf}, {"values": leaf[:, None]}, new=[0] if n == 0 else ())
    (bank.stored("keys").sum() + bank.stored("values").square().sum()).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, 1 + 2 * leaf.detach())


def test_a_capacity_below_two_is_refused() -> None:
    with pytest.raises(UsageError, match="capacity is 1"):
        BankPolicy(1)
