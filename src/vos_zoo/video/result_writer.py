"""The interface of everything that results are streamed into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from vos_zoo.types import Frame, LabelMap


class ResultWriter(ABC):
    """Writes labelled frames one by one; as a context manager, a normal exit finishes and an exception discards."""

    @abstractmethod
    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Write frame `index` (uint8 RGB ``(H, W, 3)``) with its label map (uint8 ``(H, W)``)."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the output and rename it."""

    @abstractmethod
    def discard(self) -> None:
        """Stop without completing; partial files are removed."""

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or discard on an exception."""
        if kind is None:
            self.finish()
        else:
            self.discard()
