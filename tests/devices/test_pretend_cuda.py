"""Every method on a pretend CUDA device: the values of the CPU, and no tensor left behind there."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.contract_settings import build, moving_squares, settings_of, training_batch
from tests.helpers.pretend_cuda import DEVICE, DeviceMismatch, Pretend, pretending, to_device, values
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.types import Confidence, FrameResult

VIDEO = moving_squares(7, (56, 72), objects=3)


Told = tuple[np.ndarray, torch.Tensor, dict[str, torch.Tensor]]
"""Labels, probabilities and confidence of a frame."""


def story(model: VOSModel, length: int = 7, **options: Any) -> list[Told]:
    """Two objects, a third one later, one corrected, one dropped, all dropped, one started again."""
    engine = model.propagator(**options)
    prompts = {0: VIDEO.only(1, 2), 3: VIDEO.only(3, frame=3), 4: VIDEO.only(1, frame=4), 6: VIDEO.only(2, frame=6)}
    results: list[FrameResult] = []
    for t, frame in enumerate(VIDEO.frames[:length]):
        results += engine.push(frame, prompts.get(t), wanted=t != 1)
        if t == 4:
            results += engine.drop([2])
        if t == 5:
            results += engine.drop(list(engine.ids))
    results += engine.flush()
    assert engine.nbytes > 0
    return [(result.label_map(), values(result.probabilities).float(), numbers(result)) for result in results]


def numbers(result: FrameResult) -> dict[str, torch.Tensor]:
    """The confidence of a result by name."""
    assert result.confidence is not None
    return {own.name: getattr(result.confidence, own.name) for own in fields(Confidence)}


def compare(one: VOSModel, two: VOSModel, **options: Any) -> None:
    """`one` on the CPU and its copy `two` on the device see the same."""
    expected = story(one, **options)
    with pretending():
        found = story(two, **options)
    for (labels, probabilities, sure), (own_labels, own, own_sure) in zip(expected, found, strict=True):
        difference = (own - probabilities).abs()
        if options["precision"] == "float32":
            assert difference.max() < 1e-3 and (labels == own_labels).mean() > 0.999
            for name, value in sure.items():
                torch.testing.assert_close(own_sure[name], value, equal_nan=True, rtol=0, atol=5e-3)
        else:  # labels of fresh networks are nearly tied
            assert difference.mean() < 0.02


@pytest.mark.parametrize("method", available_models())
def test_tracking_on_a_device_gives_the_results_of_the_cpu(method: str) -> None:
    model = build(method).eval()
    with pretending():
        moved = to_device(model)
    compare(model, moved, precision="float32")
    compare(model, moved, precision="bf16", length=3)


@pytest.mark.parametrize(
    ("method", "network", "track"),
    [
        ("giel", {"refine_decoder": False}, {"memory_dtype": "fp16"}),
        ("giel", {"instance_embedding": False, "no_instance_mode": "label_propagation"}, {"flip": True}),
        ("joint", {}, {"preset": "paper"}),
        ("pcvos", {"refinement": False}, {"top_k": None, "short_edge": 48}),
    ],
)
def test_variants_on_a_device_give_the_results_of_the_cpu(
    method: str, network: dict[str, Any], track: dict[str, Any]
) -> None:
    model = build(method, **network).eval()
    with pretending():
        moved = to_device(model)
    compare(model, moved, precision="float32", **track)


def test_weights_that_have_changed_reach_the_copy_that_a_device_runs() -> None:
    model = build("lwl", backbone="resnet18").eval()
    with pretending():
        moved = to_device(model)
        list(moved.track(VIDEO.frames[:2], {0: VIDEO.only(1)}, precision="float32"))
    with torch.no_grad():
        model.network.backbone.conv1.weight.mul_(0.5)
        with pretending():
            moved.network.backbone.conv1.weight.mul_(0.5)
    compare(model, moved, precision="float32", length=3)


def test_boxes_on_a_device_give_the_results_of_the_cpu() -> None:
    model = build("lwl", box_encoder=True).eval()
    with pretending():
        moved = to_device(model)
    prompts = {0: {1: (8.0, 10.0, 20.0, 20.0)}, 2: {2: (40.0, 20.0, 20.0, 30.0)}}
    expected = [result.label_map() for result in model.track(VIDEO.frames[:4], prompts)]
    with pretending():
        found = [result.label_map() for result in moved.track(VIDEO.frames[:4], prompts)]
    assert all(np.array_equal(one, two) for one, two in zip(expected, found, strict=True))


class _Trainer:
    """What a training step asks of a trainer."""

    world_size, precision_plugin, global_step = 1, None, 3


def gradients(model: VOSModel, batch: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[float, torch.Tensor]:
    """Loss and all gradients of a training step, as the trainer runs it."""
    monkeypatch.setattr(VOSModel, "log", lambda *_, **__: None)
    monkeypatch.setattr(VOSModel, "global_step", 3)
    monkeypatch.setattr(VOSModel, "trainer", _Trainer())
    model.setup("fit")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, 1e-4)
    loss = model.training_step(batch, 0)
    loss.backward()
    model.on_before_optimizer_step(optimiser)
    found = torch.cat([values(p.grad).flatten().double() for p in parameters if p.grad is not None])
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    return float(loss.detach()), found


@pytest.mark.parametrize("method", available_models())
def test_a_training_step_on_a_device_gives_the_loss_and_gradients_of_the_cpu(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(method, optim={"groups": {"": 1e-4}})
    batch = training_batch(method, sequences=1)
    batch.valid[0, -1] = settings_of(method).slots == 1
    expected, own = gradients(copy.deepcopy(model), batch, monkeypatch)
    with pretending("meta"):
        moved = to_device(model)
        loss, found = gradients(moved, batch.to(DEVICE), monkeypatch)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert torch.nn.functional.cosine_similarity(found, own, dim=0) > 0.9999


class _Forgetful:
    """A module `torch` whose functions `names` create tensors on the CPU, whatever device is asked for."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        own = getattr(torch, name)
        if name not in self._names:
            return own
        return lambda *args, **kwargs: own(*args, **{k: v for k, v in kwargs.items() if k != "device"})


