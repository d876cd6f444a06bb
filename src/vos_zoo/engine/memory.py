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
