"""GIEL's memory: keys and values of frames, shared and per object, and the choice of support frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos_zoo.methods.giel.settings import GielTrackSettings
from vos_zoo.methods.giel.support import most_redundant, support_set
from vos_zoo.nn.precision import FORMATS, full_precision


@dataclass(frozen=True)
class SupportFrame:
    """One support frame.

    Attributes:
        number: index of the frame among the written ones.
        shared: name -> ``(B, ...)``, the same for all objects.
        owned: name -> ``(B, K, ...)``, per object; zero for objects that had not started yet.
    """

    number: int
    shared: Mapping[str, Tensor]
    owned: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in (*self.shared.values(), *self.owned.values()))

    def objects(self, slots: Sequence[int | None]) -> SupportFrame:
        """The frame with the objects `slots` in this order; None: an object without an entry, filled with zeros."""
        owned = {}
        for name, tensor in self.owned.items():
            empty = torch.zeros_like(tensor[:, 0])
            owned[name] = torch.stack([empty if slot is None else tensor[:, slot] for slot in slots], dim=1)
        return replace(self, owned=owned)

    def each(self, change: Callable[[Tensor], Tensor]) -> SupportFrame:
        """The same frame with a function applied to every tensor."""
        shared = {name: change(tensor) for name, tensor in self.shared.items()}
        return replace(self, shared=shared, owned={name: change(tensor) for name, tensor in self.owned.items()})

    def to(self, device: torch.device | str) -> SupportFrame:
        """The same frame on `device`."""
        return self.each(lambda tensor: tensor.to(device))

    def held_as(self, name: str) -> SupportFrame:
        """The same frame in the format of that name in `vos_zoo.nn.precision`; float32 leaves float64 as it is."""
        return self.each(full_precision if name == "float32" else lambda tensor: tensor.to(FORMATS[name]))


@dataclass(frozen=True)
class GielMemory:
    """The history of a video, or of the clips of a training batch.

    Attributes:
        settings: which frames are held and read; None (training): all.
        frames: ascending.
        starts: per object, the number of the frame in which it was given. These frames are the annotated ones.
        valid: bool ``(B, K)``, slots that hold an object: those whose mask was not empty where they started.
        complete: all of `valid` is true (known without asking the device).
        count: frames written so far.
        learnt: numbers of the frames in which masks of known objects were given; annotated ones, too.
    """

    settings: GielTrackSettings | None = None
    frames: tuple[SupportFrame, ...] = ()
    starts: tuple[int, ...] = ()
    valid: Tensor | None = None
    complete: bool = True
    count: int = 0
    learnt: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all frames held."""
        return sum(frame.nbytes for frame in self.frames)

    def start(self, slots: Sequence[int], present: Tensor) -> GielMemory:
        """Objects start with the frame that is written next.

        What is held of known ones is forgotten; frames older than every object are, too.

        Args:
            slots: new objects, or known ones that are started again.
            present: bool ``(B, K)`` of all objects then alive; read for `slots` only.
        """
        total = present.shape[1]
        starts = tuple(self.count if slot in slots else self.starts[slot] for slot in range(total))
        valid = present.clone()
        older = [slot for slot in range(total) if slot not in slots]
        if self.valid is not None and older:
            valid[:, older] = self.valid[:, older]
        kept = [frame for frame in self.frames if frame.number >= min(starts)]
        origin = [None if slot in slots else slot for slot in range(total)]
        frames = tuple(frame.objects(origin) for frame in kept)
        complete = torch.compiler.is_compiling() or bool(valid.all())  # a fixed graph is for objects that are there
        return replace(self, frames=frames, starts=starts, valid=valid, complete=complete)

    def learning(self) -> GielMemory:
        """The memory in which the frame that is written next is kept for good, and always in the support set."""
        return replace(self, learnt=(*self.learnt, self.count))

    def write(self, shared: Mapping[str, Tensor], owned: Mapping[str, Tensor]) -> GielMemory:
        """Add a frame; if the bound is exceeded, a predicted one is evicted.

        Args:
            shared: name -> ``(B, ...)``.
            owned: name -> ``(B, K, ...)``.
        """
        frame = SupportFrame(self.count, shared, owned)
        if self.settings is not None:
            frame = frame.held_as(self.settings.memory_dtype)
        frames = (*self.frames, frame)
        if self.settings is not None and self.settings.capacity is not None:
            pinned = self._pinned([own.number for own in frames])
            if len(frames) - len(pinned) > self.settings.capacity:
                gone = most_redundant([own.number for own in frames], pinned)
                frames = tuple(own for own in frames if own.number != gone)
        return replace(self, frames=frames, count=self.count + 1)

    def _pinned(self, numbers: Sequence[int]) -> list[int]:
        """The frames that are never evicted."""
        assert self.settings is not None
        given = [number for number in numbers if number in self.starts]
        if self.settings.keep == "first":
            given = given[:1]
        return sorted({*(given if self.settings.always_first else ()), *self.learnt}.intersection(numbers))

    def support(self, since: int = 0) -> tuple[list[SupportFrame], int]:
        """The support set of the next frame, and the position of its first key.

        Args:
            since: frames with smaller numbers do not count.
        """
        frames = [frame for frame in self.frames if frame.number >= since]
        if self.settings is not None:
            rule = self.settings
            learnt = {frame.number for frame in frames}.intersection(self.learnt)
            numbers = [frame.number for frame in frames if frame.number not in learnt]
            chosen = support_set(
                numbers,
                [number for number in numbers if number in self.starts],
                max(1, rule.support_size - len(learnt)),
                rule.segment_pick,
                rule.support_mode,
                rule.always_first,
                rule.keep,
            )
            frames = [frame for frame in frames if frame.number in learnt.union(chosen)]
        first = next((place for place, frame in enumerate(frames) if frame.number in self.starts), 0)
        return frames, first

    def for_reading(self) -> GielMemory | None:
        """The support frames of the next frame, numbered from 0; None where every object has its own."""
        frames, first = self.support()
        if self.settings is None or any("key" in frame.owned for frame in frames):
            return None
        everything = replace(
            self.settings, support_mode="sampled", segment_pick="last", support_size=len(frames), capacity=None
        )
        read = tuple(
            SupportFrame(number, frame.shared, {"value": frame.owned["value"]}) for number, frame in enumerate(frames)
        )
        return GielMemory(everything, read, (first,) * len(self.starts), self.valid, self.complete)

    def references(self) -> tuple[tuple[tuple[int, ...], ...], *tuple[Tensor, ...]]:
        """What objects looked like where they were given, of the frames that are still held.

        Returns:
            The objects given in each of these frames; then the frames' "key" ``(B, C, h, w)`` and "cover"
            ``(B, K, P)``, in turn.
        """
        frames = [frame for frame in self.frames if frame.number in self.starts]
        slots = tuple(
            tuple(slot for slot, start in enumerate(self.starts) if start == frame.number) for frame in frames
        )
        return slots, *(tensor for frame in frames for tensor in (frame.shared["key"], frame.owned["cover"]))

    def drop(self, slots: Sequence[int]) -> GielMemory:
        """The memory without the objects in `slots`; without any object nothing is held."""
        kept = [slot for slot in range(len(self.starts)) if slot not in set(slots)]
        if not kept or self.valid is None:
            return GielMemory(self.settings)
        starts, valid = tuple(self.starts[slot] for slot in kept), self.valid[:, kept]
        frames = tuple(frame.objects(kept) for frame in self.frames if frame.number >= min(starts))
        return replace(self, frames=frames, starts=starts, valid=valid, complete=bool(valid.all()))

    def to(self, device: torch.device | str) -> GielMemory:
        """The same memory on `device`."""
        valid = None if self.valid is None else self.valid.to(device)
        return replace(self, frames=tuple(frame.to(device) for frame in self.frames), valid=valid)