def test_a_tensor_made_on_the_cpu_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos_zoo.methods.pcvos.memory.torch", _Forgetful("arange"))
    with pretending(), pytest.raises(DeviceMismatch, match="pcvos"):
        list(to_device(build("pcvos").eval()).track(VIDEO.frames[:4], {0: VIDEO.only(1)}))


def test_a_constant_that_is_no_buffer_is_caught() -> None:
    model = build("llb").eval()
    planted = [module for module in model.modules() if "w" in module._buffers]
    for module in planted:
        object.__setattr__(module, "w", module._buffers.pop("w"))
    assert planted
    with pretending(), pytest.raises(DeviceMismatch, match="llb"):
        list(to_device(model).track(VIDEO.frames[:2], {0: VIDEO.only(1)}))


def test_a_result_read_without_moving_it_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrameResult, "label_map", lambda result: result.probabilities.argmax(dim=0).numpy())
    with pretending(), pytest.raises(TypeError, match="cuda:0"):
        [r.label_map() for r in to_device(build("giel").eval()).track(VIDEO.frames[:2], {0: VIDEO.only(1)})]


def test_waits_and_kernels_are_counted_where_they_happen() -> None:
    with pretending() as log:
        x = torch.ones(3, 4, device=DEVICE)
        log.start()
        x.t()[1:].sum().item()
        x[[0, 2]] = 0
        x[x > 0]
        x.to("cpu"), torch.zeros(2).to(DEVICE, non_blocking=True)
        log.on = False
    kinds: dict[str, int] = {}
    for (kind, _), count in log.waits.items():
        kinds[kind] = kinds.get(kind, 0) + count
    assert kinds == {"item": 1, "upload": 1, "boolean mask": 1, "download": 1}
    assert log.kernels["sum"] == 1 and log.kernels["copy"] == 3 and "t" not in log.kernels
    assert isinstance(x, Pretend)
