"""Speed, waits and peak memory of tracking and training on a device; `benchmarks/gpu.py` runs this on a GPU."""

from __future__ import annotations

import sys
import time
import warnings
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.contract_settings import build, settings_of

from benchmarks.common import random_model, stripes, video
from benchmarks.gpu_parity import training_setup
from benchmarks.training import train_step
from vos_zoo.config.layers import to_plain
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation.meters import MemoryMeter
from vos_zoo.evaluation.speed import measure_speed, wait_for_gpu
from vos_zoo.model import VOSModel
from vos_zoo.nn.precision import number_format

MAX_WAITS = 2
"""Times the host may wait per frame of a running video; `tests/devices/test_budgets.py` counts them on a CPU."""


class Meter:
    """Seconds and peak bytes of what runs inside."""

    def __enter__(self) -> Meter:
        wait_for_gpu()
        self.memory = MemoryMeter()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        wait_for_gpu()
        self.seconds = time.perf_counter() - self.began
        self.peak = on_gpu(*self.memory.peak())


def on_gpu(peak: int, kind: str) -> int | None:
    """Peak bytes on a GPU; None if they are of the process."""
    return peak if kind == "cuda" else None


def model_for(method: str, small: bool, device: torch.device) -> VOSModel:
    """The method as published with random weights, or a small one."""
    return build(method).eval().to(device) if small else random_model(method, device)


def tracking(
    method: str,
    objects: int,
    precision: str,
    small: bool,
    warm_up: int,
    frames: int,
    device: torch.device,
    **options: Any,
) -> dict[str, Any]:
    """Frames per second and peak memory, as `vos-zoo benchmark` measures them."""
    model = model_for(method, small, device)
    pictures = video(5, 64, 96) if small else video(min(warm_up + frames, 30))
    stream = list(islice(cycle(pictures), 8 if small else warm_up + frames))
    prompt = stripes(objects, *pictures[0].shape[:2], share=0.6)
    row = measure_speed(model, stream, prompt, 4 if small else warm_up, precision=precision, **options)
    return {"frames_per_second": row.fps, "peak_bytes": on_gpu(row.peak_memory, row.memory_kind)}


def waits(method: str, objects: int, small: bool, device: torch.device, frames: int = 20) -> dict[str, Any]:
    """Times the host waits per frame of a running video, as CUDA reports them; None on a CPU."""
    model = model_for(method, small, device)
    pictures = video(frames + 12, 64, 96) if small else video(frames + 12)
    engine = model.propagator(precision="bf16")
    prompt = stripes(objects, *pictures[0].shape[:2], share=0.6)
    for t, picture in enumerate(pictures[:12]):
        for result in engine.push(picture, prompt if t == 0 else None):
            result.label_map()
    if device.type != "cuda":
        return {"per_frame": None, "passed": True}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for picture in pictures[12:]:
                for result in engine.push(picture):
                    result.label_map()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)})
    count = sum("synchroniz" in str(w.message) for w in caught) / frames
    return {"per_frame": count, "lines": places, "passed": count <= MAX_WAITS}


def training(method: str, precision: str, small: bool, batch: int, steps: int, device: torch.device) -> dict[str, Any]:
    """Clips per second and peak memory of training steps at the recipe's crop."""
    model, clips, _ = training_setup(method, small, batch)
    model.setup("fit")
    model.to(device)
    moved = clips.to(device)
    with number_format(device, "tf32" if precision == "tf32" else "float32"):  # for the backward pass
        train_step(model, moved, precision)
        with Meter() as meter:
            for _ in range(steps):
                train_step(model, moved, precision)
    return {"batch": batch, "clips_per_second": steps * batch / meter.seconds, "peak_bytes": meter.peak}


def data_wait(
    method: str, small: bool, batch: int, steps: int, workers: int, davis: str | None, device: torch.device
) -> dict[str, Any]:
    """Training from the loader in bf16: share of the time that waits for generated (or DAVIS) clips."""
    model, _, config = training_setup(method, small, 1)
    model.setup("fit")
    model.to(device)
    size = list(settings_of(config.method).canvas) if small else list(config.data.crop.size)
    source = {"name": "davis", "root": davis} if davis else {"name": "synthetic"}
    plain = {**to_plain(config.data), **source, "workers": workers, "batch_size": batch}
    plain |= {"batches_per_epoch": steps + 1, "crop": {**plain["crop"], "size": size}, "mixture": {}}
    wait = work = 0.0
    batches = iter(VOSDataModule(**plain).train_dataloader())
    for number in range(steps + 1):
        with Meter() as loading:
            clips = next(batches)
        with Meter() as step:
            train_step(model, clips.to(device), "bf16")
        if number:  # the first batch waits for the loader's processes to start
            wait, work = wait + loading.seconds, work + step.seconds
    return {"data": source["name"], "workers": workers, "data_wait": wait / (wait + work)}
