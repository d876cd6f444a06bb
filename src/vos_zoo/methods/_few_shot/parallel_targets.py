"""Two parallel targets whose mask encodings are fused: an inductive and a transductive branch (JOINT, sec. 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from vos_zoo.engine.memory import Memory, for_reading
from vos_zoo.methods._few_shot.target import LearnerTrackSettings, SeenT, Target

InductiveT = TypeVar("InductiveT", bound=Memory)
TransductiveT = TypeVar("TransductiveT", bound=Memory)


@dataclass(frozen=True)
class ParallelMemory(Generic[InductiveT, TransductiveT]):
    """The memories of both branches."""

    inductive: InductiveT
    transductive: TransductiveT

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.inductive.nbytes + self.transductive.nbytes

    def drop(self, slots: Sequence[int]) -> ParallelMemory[InductiveT, TransductiveT]:
        """The memory without the objects in `slots`."""
        return ParallelMemory(self.inductive.drop(slots), self.transductive.drop(slots))

    def for_reading(self) -> ParallelMemory[InductiveT, TransductiveT] | None:
        """What reading needs of both."""
        inductive, transductive = for_reading(self.inductive), for_reading(self.transductive)
        if inductive is None or transductive is None:
            return None
        return ParallelMemory(inductive, transductive)

    def to(self, device: torch.device | str) -> ParallelMemory[InductiveT, TransductiveT]:
        """The same memory on `device`."""
        return ParallelMemory(self.inductive.to(device), self.transductive.to(device))


class ParallelTargets(Target[ParallelMemory[InductiveT, TransductiveT], SeenT]):
    """Runs two targets on the same samples and fuses what they read.

    Args:
        inductive: fitted to the samples (the few-shot branch).
        transductive: carries the samples' encodings to the new frame (the attention branch).
        fuse: both readouts ``(B, T, 1, D, h, w)`` -> one of the same shape.
    """

    def __init__(
        self,
        inductive: Target[InductiveT, SeenT],
        transductive: Target[TransductiveT, SeenT],
        fuse: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        self.inductive = inductive
        self.transductive = transductive
        self.fuse = fuse

    def project_features(self, f16: Tensor) -> dict[str, Tensor]:
        """What both need of the pixels."""
        return {**self.inductive.project_features(f16), **self.transductive.project_features(f16)}

    def sample(self, features: SeenT) -> dict[str, Tensor]:
        """What both store of the pixels."""
        return {**self.inductive.sample(features), **self.transductive.sample(features)}

    def new_memory(self, settings: LearnerTrackSettings | None) -> ParallelMemory[InductiveT, TransductiveT]:
        """Empty memory of both."""
        return ParallelMemory(self.inductive.new_memory(settings), self.transductive.new_memory(settings))

    def initialise(
        self, memory: ParallelMemory[InductiveT, TransductiveT], sample: Mapping[str, Tensor], new: Sequence[int]
    ) -> ParallelMemory[InductiveT, TransductiveT]:
        """Start the objects `new` in both."""
        return ParallelMemory(
            self.inductive.initialise(memory.inductive, sample, new),
            self.transductive.initialise(memory.transductive, sample, new),
        )

    def read(self, memory: ParallelMemory[InductiveT, TransductiveT], features: SeenT) -> Tensor:
        """Fused mask encodings ``(B, T, 1, D, h/16, w/16)``."""
        return self.fuse(
            self.inductive.read(memory.inductive, features), self.transductive.read(memory.transductive, features)
        )

    def fitted(self, memory: ParallelMemory[InductiveT, TransductiveT]) -> Tensor | None:
        """That of the inductive branch."""
        return self.inductive.fitted(memory.inductive)

    def update(
        self,
        memory: ParallelMemory[InductiveT, TransductiveT],
        sample: Mapping[str, Tensor],
        rows: Sequence[int] | None,
        given: bool = False,
    ) -> ParallelMemory[InductiveT, TransductiveT]:
        """Both learn the sample."""
        return ParallelMemory(
            self.inductive.update(memory.inductive, sample, rows, given),
            self.transductive.update(memory.transductive, sample, rows, given),
        )
