"""Everything there is to know about a GPU, by one command; the results are a JSON file named after the device.

    python benchmarks/gpu.py                          # on the first CUDA device, results under benchmarks/results
    python benchmarks/gpu.py --device cpu --small     # the same code on small networks: a rehearsal

For every method: the golden sequences on the device against the CPU (which the tests compare with the authors'
numbers), one training step on the device against the CPU, clips per second and peak memory of training at the recipe's
crop size with the share of time that waits for the loader, and frames per second and peak memory of tracking 1 and 5
objects.
Run so far on CPUs only: on CUDA it is unproven.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.contract_settings import build, settings_of, training_batch

from benchmarks.common import random_model, stripes, video
from benchmarks.training import train_step
from vos_zoo.config.layers import available_recipes, load_config, to_plain
from vos_zoo.create import convert_checkpoint
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation.speed import measure_speed
from vos_zoo.files.atomic import write_text
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.types import Batch, Frame, LabelMap

if TYPE_CHECKING:
    from tests.parity.golden import Golden

LABELS, PROBABILITIES, LOSS, GRADIENT = 0.995, 2e-3, 1e-3, 0.999
"""Tolerances, float32, device against CPU: least share of equal labels in a frame, largest mean difference of the
probabilities of a frame, relative difference of the loss, least cosine of the gradients."""
REDUCED = {"bf16": 0.98, "fp16": 0.99}
"""Least share of equal labels in a frame between reduced precision and float32 on the device."""


class Meter:
    """Seconds and peak bytes of what runs inside."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def __enter__(self) -> Meter:
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.began
        self.peak = torch.cuda.max_memory_allocated() if self.cuda else None


def exact(run: Callable[[], Any]) -> Any:
    """Run without TF32, which would hide real differences."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        return run()
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def golden_sequences(method: str, reference: Path) -> dict[str, tuple[VOSModel, list[Frame], dict[int, LabelMap]]]:
    """Name -> model with the golden weights, frames, and masks where objects appear; empty without files."""
    from tests.parity.golden import Golden, fill_weights

    found, models = {}, {}
    for path in sorted((reference / method).glob("sequence*.npz")):
        if path.stem.endswith("_box"):  # another network, which starts from boxes
            continue
        golden = Golden(path)
        runs = golden_prompts(golden)
        salt = golden.salt or golden.meta.get("weights_salt")
        if salt not in models:
            weights = fill_weights(reference / method, salt=salt)
            models[salt] = convert_checkpoint(weights, method=method).eval()
        for run, prompts in runs.items():
            first = min(prompts)  # frames before the first mask have nothing to follow
            shifted = {t - first: prompt for t, prompt in prompts.items()}
            frames = list(golden["frames" if "frames" in golden else "images"])[first:]
            found[" ".join([path.stem, *([run] if run else [])])] = models[salt], frames, shifted
    return found


def golden_prompts(golden: Golden) -> dict[str, dict[int, LabelMap]]:
    """Masks given in each run of a file, by frame; a file without runs gives those in which an object is first seen."""
    from tests.parity.golden import given

    runs: dict[str, Any] = golden.meta.get("runs", {})
    found: dict[str, dict[int, LabelMap]] = {}
    for run, told in runs.items():
        if "gt" in golden:
            found[run.strip("_")] = {int(t): given(golden["gt"][int(t)], ids) for t, ids in told["init"].items()}
        elif "annotated_frames" in told:
            annotated = {int(t): ids for t, ids in told["annotated_frames"].items()}
            found[run] = {t: given(golden[f"{run}__anno_{t:02d}"], ids) for t, ids in annotated.items()}
    if found:
        return found
    prompts: dict[int, LabelMap] = {}
    seen: set[int] = set()
    for t, labels in enumerate(golden["labels"]):
        new = {int(i) for i in np.unique(labels) if i} - seen
        if new:
            prompts[t] = given(labels, sorted(new))
            seen |= new
    return {"": prompts}


def compare_tracks(one: list[Any], two: list[Any]) -> dict[str, float]:
    """Worst frame of two runs over one video."""
    labels = [float((a.label_map() == b.label_map()).mean()) for a, b in zip(one, two, strict=True)]
    pairs = [(a.probabilities.float().cpu(), b.probabilities.float().cpu()) for a, b in zip(one, two, strict=True)]
    return {"equal_labels": min(labels), "probabilities": max(float((a - b).abs().mean()) for a, b in pairs)}


def parity(method: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Device against CPU on the golden sequences, or on generated frames where there are none."""
    cases = {} if options.small else golden_sequences(method, Path(options.reference))
    if not cases:
        model = build(method).eval() if options.small else random_model(method, torch.device("cpu"))
        frames = video(4, 64, 96) if options.small else video(6)
        cases = {"generated": (model, frames, {0: stripes(2, *frames[0].shape[:2], share=0.6)})}
    found = {}
    for name, (model, frames, prompts) in cases.items():
        with torch.no_grad():
            expected = list(model.track(frames, prompts))
            moved = model.to(device)
            result = compare_tracks(exact(lambda m=moved, f=frames, p=prompts: list(m.track(f, p))), expected)
            for precision, least in REDUCED.items() if device.type == "cuda" else ():
                reduced = compare_tracks(list(moved.track(frames, prompts, precision=precision)), expected)
                result[precision] = {**reduced, "passed": reduced["equal_labels"] >= least}
        model.to("cpu")
        passed = result["equal_labels"] >= LABELS and result["probabilities"] <= PROBABILITIES
        found[name] = {**result, "passed": passed}
    return found


