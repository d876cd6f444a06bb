"""Seconds per frame of PCVOS in its steady state, in the unit R: clips, objects, forms side by side in one process.

    python benchmarks/pcvos.py --objects 1,2,5,10 --lengths 5,15 --forms naive,fast,wanted

One thread. All cases of a clip length take turns, each turn beside R (one bare ResNet-50 forward at 480x832), so that a
machine that is faster at some times than at others does not distort what is compared. A clip counts with everything
that belongs to it: encoding, reading, refining, decoding, merging, resizing, label maps, and the write of the frame
that is remembered. Forms: `naive` (lives in the tests), `fast`, and `wanted`: fast, where only the last frame of each
clip is asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.naive_pcvos import NaivePCVOS

from benchmarks.common import one_thread, random_model, seconds, stripes, video, yardstick
from vos_zoo.model import VOSModel
from vos_zoo.nn.cpu import accelerate_cpu, plain_cpu


class Case:
    """One object count in one form, with a full memory, ready to run clip after clip.

    Args:
        model: the method.
        objects: how many.
        form: naive, fast or wanted.
        length: frames of a clip.
        options: sizes and capacity.
    """

    def __init__(self, model: VOSModel, objects: int, form: str, length: int, options: argparse.Namespace) -> None:
        self.model, self.form = model, form
        self.frames = video(1 + length, options.height, options.width)
        self.engine = model.propagator(clip_length=length, capacity=options.memory)
        self.engine.push(self.frames[0], stripes(objects, options.height, options.width))
        group = self.engine._groups[0]
        bank = group.memory.bank
        for _ in range(options.memory - 1):
            newest = ({name: buffer[0].clone() for name, buffer in kind.items()} for kind in (bank.shared, bank.owned))
            bank = bank.write(*newest)
        group.memory = type(group.memory)(bank, group.memory.policy)

    def clip(self) -> None:
        """Track one clip, down to label maps of the memory's size."""
        last = len(self.frames) - 1
        with as_written(self.model) if self.form == "naive" else as_shipped():
            for t in range(1, 1 + last):
                for result in self.engine.push(self.frames[t], wanted=self.form != "wanted" or t == last):
                    result.label_map()


@contextmanager
def as_shipped() -> Iterator[None]:
    """The method as it is."""
    yield


@contextmanager
def as_written(model: VOSModel) -> Iterator[None]:
    """The method in its naive form, with plain convolutions."""
    network: Any = model.network
    shipped = network.__class__
    network.__class__ = NaivePCVOS
    plain_cpu(network)
    try:
        yield
    finally:
        network.__class__ = shipped
        accelerate_cpu(network)


def measure(options: argparse.Namespace, length: int) -> list[dict[str, Any]]:
    """Rows of one clip length: seconds per frame and R of every round."""
    device = torch.device(options.device)
    model = random_model("pcvos", device)
    names = [(int(k), form) for form in options.forms.split(",") for k in options.objects.split(",")]
    cases = {name: Case(model, *name, length, options) for name in names}
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    yardsticks: dict[tuple[int, str], list[float]] = defaultdict(list)
    for turn in range(options.rounds):
        for (objects, form), case in cases.items():
            if form == "naive" and turn >= options.naive_rounds:
                continue
            before = yardstick(device)
            times[objects, form].append(seconds(case.clip, 1, device)[0] / length)
            yardsticks[objects, form].append((before + yardstick(device)) / 2)
            ratio = times[objects, form][-1] / yardsticks[objects, form][-1]
            print(f"  round {turn}: L = {length}, {objects} objects, {form}: {ratio:.2f} R", flush=True)
    return [
        {
            "length": length,
            "objects": objects,
            "form": form,
            "frame": median(times[objects, form]),
            "in_R": median(t / r for t, r in zip(times[objects, form], yardsticks[objects, form], strict=True)),
            "seconds": times[objects, form],
            "R": yardsticks[objects, form],
        }
        for objects, form in names
    ]


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default="1,2,5,10", help="numbers of objects, with commas")
    parser.add_argument("--lengths", default="5,15", help="clip lengths, with commas")
    parser.add_argument("--forms", default="naive,fast,wanted", help="naive, fast, wanted, with commas")
    parser.add_argument("--memory", type=int, default=10, help="frames in memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--naive-rounds", type=int, default=1, help="the naive form takes part in so many of them")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="also write the numbers here")
    options = parser.parse_args()
    one_thread()
    rows = [row for length in options.lengths.split(",") for row in measure(options, int(length))]
    for row in rows:
        print(
            f"L = {row['length']}, {row['objects']} objects, {row['form']}: "
            f"{row['frame']:.3f} s per frame = {row['in_R']:.2f} R"
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
