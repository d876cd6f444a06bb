"""What a pretend device was asked to do: kernels, and waits of the host, with the line of our code that caused them."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType

_PACKAGE = "/vos_zoo/"
# fmt: off
FREE = frozenset({
    "view", "_unsafe_view", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "slice", "select",
    "split", "split_with_sizes", "unbind", "as_strided", "detach", "alias", "empty", "empty_like", "new_empty",
    "empty_strided", "new_empty_strided", "lift_fresh", "diagonal", "_reshape_alias", "movedim", "chunk",
    "unsafe_split", "set_", "resize_", "_local_scalar_dense", "is_pinned", "record_stream", "unfold",
    "_fused_sdp_choice", "_has_compatible_shallow_copy_type",
})
# fmt: on
"""Operators that launch no kernel."""


class DeviceLog:
    """Counts while it is on.

    Attributes:
        waits: (kind, lines of the package that led to it) -> times the host waited for the device.
        kernels: operator -> launches.
        lines: (operator, line) -> launches.
    """

    def __init__(self) -> None:
        self.on = False
        self.waits: Counter[tuple[str, str]] = Counter()
        self.kernels: Counter[str] = Counter()
        self.lines: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Count from zero."""
        self.waits.clear()
        self.kernels.clear()
        self.lines.clear()
        self.on = True

    def wait(self, kind: str) -> None:
        """The host waits."""
        if self.on:
            self.waits[kind, where()] += 1

    def kernel(self, name: str) -> None:
        """An operator is launched, or a copy."""
        if self.on and name not in FREE:
            self.kernels[name] += 1
            self.lines[name, where(depth=1)] += 1


def where(depth: int = 3) -> str:
    """The innermost lines of the package that are running, innermost first."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < depth:
        name = frame.f_code.co_filename
        if _PACKAGE in name and "/tests/" not in name:
            found.append(f"{name.split(_PACKAGE)[-1]}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)
