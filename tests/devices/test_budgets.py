"""How often the host waits, and how many kernels are launched, per frame of a video that runs on: ceilings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tests.helpers.contract_settings import moving_squares
from tests.helpers.pretend_cuda import pretending, to_device
from vos_zoo.config.layers import load_config
from vos_zoo.create import create_model
from vos_zoo.engine.confidence_meter import QUEUE
from vos_zoo.model import VOSModel
from vos_zoo.types import LabelMap

MAX_WAITS = 2
KERNELS = {
    "lwl": (450, 550),
    "joint": (500, 650),
    "llb": (550, 750),
    "pcvos": (130, 150),
    "giel": (400, 400),
    "giel-fast": (350, 350),
}
"""Largest number of launches per frame in bf16, with 1 and with 5 objects, the confidence of the result included."""
WAITS = ("types.py", "search_region.py")
"""Files that read from the device: label maps, and the moments of search regions."""


def stripes(objects: int, height: int, width: int) -> LabelMap:
    """Objects beside each other, each in a window of its own."""
    labels = np.zeros((height, width), np.uint8)
    for k in range(objects):
        left = k * width // objects
        labels[12:-12, left + 4 : left + width // objects - 4] = k + 1
    return labels


@pytest.fixture(scope="module", params=KERNELS)
def network(request: pytest.FixtureRequest) -> tuple[str, VOSModel]:
    """A method with the network of its paper, which launches what it does there."""
    config = load_config(request.param)
    torch.manual_seed(0)
    return request.param, create_model(config.method or "", track=config.track, **config.model).eval()


def counts(model: VOSModel, objects: int) -> tuple[list[float], Counter[tuple[str, str]], int]:
    """Launches of each frame of one turn (a clip, or a frame that is written and one that is not), waits, and frames
    from one write to the next. What measures the confidence of many frames at once is shared among them.

    Sizes and memory are small, every second frame is written, and products are not computed.
    """
    known = {field: getattr(model.track_settings(), field, None) for field in ("write_every", "size", "short_edge")}
    small = {"size": [64, 96], "minimum_area": 1e12} if known["size"] else {}
    small |= {"write_every": 2} if known["write_every"] else {}
    small |= {"short_edge": None} if known["short_edge"] else {"capacity": 3}
    video, log_of = moving_squares(2, (64, 160)), pretending(lazy=True)
    with log_of as log:
        engine = to_device(model).propagator(precision="bf16", **small)
        clip = model.network.schedule.frames_per_call(engine.settings)
        turn = clip if clip > 1 else 2
        each: list[float] = []
        for t in range(1 + 3 * turn + (turn if clip > 1 else 2 * turn)):
            if t == 1 + 3 * turn + (0 if clip > 1 else turn):
                log.start()
            before = log.kernels.total()
            for result in engine.push(video.frames[t % 2], stripes(objects, 64, 160) if t == 0 else None):
                result.label_map()
            each += [log.kernels.total() - before] if log.on else []
        waits, waiting = Counter(log.waits), len(engine.meter._queue)
        assert turn <= waiting < QUEUE
        log.start()
        engine.meter.settle()
        log.on = False
        each = [own + log.kernels.total() / QUEUE for own in each]
    return each, waits, int(known["write_every"] or 1)


@pytest.mark.parametrize("objects", [1, 5])
def test_a_frame_of_a_running_video_waits_and_launches_no_more_than_its_budget(
    network: tuple[str, VOSModel], objects: int
) -> None:
    method, model = network
    each, waits, every = counts(model, objects)
    launched = ((every - 1) * min(each) + max(each)) / every if every > 1 else sum(each) / len(each)
    found = f"{launched:.0f} launches per frame, at most {max(each):.0f}, {waits.total() / len(each):.1f} waits"
    print(f"{method}, {objects} objects: {found}")
    assert waits.total() <= len(each) * MAX_WAITS, waits
    assert all(line.split(":")[0].endswith(WAITS) for _, line in waits), waits
    assert launched <= KERNELS[method][objects == 5], found
    if method == "joint" and objects == 1:
        assert max(each) < 900
