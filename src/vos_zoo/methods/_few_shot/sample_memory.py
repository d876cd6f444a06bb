"""A ring buffer of weighted training samples per object (LWL, sec. 3.5; JOINT, sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vos_zoo.tensors import upload


@dataclass(frozen=True)
class SamplePolicy:
    """Temporal weights and eviction policy (LWL, sec. 3.5 and supplement; JOINT, sec. 4).

    Attributes:
        capacity: samples kept per object, the first one included.
        learning_rate: weight of the newest sample against all older ones, in (0, 1).
        minimum_first_weight: minimum weight of the first sample; with 0 there is no minimum and the first sample may be
            replaced like any other.
        equal_second: the second sample gets the weight of the first (the box setting) instead of `learning_rate`.
        temporal: False, in training: every stored sample has weight one, and the memory grows (`SampleMemory.grows`).
    """

    capacity: int = 32
    learning_rate: float = 0.1
    minimum_first_weight: float = 0.25
    equal_second: bool = False
    temporal: bool = True

    def __post_init__(self) -> None:
        if self.capacity < 2:
            raise ValueError(f"capacity is {self.capacity}; it must be at least 2")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must lie strictly between 0 and 1")


@dataclass(frozen=True)
class SampleMemory:
    """Weighted training samples of `B` objects in a ring buffer of `S` slots, filled slots first.

    Buffers are allocated once at full capacity and written in place: the memory that a method returns replaces its
    argument. The memory of a training unroll grows instead, see `grows`.

    Attributes:
        policy: how weights evolve.
        buffers: name -> tensor ``(S, B, ...)``; slots that hold no sample are zero.
        weights: temporal weights, float32 ``(S, B)``, zero for empty slots; on the CPU, where slots are chosen.
        counts: samples stored so far per object (at most `policy.capacity`, and the permanent ones).
        latest: slot of the newest sample that is not permanent, per object.
        permanent: slots of samples that are never replaced, per object; each weighs as much as the object's heaviest
            other sample. They do not count towards the capacity.
    """

    policy: SamplePolicy
    buffers: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    counts: tuple[int, ...] = ()
    latest: tuple[int, ...] = ()
    permanent: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def filled(self) -> int:
        """Number of slots in use by at least one object; only these are read."""
        return max(self.counts, default=0)

    @property
    def grows(self) -> bool:
        """Whether this is the memory of a training unroll: a longer copy is made at every write.

        Gradients of an unroll need every sample as it was read, so nothing may be written in place; all objects are
        written at once. Which memory it is says its policy, so it is decided where the memory is made.
        """
        return not self.policy.temporal

    @property
    def nbytes(self) -> int:
        """Bytes held by samples and weights."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.buffers.values(), self.weights))

    def samples(self, name: str) -> Tensor:
        """The filled slots of buffer `name`, ``(filled, B, ...)``, without a copy."""
        return self.buffers[name][: self.filled]

    def sample_weights(self) -> Tensor:
        """Temporal weights of the filled slots, ``(filled, B)``, on the device of the samples."""
        return upload(self.weights[: self.filled], next(iter(self.buffers.values())).device)

    def start(self, samples: dict[str, Tensor], rows: Sequence[int]) -> SampleMemory:
        """Start the objects `rows` with their first sample; rows from ``len(self)`` on are new objects.

        Args:
            samples: name -> ``(len(rows), ...)``.
            rows: row of each sample; the samples of known rows are dropped.
        """
        known = len(self)
        total = max([known, *(row + 1 for row in rows)])
        slots = 1 if self.grows and not known else (self.weights.shape[0] if known else self.policy.capacity)
        buffers = {}
        for name, sample in samples.items():
            buffer = sample.new_zeros(slots, total, *sample.shape[1:])
            if known:
                buffer[:, :known] = self.buffers[name]
            if self.grows and not known and list(rows) == list(range(total)):
                buffer = sample[None]
            else:
                buffer[:, list(rows)] = 0
                buffer[0, list(rows)] = sample
            buffers[name] = buffer
        weights = torch.zeros(slots, total)
        if known:
            weights[:, :known] = self.weights
        weights[:, list(rows)] = 0
        weights[0, list(rows)] = 1
        counts, latest = [*self.counts, *[0] * (total - known)], [*self.latest, *[0] * (total - known)]
        permanent = [*self.permanent, *[()] * (total - known)]
        for row in rows:
            counts[row], latest[row], permanent[row] = 1, 0, ()
        return SampleMemory(self.policy, buffers, weights, tuple(counts), tuple(latest), tuple(permanent))

    def write(
        self, samples: dict[str, Tensor], rows: Sequence[int] | None = None, permanent: bool = False
    ) -> SampleMemory:
        """Add one sample to the objects `rows` (all by default), in the slot that the policy chooses.

        Args:
            samples: name -> ``(len(rows), ...)``.
            rows: objects that get a sample.
            permanent: whether the sample is never replaced.
        """
        rows = range(len(self)) if rows is None else rows
        if self.grows:
            return self._append(samples)
        slots = self.next_slots(rows, permanent)
        if max(slots, default=0) >= len(self.weights):
            return self._grown(max(slots) + 1).write(samples, rows, permanent)
        place = self._place(slots, rows)
        for name, sample in samples.items():
            self.buffers[name][place] = sample.to(self.buffers[name].dtype)
        counts, latest, kept = list(self.counts), list(self.latest), list(self.permanent)
        weights = self.weights.clone()
        for row, slot in zip(rows, slots, strict=True):
            own = weights[:, row].clone()
            own[list(kept[row])] = 0
            if permanent:
                kept[row] = (*kept[row], slot)
            else:
                own = self._reweigh(own, row, slot)
                latest[row] = slot
            own[list(kept[row])] = own.max()
            weights[:, row] = own
            counts[row] = max(counts[row], slot + 1)
        return SampleMemory(self.policy, self.buffers, weights, tuple(counts), tuple(latest), tuple(kept))

    def newest(self, *names: str) -> tuple[Tensor, ...]:
        """The newest sample of each object that is not permanent, from the buffers `names`, ``(B, ...)`` each."""
        place = self._place(self.latest, range(len(self)))
        return tuple(self.buffers[name][place] for name in names)

    def _place(self, slots: Sequence[int], rows: Sequence[int]) -> Any:
        """Index of one slot of each of the objects `rows`: the slot itself where all objects have it in common."""
        if len(set(slots)) == 1 and list(rows) == list(range(len(self))):
            return slots[0]
        return tuple(upload(torch.tensor([list(slots), list(rows)]), next(iter(self.buffers.values())).device))

    def _grown(self, slots: int) -> SampleMemory:
        """The memory with room for so many samples per object."""

        def grown(buffer: Tensor) -> Tensor:
            return torch.cat([buffer, buffer.new_zeros(slots - len(buffer), *buffer.shape[1:])])

        buffers = {name: grown(buffer) for name, buffer in self.buffers.items()}
        return replace(self, buffers=buffers, weights=grown(self.weights))

    def _append(self, samples: dict[str, Tensor]) -> SampleMemory:
        """Out-of-place growth by one slot, equal weights, for training."""
        buffers = {name: torch.cat([self.buffers[name], sample[None]]) for name, sample in samples.items()}
        weights = torch.cat([self.weights, torch.ones_like(self.weights[:1])])
        counts = tuple(count + 1 for count in self.counts)
        return replace(
            self, buffers=buffers, weights=weights, counts=counts, latest=tuple(count - 1 for count in counts)
        )

    def next_slots(self, rows: Sequence[int], permanent: bool = False) -> list[int]:
        """The slots that the next samples of the objects `rows` will be written to; permanent ones get a new slot."""
        return [self.counts[row] if permanent else self._slot(row) for row in rows]

    def _slot(self, row: int) -> int:
        """Next free slot; when full, the sample of smallest weight, except the first if its weight has a minimum."""
        kept = self.permanent[row]
        if self.counts[row] < self.policy.capacity + len(kept):
            return self.counts[row]
        spared = 1 if self.policy.minimum_first_weight > 0 else 0
        weights = self.weights[: self.counts[row], row].clone()
        weights[list(kept)] = torch.inf
        return int(weights[spared:].argmin()) + spared

    def _reweigh(self, weights: Tensor, row: int, slot: int) -> Tensor:
        """Temporal weights ``(S,)`` of one object after its sample in `slot` was written."""
        policy = self.policy
        if self.counts[row] - len(self.permanent[row]) == 1:
            if policy.equal_second:
                weights[slot] = 1
            else:
                weights /= 1 - policy.learning_rate
                weights[slot] = policy.learning_rate
        else:
            weights[slot] = weights[self.latest[row]] / (1 - policy.learning_rate)
        weights /= weights.sum()
        if weights[0] < policy.minimum_first_weight:
            weights /= policy.minimum_first_weight + weights[1:].sum()
            weights[0] = policy.minimum_first_weight
        return weights

    def drop(self, slots: Sequence[int]) -> SampleMemory:
        """The memory without the objects in `slots`."""
        kept = [row for row in range(len(self)) if row not in set(slots)]
        buffers = {name: buffer[:, kept].contiguous() for name, buffer in self.buffers.items()}
        counts, latest = tuple(self.counts[row] for row in kept), tuple(self.latest[row] for row in kept)
        permanent = tuple(self.permanent[row] for row in kept)
        return SampleMemory(self.policy, buffers, self.weights[:, kept].contiguous(), counts, latest, permanent)

    def to(self, device: torch.device | str) -> SampleMemory:
        """The same memory on `device`."""
        buffers = {name: buffer.to(device) for name, buffer in self.buffers.items()}
        return replace(self, buffers=buffers)
