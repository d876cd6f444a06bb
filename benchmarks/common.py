"""What the benchmarks share: the yardstick R, video to run on, a model with random weights, a full memory."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from vos_zoo.config.layers import load_config
from vos_zoo.create import create_model
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.engine.propagator import Propagator
from vos_zoo.evaluation.speed import wait_for_gpu
from vos_zoo.files.atomic import write_text
from vos_zoo.hub.weights import shipped_weights
from vos_zoo.model import VOSModel
from vos_zoo.nn.cpu.allocator import keep_large_blocks
from vos_zoo.types import Frame, LabelMap

REPOSITORY = Path(__file__).resolve().parents[1]


def one_thread() -> None:
    """Everything on one core, with the allocator set as the commands set it."""
    keep_large_blocks()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    torch.set_num_threads(1)
    import cv2

    cv2.setNumThreads(0)


def sequences_parser(doc: str) -> argparse.ArgumentParser:
    """Options of what is measured with shipped weights on the sequences of DAVIS 2016."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="DAVIS 2016, or a part of it")
    parser.add_argument("--weights", nargs="+", required=True, help="names of shipped weights")
    parser.add_argument("--step", type=int, default=1, help="use every n-th frame only")
    return parser


def record(path: Path, name: str, found: Any) -> None:
    """Print what was measured with some weights, and put it into a JSON file that holds that of others, too."""
    results = json.loads(path.read_text()) if path.is_file() else {}
    results[name] = found
    print(name, found, flush=True)
    write_text(path, json.dumps(results, indent=2) + "\n")


def seconds(run: Callable[[], Any], repeats: int, device: torch.device) -> list[float]:
    """Seconds of each repeat: CPU seconds of this process, or wall seconds around a synchronised GPU."""
    times, clock = [], time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(repeats):
        wait_for_gpu()
        start = clock()
        run()
        wait_for_gpu()
        times.append(clock() - start)
    return times


@torch.no_grad()
def yardstick(device: torch.device, height: int = 480, width: int = 832) -> float:
    """R: seconds of one torchvision ResNet-50 forward through layer4, float32, median of 5 after a warm-up."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50().eval().to(device)
    picture = torch.randn(1, 3, height, width, device=device)

    def forward() -> None:
        x = network.maxpool(network.relu(network.bn1(network.conv1(picture))))
        network.layer4(network.layer3(network.layer2(network.layer1(x))))

    seconds(forward, 1, device)
    return median(seconds(forward, 5, device))


def video(frames: int, height: int = 480, width: int = 854) -> list[Frame]:
    """Generated frames, uint8 RGB ``(height, width, 3)``."""
    settings = SyntheticSettings(size=(height, width), frames=frames, min_objects=2, max_objects=2, late_objects=0.0)
    sequence = SyntheticDataset(videos=1, split="test", settings=settings)[0]
    return [sequence.frame(t) for t in range(frames)]


def stripes(objects: int, height: int, width: int, share: float = 1.0) -> LabelMap:
    """A label map of upright stripes, one per object, uint8 ``(height, width)``.

    Args:
        objects: number of stripes.
        height, width: size of the map.
        share: size of each stripe as a share of its cell: 1 gives windows as large as the frame, small values windows
            of their own.
    """
    labels = np.zeros((height, width), dtype=np.uint8)
    cell = width // objects
    for k in range(objects):
        w, h = max(int(cell * share), 4), max(int(height * share), 4)
        x, y = k * cell + (cell - w) // 2, (height - h) // 2
        labels[y : y + h, x : x + w] = k + 1
    return labels


def random_model(method: str, device: torch.device) -> VOSModel:
    """The method as configured, with fixed random weights."""
    torch.manual_seed(0)
    config = load_config(method)
    return create_model(method, track=config.track, **config.model).eval().to(device)


def model_named(name: str, device: torch.device) -> VOSModel:
    """Shipped weights, or a method with fixed random weights."""
    if any(local.known.name == name for local in shipped_weights()):
        return VOSModel.from_pretrained(name).to(device)
    return random_model(name, device)


@torch.no_grad()
def fill_memory(engine: Propagator, writes: int) -> None:
    """Write the sample that waits in each group again and again, by the method's own rule, until memory is full."""
    for group in engine._groups:
        assert group.pending, "push two frames first: nothing waits to be written"
        features, masks, rows = group.pending[0]
        for _ in range(writes):
            group.memory = engine.model.update(group.memory, features, masks, rows)
