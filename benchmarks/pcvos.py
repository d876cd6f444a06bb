"""Seconds per frame of PCVOS in its steady state, in the unit R: clips, objects, naive and fast side by side.

    python benchmarks/pcvos.py --objects 1,2,5,10 --lengths 5,15 --forms naive,fast --processes 3

Every measurement runs in a process of its own, one thread, with R (one bare ResNet-50 forward at 480x832) taken before
and after. A clip counts with everything that belongs to it: encoding, reading, refining, decoding, merging, resizing,
label maps, and the write of the frame that is remembered. The naive form lives in the tests. `--wanted N` asks for
every N-th frame alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.naive_pcvos import NaivePCVOS

from benchmarks.common import one_thread, random_model, seconds, stripes, video, yardstick


def measure(options: argparse.Namespace, objects: int, length: int, form: str) -> dict[str, float]:
    """One process's numbers: R before and after, seconds per frame."""
    one_thread()
    device = torch.device(options.device)
    before = yardstick(device)
    model = random_model("pcvos", device)
    if form == "naive":
        network: Any = model.network
        network.__class__ = NaivePCVOS
    engine = model.propagator(clip_length=length, capacity=options.memory)
    frames = video(1 + length, options.height, options.width)
    engine.push(frames[0], stripes(objects, options.height, options.width))
    bank = engine._groups[0].memory.bank
    for _ in range(options.memory - 1):
        newest = ({name: buffer[0].clone() for name, buffer in kind.items()} for kind in (bank.shared, bank.owned))
        bank = bank.write(*newest)
    engine._groups[0].memory = type(engine._groups[0].memory)(bank, engine._groups[0].memory.policy)

    def clip() -> None:
        for t in range(length):
            wanted = (t + 1) % options.wanted == 0
            for result in engine.push(frames[1 + t], wanted=wanted):
                result.label_map()

    seconds(clip, 1, device)
    times = seconds(clip, options.clips, device)
    after = yardstick(device)
    return {"R_before": before, "R_after": after, "frame": median(times) / length, "slowest": max(times) / length}


def main() -> None:
    """Measure in child processes, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default="1,2,5,10", help="numbers of objects, with commas")
    parser.add_argument("--lengths", default="5,15", help="clip lengths, with commas")
    parser.add_argument("--forms", default="naive,fast", help="naive, fast or both")
    parser.add_argument("--wanted", type=int, default=1, help="results of every n-th frame alone")
    parser.add_argument("--memory", type=int, default=10, help="frames in memory")
    parser.add_argument("--clips", type=int, default=2, help="clips timed per process")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="also write the numbers here")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        objects, length, form = options.child
        sys.stdout.write(json.dumps(measure(options, int(objects), int(length), form)))
        return
    rows = []
    for length in options.lengths.split(","):
        for objects in options.objects.split(","):
            for form in options.forms.split(","):
                runs = []
                for _ in range(options.processes):
                    command = [sys.executable, __file__, *sys.argv[1:], "--child", objects, length, form]
                    runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                ratios = [run["frame"] / ((run["R_before"] + run["R_after"]) / 2) for run in runs]
                rows.append({"length": length, "objects": objects, "form": form, "in_R": median(ratios), "runs": runs})
                frame = median(run["frame"] for run in runs)
                print(
                    f"L = {length}, {objects} objects, {form}: {frame:.3f} s per frame = {median(ratios):.2f} R "
                    f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
                    flush=True,
                )
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
