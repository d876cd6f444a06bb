"""What the savings of the transformer branch are worth: seconds and working memory against a naive form.

    python benchmarks/transformer.py --model joint --memory 20

The naive form (it lives in the tests) encodes the whole memory for every frame and materialises the attention of each
template's pixels over all of them. Both run here on the same full memory at 480x832, one object, one thread.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.naive_joint import NaiveTarget

from benchmarks.common import one_thread, random_model, seconds

MEGABYTE = 2**20


def peak(run: Callable[[], Any]) -> float:
    """MB of resident memory that `run` needs at its height beyond what was there before (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(entry: str) -> float:
    """An entry of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{entry} is missing: this benchmark needs Linux")


@torch.no_grad()
def main() -> None:
    """Fill a memory, time one update and one read of each form, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="joint")
    parser.add_argument("--memory", type=int, default=20)
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 832))
    options = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    network: Any = random_model(options.model, cpu).network
    fast = network.target.transductive
    naive, rows = NaiveTarget(fast.transformer), [0]
    height, width = options.size
    pixels = torch.rand(1, 1, 3, height, width) * 255
    features = network.encode(pixels)
    sample = network._encode_sample(features, (torch.rand(1, 1, 1, height, width) > 0.5).float())
    results = {}
    for name, incremental in (("incremental", True), ("re-encoded", False)):
        settings = network.track_settings(incremental=incremental, capacity=options.memory)
        memory = fast.initialise(fast.new_memory(settings), sample, rows)
        for _ in range(options.memory if incremental else options.memory - 2):
            memory = fast.update(memory, sample, rows)
        working = peak(lambda memory=memory: fast.update(memory, sample, rows))
        (update,) = seconds(lambda memory=memory: fast.update(memory, sample, rows), 1, cpu)
        (read,) = seconds(lambda memory=memory: fast.read(memory, features), 1, cpu)
        results[name] = read + update / options.interval
        print(
            f"{name}: update {update:.2f} s, read {read:.3f} s per frame, memory {memory.nbytes / MEGABYTE:.0f} MB, "
            f"working memory of an update {working:.0f} MB",
            flush=True,
        )
    readouts: list[torch.Tensor] = []
    times: list[float] = []

    def read_naively() -> None:
        times.extend(seconds(lambda: readouts.append(naive.read(memory, features)), 1, cpu))

    slow_peak, slow = peak(read_naively), times[0]
    print(f"naive: {slow:.2f} s per frame, working memory {slow_peak:.0f} MB")
    difference = (readouts[0] - fast.read(memory, features)).abs().max().item()
    for name, own in results.items():
        print(f"naive / {name}, updates every {options.interval} frames included: {slow / own:.1f} x")
    print(f"largest difference of the readouts: {difference:.1e}")


if __name__ == "__main__":
    main()
