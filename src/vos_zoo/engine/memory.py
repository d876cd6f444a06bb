"""What the engine asks of a method's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import torch


class Memory(Protocol):
    """What the engine asks of a method's memory; everything else is the method's own.

    A memory belongs to one video. A verb that changes it (`initialise`, `update`, `drop`) invalidates it: only what
    the verb returns is valid afterwards, for its buffers may be the old ones, written in place. To return to an earlier
    state, keep a `copy.deepcopy`. Reading changes nothing, and the unroll of a training step writes nothing in place.

    With a method ``for_reading()`` reading can be compiled, see `for_reading`.
    """

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def drop(self, slots: Sequence[int]) -> Self:
        """The memory without the objects in `slots`; the remaining objects are re-indexed."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same memory on `device`."""
        ...


MemoryT = TypeVar("MemoryT", bound=Memory)
"""The memory of a method."""


def for_reading(memory: MemoryT) -> MemoryT | None:
    """What reading needs of a memory, with nothing that changes from write to write but the tensors' values.

    It is of the memory's type, reads the same, and is never written. Numbers of frames and counts of writes are
    replaced by what depends on the layout alone, for a compiled graph holds all numbers as constants.

    Args:
        memory: with a method of this name and without arguments, else None.
    """
    found: MemoryT | None = getattr(memory, "for_reading", lambda: None)()
    return found
