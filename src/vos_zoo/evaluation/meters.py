"""Measurement of a tracker's time and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from vos_zoo.types import Frame


class Clock:
    """Wall time of the tracker: the time until its results arrive, without the time for reading frames."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def tracking(self) -> _Span:
        """Adds the time inside a `with` block."""
        return _Span(self, 1.0)

    def reading(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames, with the time for reading them subtracted."""
        iterator = iter(frames)
        while True:
            with _Span(self, -1.0):
                frame = next(iterator, None)
            if frame is None:
                return
            yield frame


class _Span:
    """Adds the time between enter and exit to a clock, with a sign."""

    def __init__(self, clock: Clock, sign: float) -> None:
        self.clock, self.sign = clock, sign

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.seconds += self.sign * (time.perf_counter() - self.began)


class MemoryMeter:
    """Peak memory since its creation: torch's allocation on GPUs if there was any, else the resident memory."""

    def __init__(self) -> None:
        self._before = {}
        for device in _cuda_devices():
            sys.modules["torch"].cuda.reset_peak_memory_stats(device)
            self._before[device] = sys.modules["torch"].cuda.memory_allocated(device)

    def peak(self) -> tuple[int, str]:
        """Bytes and "cuda" or "process"; the resident memory is the peak of the process's whole lifetime."""
        peaks = {device: sys.modules["torch"].cuda.max_memory_allocated(device) for device in _cuda_devices()}
        risen = [peak for device, peak in peaks.items() if peak > self._before.get(device, 0)]
        if risen:
            return max(risen), "cuda"
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process"


def _cuda_devices() -> range:
    """The GPUs in use; none before torch is imported and has used one."""
    torch = sys.modules.get("torch")
    return range(torch.cuda.device_count()) if torch is not None and torch.cuda.is_initialized() else range(0)
