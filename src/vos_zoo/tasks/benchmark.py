"""`vos-zoo benchmark`: speed and memory of weights on generated video, each case in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vos_zoo.config.layers import RunConfig
from vos_zoo.config.settings.generated import SyntheticSettings
from vos_zoo.console import say
from vos_zoo.data.synthetic.videos import SyntheticDataset
from vos_zoo.evaluation.fingerprint import named_device, package_versions
from vos_zoo.evaluation.speed import SpeedRow, measure_speed
from vos_zoo.evaluation.speed_record import SpeedRecord, write_speed_record
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.revision import git_revision, weights_digest
from vos_zoo.tasks.evaluate import load_model
from vos_zoo.types import VOSError


def run_benchmark(
    *,
    configs: Mapping[str, RunConfig],
    objects: Sequence[int],
    size: int,
    warm_up: int,
    frames: int,
    output: str | None = None,
) -> int:
    """Measure all weights with all numbers of objects, and write a record for each of the weights.

    Args:
        configs: weights as named on the command line -> their configuration.
        objects: numbers of objects.
        size: height of the frames; their width is 16/9 of it.
        warm_up: frames before the measurement.
        frames: frames measured.
        output: folder of the records; a new one in ``runs`` unless told.
    """
    stamp = datetime.now().astimezone()
    folder = Path(output) if output else Path("runs") / f"benchmark-{stamp:%Y%m%d-%H%M%S}"
    refuse_overwriting([folder], list(configs))
    for name, config in configs.items():
        rows = []
        for count in objects:
            facts, row = apart(config, name, count, size, warm_up, frames)
            rows.append(row)
            say(
                f"{name}, {count} object{'s' if count > 1 else ''}: {row.fps:.2f} frames per second, "
                f"{row.peak_memory / 2**20:.0f} MiB ({row.memory_kind})"
            )
        record = SpeedRecord(**facts, rows=tuple(rows), time=stamp.isoformat(timespec="seconds"))
        write_speed_record(record, folder / _file_name(name))
    say(f"device: {record.device}, {record.threads} threads; frames {record.width} x {record.height}")
    say(f"results: {folder} (vos-zoo leaderboard {folder.parent} shows them)")
    return 0


def _file_name(weights: str) -> str:
    """A folder's name for weights."""
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in weights.strip("./")) or "weights"


def apart(
    config: RunConfig, weights: str, objects: int, size: int, warm_up: int, frames: int
) -> tuple[dict[str, Any], SpeedRow]:
    """`measure_case` in a process of its own, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measure_case, config, weights, objects, size, warm_up, frames).result()
        except BrokenProcessPool as error:
            raise VOSError(
                f"{weights} with {objects} objects: the process was killed, probably for memory; lower --size or "
                "--objects"
            ) from error


def measure_case(
    config: RunConfig, weights: str, objects: int, size: int, warm_up: int, frames: int
) -> tuple[dict[str, Any], SpeedRow]:
    """Measure weights with a number of objects in this process; returns the facts of a record and its row."""
    model, options = load_model(config, weights)
    width = round(size * 16 / 9 / 2) * 2
    settings = SyntheticSettings(
        size=(size, width), frames=warm_up + frames, min_objects=objects, max_objects=objects, late_objects=0.0
    )
    video = SyntheticDataset(videos=1, split="test", settings=settings)[0]
    prompt = video.labels(0)
    assert prompt is not None
    images = [video.frame(t) for t in range(len(video))]
    row = measure_speed(model, images, prompt, warm_up, **options)
    facts = {
        "source": weights,
        "method": model.method,
        "weights": weights_digest(model.state_dict()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "height": size,
        "width": width,
        "precision": model.track_settings(**options).precision,
        "device": named_device(model),
        "threads": torch.get_num_threads(),
        "git": git_revision(),
        "versions": package_versions(),
    }
    return facts, row
