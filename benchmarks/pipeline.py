"""What the threads beside the network are worth: `track` and `test` with and without them, interleaved.

    python benchmarks/pipeline.py --weights pcvos-small --repeats 5 --source DAVIS/JPEGImages/480p/car-shadow \
        --mask DAVIS/Annotations/480p/car-shadow/00000.png

Each case is run alternately in one process, the network with one thread. Wall time shows what the threads win where a
second core is free; CPU time shows what they cost. The smallest and the median of each are reported, and the load of
the machine: where it is high, wall times say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import model_named, one_thread, torch
from vos_zoo.config.layers import load_config
from vos_zoo.evaluation import evaluate
from vos_zoo.model import VOSModel
from vos_zoo.samples import clip
from vos_zoo.tasks.track import run_track
from vos_zoo.types import Frame, LabelMap, VideoSequence
from vos_zoo.video.masks import read_mask
from vos_zoo.video.reader import open_video


def as_read(items: Iterable[Any]) -> Iterator[Any]:
    """Stands for `ahead`: an item is read when it is needed."""
    yield from items


class AtOnce:
    """Stands for `Behind`: an item is done when it is handed over."""

    def __init__(self, work: Callable[[Any], None]) -> None:
        self.put = work

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def serial(on: bool) -> Iterator[None]:
    """Inside nothing runs in a thread of its own, if `on`."""
    if not on:
        yield
        return
    track, runner = "vos_zoo.tasks.track.", "vos_zoo.evaluation.runner."
    with (
        patch(f"{track}ahead", as_read),
        patch(f"{track}BackgroundWriter", lambda writer: writer),
        patch(f"{runner}ahead", as_read),
        patch(f"{runner}Behind", AtOnce),
    ):
        yield


class Labelled(VideoSequence):
    """Frames with the first mask as the ground truth of all of them: what is scored does not matter here."""

    def __init__(self, source: str, mask: LabelMap) -> None:
        self.read = list(open_video(source))
        self.mask, self.name = mask, "video"
        self.frame_names = tuple(f"{t:05d}" for t in range(len(self.read)))
        self.object_ids = tuple(int(identity) for identity in np.unique(mask) if identity)

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``."""
        return self.read[index].copy()

    def labels(self, index: int) -> LabelMap:
        """The first mask, uint8 ``(H, W)``."""
        return self.mask

    def prompts(self) -> dict[int, LabelMap]:
        """The first mask."""
        return {0: self.mask}


def cases(model: VOSModel, source: str, mask: str) -> dict[str, Callable[[Path], object]]:
    """Name -> what is run, with an empty folder."""
    config, video = load_config(model.method), Labelled(source, read_mask(Path(mask)))

    def track(folder: Path, overlay: bool) -> object:
        common: dict[str, Any] = {"config": config, "source": source, "weights": "given", "mask": mask, "boxes": {}}
        return run_track(**common, output=str(folder), overlay=overlay)

    return {
        "track": lambda folder: track(folder, False),
        "track, overlay": lambda folder: track(folder, True),
        "test": lambda folder: evaluate(model, [video], output=folder, progress=False, overlays=0),
    }


def measured(run: Callable[[Path], object]) -> dict[str, float]:
    """Wall and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        wall, cpu = time.perf_counter(), time.process_time()
        run(Path(folder) / "out")
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main() -> None:
    """Measure, print a line per case, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="pcvos-small")
    parser.add_argument("--source", default=str(clip().video), help="video file or folder of frames")
    parser.add_argument("--mask", default=str(clip().mask), help="its first mask")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="also write the numbers here")
    options = parser.parse_args()
    one_thread()
    model, found = model_named(options.weights, torch.device("cpu")), {}
    with patch("vos_zoo.tasks.track._model", lambda *_: (model, {})):
        for name, run in cases(model, options.source, options.mask).items():
            runs: dict[str, list[dict[str, float]]] = {"serial": [], "threads": []}
            measured(run)
            for number in range(2 * options.repeats):
                kind = ("serial", "threads")[(number + number // 2) % 2]
                with serial(kind == "serial"):
                    runs[kind].append(measured(run))
            ratios = {
                f"{unit} {how.__name__}": how(own[unit] for own in runs["serial"])
                / how(own[unit] for own in runs["threads"])
                for unit in ("wall", "cpu")
                for how in (min, median)
            }
            load = None
            with suppress(OSError):
                load = os.getloadavg()[0]
            found[name] = {"serial_by_threads": ratios, "load": load, "runs": runs}
            rounded = {key: round(value, 3) for key, value in ratios.items()}
            sys.stdout.write(f"{name}: serial / threads {json.dumps(rounded)}, load {load}\n")
            sys.stdout.flush()
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "cases": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
