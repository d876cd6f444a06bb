"""Frozen self-tests: small outputs of our own, stored when parity with the published numbers held.

They prove the repository where the reference data is absent. Weights are filled by entry name, frames are drawn with
numpy alone, so nothing but the method's own code can change the numbers. After an intended change, once parity holds
again: ``python -m tests.contract.test_selftest METHOD``.
"""

from __future__ import annotations

import itertools
import json
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.helpers.contract_settings import Video, build, moving_squares, settings_of, training_batch
from tests.helpers.threads import one_thread
from vos_zoo import registry
from vos_zoo.model import VOSModel

DATA = Path(__file__).resolve().parents[1] / "fixtures"
METHODS = sorted(registry._built_in())
LOSS, GRADIENTS, PROBABILITY, LABELS = 1e-4, 1e-2, 5e-3, 0.995
STRIDE = 4


def fill(name: str, like: Tensor) -> Tensor:
    """The value of an entry, from its name and shape alone."""
    if not like.is_floating_point():
        return torch.zeros_like(like)
    normal = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(like.shape)))
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        values = np.exp(0.1 * normal)
    elif like.ndim >= 2:
        values = normal * np.sqrt(2 / np.prod(like.shape[1:]))
    else:
        values = 1 + 0.1 * normal if last == "weight" else 0.1 * normal
    return torch.from_numpy(np.asarray(values, np.float32).copy())


def model_of(method: str, scale: float = 1.0, shift: float = 0.0, **overrides: Any) -> VOSModel:
    """A small network with filled weights; its logits are scaled and shifted so that masks have structure."""
    settings = settings_of(method)
    model = build(method, **{**settings.selftest, **overrides}).eval()
    state = {name: fill(name, tensor) for name, tensor in model.network.state_dict().items()}
    for name, part in itertools.product(state, settings.selftest_gains):
        if part in name:
            state[name] *= settings.selftest_gains[part]
    model.network.load_state_dict(state)
    output: Any = model.network.get_submodule(settings.output)
    with torch.no_grad():
        output.weight.mul_(scale)
        output.bias.mul_(scale).add_(shift)
    return model


def video() -> Video:
    return moving_squares(8, (67, 91), objects=3, seed=5)


def track(model: VOSModel) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Label maps ``(T, H, W)`` and thinned probabilities ``(T, 4, H/4, W/4)``; the third object starts late."""
    clip = video()
    prompts = {0: clip.only(1, 2), 3: clip.only(3, frame=3)}
    results = list(model.track(clip.frames, prompts))
    thinned = np.zeros((len(results), 4, *clip.frames[0, ::STRIDE, ::STRIDE, 0].shape), np.float16)
    for result, place in zip(results, thinned, strict=True):
        place[: len(result.ids) + 1] = result.probabilities[:, ::STRIDE, ::STRIDE].numpy()
    return np.stack([result.label_map() for result in results]), thinned


def train(method: str, constants: dict[str, float], variant: str) -> dict[str, Any]:
    """Loss, and gradient norm of every part of the network, of one training step."""
    model = model_of(method, **constants, **settings_of(method).variants[variant]).train()
    batch = training_batch(method, queries=3, seed=5)
    loss = torch.stack(list(model.network.losses(model.network.training_forward(batch), batch).values())).sum()
    loss.backward()
    squares: dict[str, float] = defaultdict(float)
    for name, parameter in model.network.named_parameters():
        if parameter.grad is not None:
            squares[name.split(".")[0]] += float(parameter.grad.double().square().sum())
    return {"loss": loss.item(), "gradients": {part: square**0.5 for part, square in squares.items()}}


def freeze(method: str) -> None:
    """Write the numbers of a method."""
    torch.set_num_threads(1)
    with torch.no_grad():
        logits = model_of(method).network.training_forward(training_batch(method, seed=5)).logits
    scale = 2 / logits.std(dim=(-2, -1)).mean().item()
    constants = {"scale": scale, "shift": -scale * logits.mean().item()}
    steps = {variant: train(method, constants, variant) for variant in settings_of(method).variants}
    labels, probabilities = track(model_of(method, **constants))
    DATA.mkdir(exist_ok=True)
    (DATA / f"selftest_{method}.json").write_text(json.dumps({"constants": constants, "steps": steps}, indent=2) + "\n")
    np.savez_compressed(DATA / f"selftest_{method}.npz", labels=labels, probabilities=probabilities)


@pytest.fixture(autouse=True, scope="module")
def _alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def frozen(method: str) -> dict[str, Any]:
    path = DATA / f"selftest_{method}.json"
    assert path.is_file(), f"no frozen numbers of {method}; write them: python -m tests.contract.test_selftest {method}"
    return {**json.loads(path.read_text()), **np.load(path.with_suffix(".npz"))}


def test_frozen_numbers_have_structure_and_are_small(method: str, frozen: dict[str, Any]) -> None:
    shares = np.bincount(frozen["labels"][2:].ravel(), minlength=4) / frozen["labels"][2:].size
    assert (shares > 0.02).all(), shares
    assert sum(path.stat().st_size for path in DATA.glob(f"selftest_{method}.*")) < 200_000


def test_tracking_gives_the_frozen_masks(method: str, frozen: dict[str, Any]) -> None:
    labels, probabilities = track(model_of(method, **frozen["constants"]))
    for t, (own, stored) in enumerate(zip(labels, frozen["labels"], strict=True)):
        assert (own == stored).mean() >= LABELS, f"frame {t}"
    difference = np.abs(probabilities.astype(np.float32) - frozen["probabilities"].astype(np.float32))
    assert difference.max() <= PROBABILITY, difference.max(axis=(1, 2, 3))


def test_training_gives_the_frozen_losses_and_gradients(method: str, frozen: dict[str, Any]) -> None:
    assert frozen["steps"].keys() == settings_of(method).variants.keys()
    for variant, stored in frozen["steps"].items():
        own = train(method, frozen["constants"], variant)
        assert own["loss"] == pytest.approx(stored["loss"], rel=LOSS), variant
        assert own["gradients"] == pytest.approx(stored["gradients"], rel=GRADIENTS), variant


def test_the_frozen_numbers_notice_a_small_change_of_every_part(method: str, frozen: dict[str, Any]) -> None:
    model = model_of(method, **frozen["constants"])
    torch.manual_seed(0)
    for part, child in model.network.named_children():
        kept = [parameter.detach().clone() for parameter in child.parameters()]
        if not kept:
            continue
        with torch.no_grad():
            for parameter in child.parameters():
                parameter.add_(0.2 * parameter.abs().mean() * torch.randn_like(parameter))
            _, probabilities = track(model)
            for parameter, before in zip(child.parameters(), kept, strict=True):
                parameter.copy_(before)
        difference = np.abs(probabilities.astype(np.float32) - frozen["probabilities"].astype(np.float32))
        assert difference.max() > 2 * PROBABILITY, f"{part}: a change by a fifth goes unnoticed"


if __name__ == "__main__":
    for name in sys.argv[1:] or METHODS:
        freeze(name)
