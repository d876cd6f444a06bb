"""A memory of whole frames: tensors that depend on pixels alone are stored once for all objects, others per object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vos_zoo.types import UsageError


@dataclass(frozen=True)
class BankPolicy:
    """How many frames are kept, and the eviction policy.

    The oldest frame that is not pinned is evicted; if all are pinned, the oldest but the very first.

    Attributes:
        capacity: frames kept; None keeps all.
    """

    capacity: int | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None and self.capacity < 2:
            raise UsageError(f"the memory's capacity is {self.capacity}; it must be at least 2")


@dataclass(frozen=True)
class FrameBank:
    """Frames in the order of writing, in buffers that are filled from the front; an evicted frame is overwritten.

    Outside training, buffers are written in place: the bank that a method returns replaces its argument. Frames that
    were pinned in them are not overwritten there.
    They grow by doubling up to the capacity. With gradients they grow by concatenation instead.

    Attributes:
        policy: how many frames are kept.
        shared: name -> ``(S, B, ...)``, tensors of each of the S frame slots that all objects share.
        owned: name -> ``(S, B, K, ...)``, tensors of each object; zero before an object's start.
        numbers: number of the write that filled each frame slot, from 0; one per filled slot.
        pinned: whether the frame in each slot is evicted only if all are pinned.
        permanent: whether it is never evicted; such frames do not count towards the capacity.
        starts: per object, the number of the first frame that it uses.
        count: writes so far.
    """

    policy: BankPolicy = BankPolicy()
    shared: dict[str, Tensor] = field(default_factory=dict)
    owned: dict[str, Tensor] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    pinned: tuple[bool, ...] = ()
    starts: tuple[int, ...] = ()
    count: int = 0
    permanent: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def objects(self) -> int:
        """Number K of objects."""
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes held by the buffers."""
        return sum(t.numel() * t.element_size() for t in (*self.shared.values(), *self.owned.values()))

    @property
    def frame_slots(self) -> list[int]:
        """Filled frame slots from the oldest frame to the newest."""
        return sorted(range(len(self)), key=self.numbers.__getitem__)

    def stored(self, name: str) -> Tensor:
        """The filled part of a buffer, without a copy, in the order of frame slots: ``(len, B, ...)``."""
        buffer = self.shared[name] if name in self.shared else self.owned[name]
        return buffer[: len(self)]

    def used_by(self, slot: int) -> list[bool]:
        """Whether an object uses the frame in each filled slot (it was written at the object's start or later)."""
        return [number >= self.starts[slot] for number in self.numbers]

    def groups(self) -> list[list[int]]:
        """Objects grouped by their start, the oldest first; a group uses the same frames."""
        by_start: dict[int, list[int]] = {}
        for slot, start in enumerate(self.starts):
            oldest = min((n for n in self.numbers if n >= start), default=start)
            by_start.setdefault(oldest, []).append(slot)
        return [by_start[start] for start in sorted(by_start)]

    def write(
        self,
        shared: Mapping[str, Tensor],
        owned: Mapping[str, Tensor],
        new: Sequence[int] = (),
        pinned: bool = False,
        permanent: bool = False,
    ) -> FrameBank:
        """Add one frame.

        Args:
            shared: name -> ``(B, ...)``.
            owned: name -> ``(B, K, ...)``, K objects, those in `new` included.
            new: objects that start with this frame; earlier frames of a known object are dropped.
            pinned: whether the frame is evicted only if all are pinned.
            permanent: whether it is never evicted.
        """
        objects = max([len(self.starts), *(slot + 1 for slot in new)])
        starts = tuple(
            self.count if slot in new else start
            for slot, start in enumerate([*self.starts, *[self.count] * (objects - len(self.starts))])
        )
        bank = replace(self, starts=starts)
        needed = [n for n in self.numbers if n >= min(starts)]
        if not needed and self.numbers:  # no object uses the older frames any more
            bank = replace(bank, numbers=(), pinned=(), permanent=(), shared={}, owned={})
        tensors = (*shared.values(), *owned.values(), *bank.shared.values(), *bank.owned.values())
        if any(tensor.requires_grad for tensor in tensors):  # what gradients depend on must not be overwritten
            return bank._append(shared, owned, pinned)
        slot = len(bank) if permanent else bank._next_slot()
        bank = bank._with_room(slot, shared, owned)
        if slot < len(bank) and bank.pinned[slot]:
            bank = bank._copied()
        for name, value in shared.items():
            bank.shared[name][slot] = value.to(bank.shared[name].dtype)
        for name, value in owned.items():
            bank.owned[name][slot] = value.to(bank.owned[name].dtype)
        facts: dict[str, Any] = {}
        for name, fact in (("numbers", self.count), ("pinned", pinned), ("permanent", permanent)):
            values = list(getattr(bank, name))
            values[slot : slot + 1] = [fact]
            facts[name] = tuple(values)
        return replace(bank, **facts, count=self.count + 1)

    def _next_slot(self) -> int:
        """The slot of the next frame."""
        room = self._room
        if room is None or len(self) < room:
            return len(self)
        replaceable = [slot for slot in self.frame_slots if not self.permanent[slot]]
        free = [slot for slot in replaceable if not self.pinned[slot]]
        return free[0] if free else replaceable[1]

    @property
    def _room(self) -> int | None:
        """Frames that are kept, the permanent ones included; None: all."""
        return None if self.policy.capacity is None else self.policy.capacity + sum(self.permanent)

    def _append(self, shared: Mapping[str, Tensor], owned: Mapping[str, Tensor], pinned: bool) -> FrameBank:
        """Out-of-place growth by one frame, for training."""

        def grown(buffers: Mapping[str, Tensor], frame: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {
                n: torch.cat([buffers[n][: len(self)], v[None]]) if len(self) else v[None] for n, v in frame.items()
            }

        return replace(
            self,
            shared=grown(self.shared, shared),
            owned=grown({name: self._widened(name) for name in self.owned}, owned),
            numbers=(*self.numbers, self.count),
            pinned=(*self.pinned, pinned),
            permanent=(*self.permanent, False),
            count=self.count + 1,
        )

    def _widened(self, name: str) -> Tensor:
        """An owned buffer with a channel for every object."""
        buffer = self.owned[name]
        missing = len(self.starts) - buffer.shape[2]
        if missing == 0:
            return buffer
        more = buffer.new_zeros(*buffer.shape[:2], missing, *buffer.shape[3:])
        return torch.cat([buffer, more], dim=2)

    def _with_room(self, slot: int, shared: Mapping[str, Tensor], owned: Mapping[str, Tensor]) -> FrameBank:
        """The bank with buffers that have room for the slot and every object."""
        old = next(iter(self.shared.values())).shape[0] if self.shared else 0
        size = old
        if slot >= old:
            size = max(4, 2 * old)
            size = size if self.policy.capacity is None else min(size, max(self.policy.capacity, slot + 1))

        def roomy(buffer: Tensor | None, frame: Tensor) -> Tensor:
            if buffer is not None and buffer.shape[0] == size and buffer.shape[1:] == frame.shape:
                return buffer
            larger = frame.new_zeros(size, *frame.shape, dtype=frame.dtype if buffer is None else buffer.dtype)
            if buffer is not None:
                larger[: len(self)] = buffer[: len(self)]
            return larger

        return replace(
            self,
            shared={name: roomy(self.shared.get(name), value) for name, value in shared.items()},
            owned={n: roomy(self._widened(n) if n in self.owned else None, value) for n, value in owned.items()},
        )

    def _copied(self) -> FrameBank:
        """The bank in buffers of its own: who refers to a pinned frame in the old ones still finds it there."""
        copies = ({name: buffer.clone() for name, buffer in own.items()} for own in (self.shared, self.owned))
        return replace(self, shared=next(copies), owned=next(copies))

    def for_reading(self) -> FrameBank:
        """The same bank with frames numbered by the objects that use them: in the order of slots as far as possible."""
        starts = sorted(set(self.starts))
        numbers = tuple(sum(start <= number for start in starts) for number in self.numbers)
        renumbered = tuple(starts.index(start) + 1 for start in self.starts)
        return FrameBank(self.policy, self.shared, self.owned, numbers, starts=renumbered)

    def drop(self, slots: Sequence[int]) -> FrameBank:
        """The bank without the objects in `slots`; the others are re-indexed. Without objects it is empty."""
        kept = [slot for slot in range(len(self.starts)) if slot not in set(slots)]
        if not kept:
            return FrameBank(self.policy)
        owned = {name: buffer[:, :, kept].contiguous() for name, buffer in self.owned.items()}
        return replace(self, owned=owned, starts=tuple(self.starts[slot] for slot in kept))

    def to(self, device: torch.device | str) -> FrameBank:
        """The same bank on `device`."""
        return replace(
            self,
            shared={name: buffer.to(device) for name, buffer in self.shared.items()},
            owned={name: buffer.to(device) for name, buffer in self.owned.items()},
        )
