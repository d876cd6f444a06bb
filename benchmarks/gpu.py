"""Everything there is to know about a GPU, by one command, within a given time.

    python benchmarks/gpu.py --minutes 12             # on the first CUDA device
    python benchmarks/gpu.py --device cpu --small     # the same code on small networks: a rehearsal
    python benchmarks/gpu.py --table                  # the results so far as a table

In this order: golden sequences and a training step against the CPU; frames per second with 1 and 5 objects in float32,
TF32 and bf16, compiled or not; how often the host waits, against the budget; throughput of training at the recipe's
crop, and its share of waiting for the loader. Each has its share of the time. Results are written after every case to a
JSON file named after the device; the same command measures what is missing. Run so far on CPUs only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import gpu_parity, gpu_speed
from vos_zoo.files.atomic import write_text
from vos_zoo.registry import available_models

SHARES = {"parity": 0.3, "step": 0.1, "tracking": 0.35, "waits": 0.1, "training": 0.15}
"""Share of the time per kind of case, in the order of measuring; what one leaves is for those after it."""


@dataclass(frozen=True)
class Case:
    """One measurement: its kind, its name, and what measures it."""

    kind: str
    name: str
    run: Callable[[], dict[str, Any]]


def cases(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """All measurements, in order."""
    methods, small = options.models.split(","), options.small
    for method in methods:
        yield Case("parity", method, partial(gpu_parity.track_parity, method, small, Path(options.reference), device))
    for method in methods:
        yield Case("step", method, partial(gpu_parity.step_parity, method, small, device))
    speed = partial(gpu_speed.tracking, small=small, warm_up=options.warm_up, frames=options.frames, device=device)
    for compiled in (False, True) if device.type == "cuda" else (False,):
        for precision in options.precisions.split(","):
            for method in methods:
                for objects in (1, 5):
                    name = f"{method}, {objects} objects, {precision}{' compiled' if compiled else ''}"
                    yield Case("tracking", name, partial(speed, method, objects, precision, compile=compiled))
    for method in methods:
        for objects in (1, 5):
            name = f"{method}, {objects} objects"
            yield Case("waits", name, partial(gpu_speed.waits, method, objects, small, device))
    for precision in ("bf16", "tf32"):
        for method in methods:
            train = partial(gpu_speed.training, method, precision, small, options.batch, options.steps, device)
            yield Case("training", f"{method}, {precision}", train)
    for method in methods:
        words = (method, small, options.batch, options.steps, options.workers, options.davis, device)
        yield Case("training", f"{method}, loader", partial(gpu_speed.data_wait, *words))


def measure(options: argparse.Namespace, device: torch.device, path: Path) -> dict[str, Any]:
    """The results, old and new; the file is written after every case."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    facts = {"device": device_name(device), "torch": torch.__version__, "small": options.small}
    if any(found.get(name) != value for name, value in facts.items()):
        found = {**facts, "cases": {}}
    deadline, began = dict(_deadlines(60 * options.minutes)), time.monotonic()
    for case in cases(options, device):
        key = f"{case.kind}: {case.name}"
        if key in found["cases"] or time.monotonic() - began > deadline[case.kind]:
            continue
        try:
            result = case.run()
        except torch.OutOfMemoryError as error:
            result = {"passed": False, "error": str(error).splitlines()[0]}
        found["cases"][key] = result
        write_text(path, json.dumps(found, indent=2) + "\n")
        sys.stdout.write(f"{key}: {json.dumps(result)}\n")
    return found


def _deadlines(seconds: float) -> Iterator[tuple[str, float]]:
    """Seconds from the start after which no case of a kind begins."""
    end = 0.0
    for kind, share in SHARES.items():
        end += share * seconds
        yield kind, end


def device_name(device: torch.device) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def passed(found: Mapping[str, Any]) -> bool:
    """Whether every comparison in the results passed."""
    own = found.get("passed", True) is True
    return own and all(passed(part) for part in found.values() if isinstance(part, Mapping))


def table(found: Mapping[str, Any]) -> str:
    """Frames per second and peak memory as a Markdown table: a row per method and number of objects."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for key, value in found["cases"].items():
        kind, _, name = key.partition(": ")
        if kind == "tracking" and "frames_per_second" in value:
            method, objects, precision = name.split(", ")
            peak = value["peak_bytes"]
            memory = "" if peak is None else f" ({peak / 2**30:.1f} GiB)"
            cell = f"{value['frames_per_second']:.0f}{memory}"
            rows.setdefault((method, objects.split()[0]), {})[precision] = cell
    columns = list(dict.fromkeys(precision for row in rows.values() for precision in row))
    lines = [f"| {found['device']} | objects | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    lines += [f"| {m} | {n} | {' | '.join(row.get(c, '') for c in columns)} |" for (m, n), row in rows.items()]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Measure, print a line per case, write JSON; 1 if a comparison failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=12, help="no case starts after this time")
    parser.add_argument("--small", action="store_true", help="small networks and frames, no golden files")
    parser.add_argument("--models", default=",".join(available_models()), help="methods, with commas")
    parser.add_argument("--precisions", default="bf16,float32,tf32", help="formats of tracking, with commas")
    parser.add_argument("--batch", type=int, default=4, help="clips per training step")
    parser.add_argument("--steps", type=int, default=10, help="training steps that are timed")
    parser.add_argument("--warm-up", type=int, default=110, help="frames tracked before: all memories are full then")
    parser.add_argument("--frames", type=int, default=60, help="frames that are timed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="loader processes")
    parser.add_argument("--davis", help="train the loader's part on DAVIS 2017 in this folder, not on generated videos")
    parser.add_argument("--table", action="store_true", help="print the results so far as a table")
    default = Path(__file__).resolve().parents[2] / "shared" / "reference"
    parser.add_argument("--reference", default=os.environ.get("VOS_ZOO_REFERENCE", str(default)))
    parser.add_argument("--output", help="JSON file (default: benchmarks/results/DEVICE.json)")
    options = parser.parse_args(words)
    device = torch.device(options.device)
    slug = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    path = Path(options.output or Path(__file__).parent / "results" / f"{slug}.json")
    if options.table:
        sys.stdout.write(table(json.loads(path.read_text(encoding="utf-8"))) + "\n")
        return 0
    return 0 if passed(measure(options, device, path)) else 1


if __name__ == "__main__":
    sys.exit(main())
