"""Seconds of a training step in the unit R (one bare ResNet-50 forward at 480x832): forward, loss and backward.

    python benchmarks/training.py --model lwl --processes 3

One mini-sequence of 1 + 3 frames at 480x832 unless said otherwise, batch 1, the parameters of the method's recipe
`stage2` (all but the backbone's first stage), no optimiser step, no data loading. Every measurement runs in a process
of its own, one thread, with R taken before and after; the first step is not counted (the allocator warms up).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread, seconds, yardstick
from vos_zoo.config.layers import load_config
from vos_zoo.model import VOSModel
from vos_zoo.nn.precision import number_format
from vos_zoo.types import Batch


def make_batch(size: tuple[int, int], queries: int, clips: int, device: torch.device) -> Batch:
    """Noise with a rectangle in it that moves: the arithmetic does not depend on what is seen."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    frames = 255 * torch.rand(clips, 1 + queries, 3, height, width, generator=generator)
    masks = torch.zeros(clips, 1 + queries, 1, height, width)
    for t in range(1 + queries):
        left = width // 4 + 8 * t
        masks[:, t, :, height // 4 : height // 2, left : left + width // 4] = 1
        frames[:, t] += 60 * masks[:, t]
    valid, boxes = torch.ones(clips, 1, dtype=torch.bool), torch.zeros(clips, 1 + queries, 1, 4)
    return Batch(frames.clamp(0, 255), masks, valid, boxes, names=["noise/1"] * clips).to(device)


def make_model(method: str, device: torch.device, recipe: str = "stage2") -> VOSModel:
    """The method as configured, with fixed random weights, ready to train what the recipe trains."""
    torch.manual_seed(0)
    config = load_config(method, recipe=recipe)
    model = VOSModel(method, dict(config.model), dict(config.track), {"groups": dict(config.optim.groups)})
    model.setup("fit")
    return model.to(device)


def train_step(model: VOSModel, batch: Batch, precision: str = "float32") -> torch.Tensor:
    """Forward, loss and backward; returns the loss."""
    for parameter in model.parameters():
        parameter.grad = None
    with number_format(batch.frames.device, precision):
        unrolled = model.network.training_forward(batch)
        loss = torch.stack(list(model.network.losses(unrolled, batch).values())).sum()
    loss.backward()
    return loss.detach()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One process's numbers: R before and after, seconds per step."""
    device = torch.device(options.device)
    one_thread()
    before = yardstick(device)
    model = make_model(options.model, device, options.recipe)
    if options.compile:
        model.compile_parts()
    batch = make_batch((options.height, options.width), options.queries, options.batch, device)
    steps = seconds(lambda: train_step(model, batch, options.precision), 1 + options.steps, device)
    return {"R_before": before, "R_after": yardstick(device), "first": steps[0], "step": median(steps[1:])}


def main() -> None:
    """Measure in child processes, print a line, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lwl")
    parser.add_argument("--recipe", default="stage2")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--json", help="also write the numbers here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(measure(options)))
        return
    runs = []
    for _ in range(options.processes):
        command = [sys.executable, __file__, *sys.argv[1:], "--child"]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    ratios = [run["step"] / mean((run["R_before"], run["R_after"])) for run in runs]
    found = {"model": options.model, "in_R": median(ratios), "ratios": ratios, "runs": runs}
    sys.stdout.write(f"{options.model}: {median(ratios):.1f} R per step ({', '.join(f'{r:.1f}' for r in ratios)})\n")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
