"""PCVOS's memory: a bank of frames, and its progressive reading for a clip (sec. 3.2, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vos_zoo.engine.evidence import reference_margins
from vos_zoo.methods.pcvos.frame_bank import BankPolicy, FrameBank
from vos_zoo.methods.pcvos.matching import Matches, gather_values, match, similarities
from vos_zoo.methods.pcvos.settings import PCVOSTrackSettings
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.tensors import constant, seen, upload

CPU_BYTES, CUDA_BYTES = 64 << 20, 256 << 20
"""Bytes of similarities computed at a time."""
MIN_ROWS = 64
"""Minimum number of queries per block; for a very long memory its frames are divided instead."""


@dataclass(frozen=True)
class ReadPolicy:
    """How the memory is read.

    Attributes:
        top_k: number of positions that a query reads; None: all of them.
        segment: frames F after which a clip's own keys and readouts are added to the memory; None: never.
        block_bytes: maximum bytes of similarities at a time; None: chosen for the device.
    """

    top_k: int | None = None
    segment: int | None = None
    block_bytes: int | None = None


@dataclass(frozen=True)
class ClipMemory:
    """Keys and values of the frames that queries are matched with.

    Attributes:
        bank: "keys" ``(S, B, P, C)``, shared by all objects, and "values" ``(S, B, K, P, C')``; P positions in a frame;
            "cover" ``(S, B, K, P)``, the share of each position that an object covers.
        policy: how they are read.
    """

    bank: FrameBank = field(default_factory=FrameBank)
    policy: ReadPolicy = field(default_factory=ReadPolicy)

    @classmethod
    def empty(cls, settings: PCVOSTrackSettings | None) -> ClipMemory:
        """An empty memory; `settings` None: all positions are read, as in training."""
        if settings is None:
            return cls()
        segment = settings.segment if settings.progressive else None
        budget = None if settings.block_megabytes is None else settings.block_megabytes << 20
        policy = ReadPolicy(settings.top_k, segment, budget)
        return cls(FrameBank(BankPolicy(settings.capacity)), policy)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.bank.nbytes

    def drop(self, slots: Sequence[int]) -> ClipMemory:
        """The memory without the objects in `slots`."""
        return replace(self, bank=self.bank.drop(slots))

    def for_reading(self) -> ClipMemory:
        """Its bank for reading."""
        return replace(self, bank=self.bank.for_reading())

    def to(self, device: torch.device | str) -> ClipMemory:
        """The same memory on `device`."""
        return replace(self, bank=self.bank.to(device))

    def write(
        self,
        keys: Tensor,
        values: Tensor,
        new: Sequence[int] = (),
        cover: Tensor | None = None,
        given: bool = False,
    ) -> ClipMemory:
        """Store a frame.

        Args:
            keys: ``(B, P, C)``.
            values: ``(B, K, P, C')`` of all objects.
            new: objects that start here; their first frame is pinned.
            cover: share of each position that an object covers, ``(B, K, P)``, for `margins`; in all frames or in none.
            given: whether masks of known objects were given in it: it is kept for good.
        """
        owned = {"values": values} if cover is None else {"values": values, "cover": cover}
        return replace(self, bank=self.bank.write({"keys": keys}, owned, new, pinned=bool(new), permanent=given))

    def references(self) -> tuple[tuple[tuple[int, ...], ...], Tensor, Tensor, *tuple[int, ...]]:
        """What objects looked like where they were given, for `margins`: `slots`, `keys`, `covers` and `frames`."""
        bank = self.bank
        starts = sorted(set(bank.starts) & set(bank.numbers))
        slots = tuple(tuple(slot for slot, own in enumerate(bank.starts) if own == start) for start in starts)
        return slots, bank.shared["keys"], bank.owned["cover"], *(bank.numbers.index(start) for start in starts)

    def read(self, queries: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """Read the memory for frames of one clip.

        Args:
            queries: keys of the frames, ``(B, T, P, C)``.
            positions: index of each frame in its clip; None: the first T.

        Returns:
            Readouts ``(B, K, T, P, C')`` in the format of the values.
        """
        with in_full_precision(queries):
            if self.policy.top_k is None:
                return self._read_all(queries)
            assert queries.shape[0] == 1, "the most similar positions are read for one video at a time"
            positions = list(range(queries.shape[1])) if positions is None else list(positions)
            return self._read_progressively(queries[0], positions, self.policy.top_k)[None]

    def _read_all(self, queries: Tensor) -> Tensor:
        """Softmax over every position that an object may use, with gradients."""
        bank = self.bank
        keys, values = bank.stored("keys"), bank.stored("values")
        scores = similarities(queries.flatten(1, 2), keys.transpose(0, 1).flatten(1, 2))
        readouts: list[Tensor | None] = [None] * bank.objects
        for group in bank.groups():
            used = bank.used_by(group[0])
            if all(used):
                weights = scores.softmax(dim=-1)
            else:
                hidden = ~upload(torch.tensor(used), keys.device)[:, None].expand(-1, keys.shape[2]).flatten()
                weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
            for slot in group:
                own = values[:, :, slot].transpose(0, 1).flatten(1, 2)
                readouts[slot] = (weights.to(own.dtype) @ own).unflatten(1, queries.shape[1:3])
        return torch.stack([readout for readout in readouts if readout is not None], dim=1)

    def _read_progressively(self, queries: Tensor, positions: Sequence[int], count: int) -> Tensor:
        """Softmax over the most similar positions; queries ``(T, P, C)``, readouts ``(K, T, P, C')``.

        The readout from the bank does not depend on the clip: all similarities with the bank are computed first.
        The few frames that the clip adds (the last of each segment) are matched separately, and the best of both
        are the best of all.
        """
        bank, segment = self.bank, self.policy.segment
        values = bank.owned["values"][:, 0]
        groups, outside = bank.groups(), values.shape[:3].numel()
        found = list(zip(*(m.split(queries.shape[1]) for m in self._match(queries.flatten(0, 1), count)), strict=True))
        readouts = values.new_empty(bank.objects, *queries.shape[:2], values.shape[-1])
        keys: list[Tensor] = []
        extra: list[Tensor] = []
        for t, (query, position) in enumerate(zip(queries, positions, strict=True)):
            joined = (
                []
                if segment is None
                else [p for p in positions[:t] if p % segment == segment - 1 and p // segment < position // segment]
            )
            own = found[t]
            if joined:
                for source in [positions.index(p) for p in joined[len(keys) :]]:
                    keys.append(queries[source])
                    extra.append(readouts[:, source])
                fresh = match(query, torch.cat(keys), _rows(range(len(keys)), values, outside), count)
                own = tuple(matches.join(fresh, count) for matches in own)
            more = torch.stack(extra).flatten(0, 2) if joined else None
            for matches, group in zip(own, groups, strict=True):
                weights = matches.scores.softmax(dim=1).to(values.dtype)
                for slot in group:
                    rows = matches.positions + slot * values.shape[2]
                    readouts[slot, t] = gather_values(values.flatten(0, 2), more, rows, weights)
        return readouts

    def _match(self, queries: Tensor, count: int) -> list[Matches]:
        """The best positions of queries ``(Q, C)``, for each group of objects that started together.

        A group reads from its start on, so frames are processed from the newest to the oldest; the best matches when
        a group's start is reached are that group's result.
        """
        bank = self.bank
        keys, values = bank.shared["keys"][:, 0], bank.owned["values"][:, 0]
        rows, frames = self._block(len(bank), keys)
        frame_slots, fresh = bank.frame_slots, []
        for group in reversed(bank.groups()):
            used = bank.used_by(group[0])
            fresh.append([slot for slot in frame_slots if used[slot]])
            frame_slots = [slot for slot in frame_slots if not used[slot]]
        blocks = [
            [(seen(keys, block).flatten(0, 1), _rows(block, values)) for block in _pieces(own, frames)] for own in fresh
        ]
        found: list[list[Matches]] = [[] for _ in blocks]
        for some in queries.split(rows):
            best: Matches | None = None
            for own, results in zip(blocks, found, strict=True):
                for block, positions in own:
                    matches = match(some, block, positions, count)
                    best = matches if best is None else best.join(matches, count)
                assert best is not None, "an object has no first frame"
                results.append(best)
        return [Matches.stack(results) for results in found[::-1]]

    def _block(self, frames: int, keys: Tensor) -> tuple[int, int]:
        """Queries and frames per block of similarities, within the budget."""
        budget = self.policy.block_bytes or (CPU_BYTES if keys.device.type == "cpu" else CUDA_BYTES)
        rows = max(MIN_ROWS, budget // (4 * frames * keys.shape[1]))
        return rows, max(1, budget // (4 * rows * keys.shape[1]))


def _pieces(frame_slots: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`size` frame slots at a time."""
    return (frame_slots[start : start + size] for start in range(0, len(frame_slots), size))


def _rows(frame_slots: Sequence[int], values: Tensor, start: int = 0) -> Tensor:
    """Rows of the first object's values in some frame slots, int64 ``(n P,)``; values ``(S, K, P, C)``."""
    _, objects, size, _ = values.shape
    frame = torch.arange(size, device=values.device)
    numbers = constant(tuple(frame_slots), values.device, torch.int64)[:, None]
    return (start + numbers * (objects * size) + frame).flatten()


def margins(
    queries: Tensor, found: Tensor, slots: Sequence[Sequence[int]], keys: Tensor, covers: Tensor, *frames: int
) -> Tensor:
    """Matching margins ``(1, F, K)`` of objects against the frames where they were given; NaN where these are gone.

    Args:
        queries: keys of F new frames, ``(1, F, P, C)``.
        found: share of each position that the objects' new masks cover, ``(1, F, K, P)``.
        slots: the objects that were given in each of some frames of a bank.
        keys: of the bank, ``(S, 1, P, C)``.
        covers: share of each position that the objects cover in the bank's frames, ``(S, 1, K, P)``.
        frames: their places in the bank.
    """
    return reference_margins(queries, found, slots, ((keys[frame], covers[frame]) for frame in frames), _compared)


def _compared(keys: Tensor, queries: Tensor) -> Tensor:
    """Similarities ``(F, Q, P)`` of queries ``(F, Q, C)`` with keys ``(P, C)``."""
    return similarities(queries.flatten(0, 1), keys).unflatten(0, queries.shape[:2])
