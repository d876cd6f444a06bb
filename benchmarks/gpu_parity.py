"""The results of a device against those of the CPU: golden sequences, and one training step, for every method.

The tests compare the CPU with the authors' numbers; `benchmarks/gpu.py` runs this on a GPU. Run so far on CPUs only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.contract_settings import build, training_batch

from benchmarks.common import random_model, stripes, video
from benchmarks.training import train_step
from vos_zoo.config.layers import available_recipes, load_config
from vos_zoo.create import convert_checkpoint
from vos_zoo.model import VOSModel
from vos_zoo.nn.precision import number_format
from vos_zoo.types import Batch, Frame, LabelMap

if TYPE_CHECKING:
    from tests.parity.golden import Golden

PROBABILITIES, LOSS, GRADIENT = 2e-3, 1e-3, 0.999
"""Tolerances in float32, device against CPU: largest mean difference of the probabilities of a frame, relative
difference of the loss, least cosine of the gradients."""
LABELS = {"float32": 0.995, "tf32": 0.97, "bf16": 0.85, "fp16": 0.95}
"""Least share of equal labels in a frame, of a format on the device against float32 on the CPU. Labels of golden
weights are nearly tied in places: on a CPU emulated TF32 leaves 0.978 of the worst frame equal, bf16 0.866 (PCVOS)."""


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


def compare_tracks(one: Iterable[Any], two: Iterable[Any]) -> dict[str, float]:
    """Worst frame of two runs over one video; one frame of each is held at a time."""
    equal, difference = 1.0, 0.0
    for a, b in zip(one, two, strict=True):
        equal = min(equal, float((a.label_map() == b.label_map()).mean()))
        both = (result.probabilities.float().cpu() for result in (a, b))
        difference = max(difference, float((next(both) - next(both)).abs().mean()))
    return {"equal_labels": equal, "probabilities": difference}


def track_parity(method: str, small: bool, reference: Path, device: torch.device) -> dict[str, Any]:
    """Device against CPU on the golden sequences, in every format, or on generated frames where there are none."""
    cases = {} if small else golden_sequences(method, reference)
    if not cases:
        model = build(method).eval() if small else random_model(method, torch.device("cpu"))
        frames = video(4, 64, 96) if small else video(6)
        cases = {"generated": (model, frames, {0: stripes(2, *frames[0].shape[:2], share=0.6)})}
    found: dict[str, Any] = {}
    for name, (model, frames, prompts) in cases.items():
        expected = list(model.track(frames, prompts))
        moved, found[name] = model.to(device), {}
        for precision, least in LABELS.items():
            own = compare_tracks(moved.track(frames, prompts, precision=precision), expected)
            near = precision != "float32" or own["probabilities"] <= PROBABILITIES
            judged = precision == "float32" or name != "generated"  # labels of random weights are nearly tied
            found[name][precision] = {**own, "passed": not judged or (own["equal_labels"] >= least and near)}
        model.to("cpu")
    return found


def step_parity(method: str, small: bool, device: torch.device) -> dict[str, Any]:
    """Loss and gradients of one training step, device against CPU."""
    model, batch, _ = training_setup(method, small, 1)
    model.setup("fit")
    expected, on_cpu = float(train_step(model, batch)), _gradients(model)
    model.to(device)
    with number_format(device, "float32"):
        loss = float(train_step(model, batch.to(device)))
    cosine = float(torch.nn.functional.cosine_similarity(_gradients(model), on_cpu, dim=0))
    passed = abs(loss - expected) <= LOSS * abs(expected) and cosine >= GRADIENT
    return {"loss": [loss, expected], "gradient_cosine": cosine, "passed": passed}


def _gradients(model: VOSModel) -> torch.Tensor:
    return torch.cat([p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None])


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
