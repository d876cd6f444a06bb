"""Seconds per frame of a method in its steady state, in the unit R: one bare ResNet-50 forward at 480x832.

    python benchmarks/speed.py --model lwl --objects 1,2,5 --processes 3

Every measurement runs in a process of its own, one thread, with R taken before and after; ratios are medians over
processes. `--windows same` gives objects so large that their search windows are the whole frame and coincide;
`--windows apart` gives each its own. Methods that write every n-th frame are timed over whole
periods, and the mean is reported, updates included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import fill_memory, model_named, one_thread, seconds, stripes, video, yardstick
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.evaluation.speed import time_stream


def measure(options: argparse.Namespace, objects: int) -> dict[str, float]:
    """One process's numbers: R before and after, seconds per frame, of which the network and the update."""
    one_thread()
    device = torch.device(options.device)
    before = yardstick(device)
    model = model_named(options.model, device)
    overrides: dict[str, Any] = {"scale_change": (1.0, 1.0)} if options.windows != "free" else {}
    overrides |= dict(word.split("=", 1) for word in options.track)
    overrides |= {name: yaml.safe_load(value) for name, value in overrides.items() if isinstance(value, str)}
    engine = model.propagator(group_size=max(objects, 1), **overrides)
    period = getattr(engine.settings, "write_every", 1)
    timed = -(-options.frames // period) * period
    frames = iter(video(1 + 2 * period + timed, options.height, options.width))
    share = 1.0 if options.windows == "same" else 0.15
    engine.push(next(frames), stripes(objects, options.height, options.width, share))
    while any(group.pending is None for group in engine._groups):
        engine.push(next(frames))
    fill_memory(engine, options.memory - 1)
    times = seconds(lambda: engine.push(next(frames)), timed, device)
    after = yardstick(device)
    windows = len({engine.view.window_of(slot) for slot in range(objects)}) if hasattr(engine.view, "window_of") else 1
    frame = median(times) if period == 1 else mean(times)
    return {"R_before": before, "R_after": after, "frame": frame, "slowest": max(times), "windows": windows}


def measure_stream(name: str, objects: int, warm_up: int, frames: int) -> dict[str, float]:
    """One process's numbers on a generated video: seconds per frame after `warm_up` frames, which fill the memory.

    The objects are followed as in use, from their masks to label maps; drawing the frames is not timed.
    """
    one_thread()
    device = torch.device("cpu")
    before = yardstick(device)
    engine = model_named(name, device).propagator()
    settings = SyntheticSettings(
        size=(480, 854), frames=warm_up + frames, min_objects=objects, max_objects=objects, late_objects=0.0
    )
    sequence = SyntheticDataset(videos=1, split="test", settings=settings)[0]
    images = (sequence.frame(t) for t in range(warm_up + frames))
    total = time_stream(engine, images, sequence.labels(0), warm_up, time.process_time)
    after = yardstick(device)
    return {"R_before": before, "R_after": after, "frame": total / frames, "held_bytes": engine.nbytes}


def main() -> None:
    """Measure in child processes, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lwl")
    parser.add_argument("--objects", default="1,2,5", help="numbers of objects, with commas")
    parser.add_argument("--windows", choices=("same", "apart", "free"), default="same")
    parser.add_argument("--memory", type=int, default=32, help="samples in memory")
    parser.add_argument("--frames", type=int, default=4, help="frames timed per process, after the memory is full")
    parser.add_argument("--track", nargs="*", default=[], metavar="key=value", help="inference settings")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="also write the numbers here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        sys.stdout.write(json.dumps(measure(options, options.child)))
        return
    rows = []
    for objects in [int(n) for n in options.objects.split(",")]:
        runs = []
        for _ in range(options.processes):
            command = [sys.executable, __file__, *sys.argv[1:], "--child", str(objects)]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        ratios = [run["frame"] / ((run["R_before"] + run["R_after"]) / 2) for run in runs]
        rows.append({"objects": objects, "in_R": median(ratios), "ratios": ratios, "runs": runs})
        first = rows[0]
        relative = rows[-1]["in_R"] / first["in_R"]
        seconds_per_frame = median(run["frame"] for run in runs)
        r = median([run["R_before"] for run in runs] + [run["R_after"] for run in runs])
        print(
            f"{options.model}, {objects} objects, {runs[0]['windows']} windows, memory {options.memory}: "
            f"{seconds_per_frame:.3f} s per frame = {rows[-1]['in_R']:.2f} R (R = {r:.3f} s), "
            f"{relative:.2f} x {first['objects']} object(s)",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
