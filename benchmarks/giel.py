"""How the time of a frame grows with the number of objects, GIEL's promise, and that sharing changes no result.

    python benchmarks/giel.py --objects 1,2,3,6 --frames 5

480 x 854, five support frames, one thread; each frame is segmented, merged, resized and written. The numbers of objects
take turns, so that a machine that is busy elsewhere disturbs all of them alike. Ratios are of medians. The first timed
frame also runs with one object at a time through the decoder, and the largest difference of probability is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import fill_memory, one_thread, random_model, seconds, stripes, video, yardstick
from vos_zoo.engine.propagator import Propagator
from vos_zoo.model import VOSModel
from vos_zoo.types import Frame, FrameResult

LIMITS = {"giel": 2.1, "giel-fast": 1.35}
"""Largest accepted time of six objects over that of one."""


def enliven(model: VOSModel) -> None:
    """Random weights under which outputs have structure: the trunks' blocks small steps, unit gain behind them."""
    for name, module in model.network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and name.endswith("bn3"):
            torch.nn.init.constant_(module.weight, 0.2)
        elif isinstance(module, torch.nn.Conv2d) and not name.startswith(("query_encoder", "support_encoder")):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def steady(model: VOSModel, frames: list[Frame], objects: int, group: int) -> Propagator:
    """An engine behind its first frame, with five frames in memory."""
    engine = model.propagator(group_size=group)
    engine.push(frames[0], stripes(objects, *frames[0].shape[:2], 0.7))
    engine.push(frames[1])
    fill_memory(engine, 3)
    return engine


def measure(name: str, counts: list[int], repeats: int, device: torch.device, size: tuple[int, int]) -> dict[str, Any]:
    """Seconds per frame by number of objects, and the largest difference to one object at a time."""
    model = random_model(name, device)
    enliven(model)
    frames = video(2 + repeats, *size)
    engines = {count: steady(model, frames, count, count) for count in counts}
    apart = steady(model, frames, max(counts), 1)
    times: dict[int, list[float]] = {count: [] for count in counts}
    difference = spread = 0.0
    for t, frame in enumerate(frames[2:]):
        results = []
        for count, engine in engines.items():
            times[count] += seconds(partial(_push, engine, frame, results), 1, device)
        if t == 0:
            together, alone = results[-1].probabilities, apart.push(frame)[-1].probabilities
            difference = (together - alone).abs().max().item()
            spread = together[1:].std(dim=(1, 2)).mean().item()
    return {"seconds": {n: median(v) for n, v in times.items()}, "difference": difference, "spread": spread}


def _push(engine: Propagator, frame: Frame, results: list[FrameResult]) -> None:
    results.append(engine.push(frame)[-1])


def main() -> None:
    """Measure both versions, print a table, write JSON; exit 1 where a ratio or a difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="giel-fast,giel")
    parser.add_argument("--objects", default="1,6", help="numbers of objects, with commas, 1 among them")
    parser.add_argument("--frames", type=int, default=5, help="frames timed")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="also write the numbers here")
    options = parser.parse_args()
    one_thread()
    device, counts = torch.device(options.device), sorted(int(n) for n in options.objects.split(","))
    unit, failed, rows = yardstick(device), False, {}
    for name in options.models.split(","):
        rows[name] = row = measure(name, counts, options.frames, device, (options.height, options.width))
        for count, value in row["seconds"].items():
            ratio = value / row["seconds"][1]
            late = count == 6 and ratio > LIMITS.get(name, 9.9)
            failed |= late
            limit = f" (limit {LIMITS[name]})" if count == 6 and name in LIMITS else ""
            print(f"{name}, {count} objects: {value:.2f} s = {value / unit:.2f} R, {ratio:.2f} x one object{limit}")
        failed |= row["difference"] > 1e-4
        print(
            f"{name}: largest difference to one object at a time {row['difference']:.1e} "
            f"(maps have deviation {row['spread']:.2f})",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"R": unit, "rows": rows}, indent=2) + "\n")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