def training_setup(method: str, small: bool, clips: int) -> tuple[VOSModel, Batch, Any]:
    """Model as its largest recipe trains it, a batch of noise with moving squares, and its configuration."""
    recipe = "stage2" if "stage2" in available_recipes(method) else None
    config = load_config(method, recipe=recipe)
    if small:
        return build(method, optim={"groups": {"": 1e-4}}), training_batch(method, sequences=clips), config
    torch.manual_seed(0)
    model = VOSModel(method, dict(config.model), dict(config.track), {"groups": dict(config.optim.groups)})
    sampling, (height, width) = config.data.sampling, config.data.crop.size
    length, slots = sampling.reference_frames + sampling.query_frames, sampling.objects
    frames, masks = 255 * torch.rand(clips, length, 3, height, width), torch.zeros(clips, length, slots, height, width)
    for t in range(length):
        for slot in range(slots):
            left, top = width // 8 + 8 * t + 16 * slot, (slot * height) // slots
            masks[:, t, slot, top : top + height // (2 * slots), left : left + width // 4] = 1
    valid, boxes = torch.ones(clips, slots, dtype=torch.bool), torch.zeros(clips, length, slots, 4)
    return model, Batch(frames, masks, valid, boxes, sampling.reference_frames, ["noise"] * clips), config


def training(method: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One step against the CPU, then throughput per precision, and the share of time that waits for the loader."""
    model, single, config = training_setup(method, options.small, 1)
    model.setup("fit")
    expected = float(train_step(model, single))
    on_cpu = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
    model.to(device)
    loss = float(exact(lambda: train_step(model, single.to(device))))
    moved = torch.cat([p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None])
    cosine = float(torch.nn.functional.cosine_similarity(moved, on_cpu, dim=0))
    passed = abs(loss - expected) <= LOSS * abs(expected) and cosine >= GRADIENT
    found: dict[str, Any] = {"parity": {"loss": [loss, expected], "gradient_cosine": cosine, "passed": passed}}
    batch = training_setup(method, options.small, options.batch)[1].to(device)
    for precision in ("float32", "bf16"):
        train_step(model, batch, precision)
        with Meter(device) as meter:
            for _ in range(options.steps):
                train_step(model, batch, precision)
        rate = options.steps * options.batch / meter.seconds
        found[precision] = {"batch": options.batch, "clips_per_second": rate, "peak_bytes": meter.peak}
    found["loader"] = waiting(config, model, options, device)
    return found


def waiting(config: Any, model: VOSModel, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Training from the loader: share of the time that waits for generated (or DAVIS) clips."""
    size = list(settings_of(config.method).canvas) if options.small else list(config.data.crop.size)
    source = {"name": "davis", "root": options.davis} if options.davis else {"name": "synthetic"}
    plain = {**to_plain(config.data), **source, "workers": options.workers, "batch_size": options.batch}
    plain |= {"batches_per_epoch": options.steps + 1, "crop": {**plain["crop"], "size": size}, "mixture": {}}
    wait = work = 0.0
    batches = iter(VOSDataModule(**plain).train_dataloader())
    for number in range(options.steps + 1):
        with Meter(device) as loading:
            batch = next(batches)
        with Meter(device) as training_:
            train_step(model, batch.to(device), "float32")
        if number:  # the first batch waits for the loader's processes to start
            wait, work = wait + loading.seconds, work + training_.seconds
    return {"data": source["name"], "workers": options.workers, "data_wait": wait / (wait + work)}


def tracking(method: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Frames per second and peak memory for 1 and 5 objects."""
    model = build(method).eval().to(device) if options.small else random_model(method, device)
    found: dict[str, Any] = {}
    count = 5 if options.small else options.frames
    frames = video(count, 64, 96) if options.small else video(count)
    height, width = frames[0].shape[:2]
    for objects in (1, 5):
        for precision in ("float32", "bf16"):
            row = measure_speed(model, frames, stripes(objects, height, width, 0.6), warm_up=3, precision=precision)
            key = f"{objects} objects, {precision}"
            found[key] = {"frames_per_second": row.fps, "peak_bytes": row.peak_memory}
    return found


def device_name(device: torch.device) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def passed(found: Mapping[str, Any]) -> bool:
    """Whether every comparison in the results passed."""
    own = found.get("passed", True) is True
    return own and all(passed(part) for part in found.values() if isinstance(part, Mapping))


def main(words: list[str] | None = None) -> int:
    """Measure, print a line per method, write JSON; 1 if a comparison failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small networks and frames, no golden files")
    parser.add_argument("--models", default=",".join(available_models()), help="methods, with commas")
    parser.add_argument("--batch", type=int, default=4, help="clips per training step")
    parser.add_argument("--steps", type=int, default=10, help="training steps that are timed")
    parser.add_argument("--frames", type=int, default=60, help="frames that are tracked")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="loader processes")
    parser.add_argument("--davis", help="train the loader's part on DAVIS 2017 in this folder, not on generated videos")
    default = Path(__file__).resolve().parents[2] / "shared" / "reference"
    parser.add_argument("--reference", default=os.environ.get("VOS_ZOO_REFERENCE", str(default)))
    parser.add_argument("--output", help="JSON file (default: benchmarks/results/DEVICE.json)")
    options = parser.parse_args(words)
    device = torch.device(options.device)
    found: dict[str, Any] = {"device": device_name(device), "torch": torch.__version__, "small": options.small}
    for method in options.models.split(","):
        parts = {"parity": parity, "training": training, "tracking": tracking}
        found[method] = {name: part(method, options, device) for name, part in parts.items()}
        sys.stdout.write(f"{method}: {'passed' if passed(found[method]) else 'FAILED'} {json.dumps(found[method])}\n")
    slug = re.sub(r"[^a-z0-9]+", "-", found["device"].lower()).strip("-")
    path = Path(options.output or Path(__file__).parent / "results" / f"{slug}.json")
    write_text(path, json.dumps(found, indent=2) + "\n")
    return 0 if passed(found) else 1


if __name__ == "__main__":
    sys.exit(main())
