"""Speed and memory of a model on a stream: frames per second without warm-up and without drawing the frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vos_zoo.evaluation.meters import MemoryMeter
from vos_zoo.types import Frame, LabelMap


@dataclass(frozen=True)
class SpeedRow:
    """A measurement.

    Attributes:
        objects: tracked objects.
        warm_up: frames before the measurement.
        frames: frames measured.
        seconds: wall time of these, from the frame to its label map.
        peak_memory: bytes; of the whole process where `memory_kind` says so.
        memory_kind: "cuda" (allocated on the GPU) or "process" (resident memory).
    """

    objects: int
    warm_up: int
    frames: int
    seconds: float
    peak_memory: int
    memory_kind: str

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


def time_stream(
    engine: Any,
    frames: Iterable[Frame],
    prompt: LabelMap,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of a stream behind its warm-up, from frames to label maps; a GPU is synchronised at both ends.

    Args:
        engine: a `Propagator` at its start.
        frames: uint8 RGB ``(H, W, 3)``; the time of drawing them does not count.
        prompt: label map of the first frame, uint8 ``(H, W)``.
        warm_up: frames that fill the memory before the measurement.
        clock: what seconds are.
    """
    seconds = 0.0
    for index, frame in enumerate(frames):
        wait_for_gpu()
        began = clock()
        for result in engine.push(frame, prompt if index == 0 else None):
            result.label_map()
        wait_for_gpu()
        seconds += clock() - began if index >= warm_up else 0.0
    return seconds


def measure_speed(model: Any, frames: list[Frame], prompt: LabelMap, warm_up: int, **options: Any) -> SpeedRow:
    """The speed and peak memory of a model on frames.

    Args:
        model: a `VOSModel` on its device.
        frames: uint8 RGB ``(H, W, 3)``, more than `warm_up`.
        prompt: label map of the first frame, uint8 ``(H, W)``.
        warm_up: frames before the measurement.
        options: inference settings.
    """
    meter = MemoryMeter()
    seconds = time_stream(model.propagator(**options), frames, prompt, warm_up)
    memory, kind = meter.peak()
    return SpeedRow(len({*prompt.flat} - {0}), warm_up, len(frames) - warm_up, seconds, memory, kind)


def wait_for_gpu() -> None:
    """Wait until a GPU has done what it was asked to do, if there is one in use."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
