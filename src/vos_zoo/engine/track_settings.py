"""Settings of an inference run that every method has."""

from __future__ import annotations

from dataclasses import dataclass

from vos_zoo.nn.precision import FORMATS
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class TrackSettings:
    """Settings of an inference run that every method has; methods derive from it and add their own.

    Attributes:
        group_size: at most so many objects go through the network together (bounds peak memory).
        precision: "float32", "bf16" or "fp16": the number format of the networks; what stays in float32 says
            `vos_zoo.nn.precision`.
    """

    group_size: int = 8
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise UsageError(f"track.group_size is {self.group_size}; it must be at least 1")
        if self.precision not in FORMATS:
            raise UsageError(f"track.precision is {self.precision!r}; choose {', '.join(FORMATS)}")
