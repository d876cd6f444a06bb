"""One switch between plain modules and their faster forms on a CPU: what it changes, and what must stay equal."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.contract_settings import BY_METHOD, build, build_lively, moving_squares, training_batch
from vos_zoo.model import VOSModel
from vos_zoo.nn.backbones import build_backbone
from vos_zoo.nn.blocks import RRB, ConvBranches, PartsConv2d, PartsSequential, ResBlock
from vos_zoo.nn.cpu import accelerate_cpu, plain_cpu, winograd
from vos_zoo.nn.cpu.accelerate import faster_forms
from vos_zoo.nn.resize import Bicubic, ResizedConv2d

METHODS = sorted(BY_METHOD)
LOGITS, PROBABILITIES = 2e-4, 1e-3
"""Largest difference between both forms: of training logits (deviation 2) and of tracked probabilities."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Winograd's algorithm at every size, as in a large network; the inputs that it was called with."""
    seen: list[torch.Size] = []
    real = winograd.winograd

    def note(x: Tensor, *values: object, **named: object) -> Tensor:
        seen.append(x.shape)
        return real(x, *values, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(winograd, "winograd", note)
    for name in ("MIN_CHANNELS", "MIN_TRAINED", "MIN_PIXELS"):
        monkeypatch.setattr(winograd, name, 2)
    monkeypatch.setattr(winograd, "MAX_COMPUTED", 100)
    return seen


def classes(model: nn.Module) -> list[type[nn.Module]]:
    return [type(module) for module in model.modules()]


def is_fast(model: nn.Module) -> bool:
    return bool(set(classes(model)) & set(faster_forms().values()))


# -- both forms compute the same -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_video_is_tracked_alike_in_both_forms(method: str, calls: list[torch.Size]) -> None:
    model, video = build_lively(method), moving_squares(5)
    plain = copy.deepcopy(model)
    plain_cpu(plain.network)
    calls.clear()
    expected = list(plain.track(video.frames, {0: video.labels[0]}))
    assert not calls and not is_fast(plain)
    found = list(model.track(video.frames, {0: video.labels[0]}))
    assert calls and is_fast(model)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.probabilities - theirs.probabilities).abs().max() <= PROBABILITIES
        assert (ours.label_map() == theirs.label_map()).mean() >= 0.999


@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_is_alike_in_both_forms(method: str, calls: list[torch.Size]) -> None:
    model, batch = build_lively(method).train(), training_batch(method)
    plain = copy.deepcopy(model)
    plain_cpu(plain.network)
    gradients = []
    for one in (model, plain):
        calls.clear()
        unrolled = one.network.training_forward(batch)
        torch.stack(list(one.network.losses(unrolled, batch).values())).sum().backward()
        assert bool(calls) == (one is model)
        gradients.append((unrolled.logits, [p.grad for p in one.parameters() if p.grad is not None]))
    (ours, slopes), (theirs, expected) = gradients
    assert (ours - theirs).abs().max() <= LOGITS
    flat, flat_expected = (torch.cat([g.flatten().double() for g in own]) for own in (slopes, expected))
    assert (flat - flat_expected).norm() <= 2e-3 * flat_expected.norm()


def parts_of(width: int) -> tuple[Tensor, Tensor]:
    return torch.randn(2, width, 12, 16), torch.randn(4, 6 - width, 12, 16)


BLOCKS = {
    "convolution": (lambda: nn.Conv2d(6, 5, 3, padding=1), lambda: (torch.randn(2, 6, 12, 16),)),
    "one output": (lambda: nn.Conv2d(6, 1, 3, padding=1), lambda: (torch.randn(2, 6, 12, 16),)),
    "shared part": (lambda: PartsConv2d(6, 5, 3, padding=1), lambda: parts_of(2)),
    "parts in layers": (
        lambda: PartsSequential(PartsConv2d(6, 5, 3, padding=1), nn.ReLU(True), nn.Conv2d(5, 4, 3, padding=1)),
        lambda: parts_of(4),
    ),
    "refinement": (lambda: RRB(6), lambda: (torch.randn(2, 6, 12, 16),)),
    "residual": (lambda: ResBlock(6, 6), lambda: (torch.randn(2, 6, 12, 16),)),
    "widening, in parts": (lambda: ResBlock(6, 5), lambda: parts_of(2)[::-1]),
    "bicubic": (Bicubic, lambda: (torch.randn(2, 6, 12, 16), (24, 32))),
    "resized": (lambda: ResizedConv2d(6), lambda: (torch.randn(2, 6, 12, 16), (24, 32))),
    "branches": (
        lambda: ConvBranches({name: nn.Conv2d(6, 3, 3, padding=1) for name in "abc"}),
        lambda: (torch.randn(2, 6, 12, 16), ("c", "a")),
    ),
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_computes_the_same_in_both_forms(name: str, gradients: bool, calls: list[torch.Size]) -> None:
    torch.manual_seed(0)
    make, draw = BLOCKS[name]
    block, inputs = make(), draw()
    images = [x.requires_grad_(gradients) for x in inputs if isinstance(x, Tensor)]
    before = [x.detach().clone() for x in images]
    states = []
    for change in (plain_cpu, accelerate_cpu):
        change(block)
        calls.clear()
        with torch.set_grad_enabled(gradients):
            result = block(*inputs)
        result = torch.cat([part.flatten() for part in result]) if isinstance(result, tuple) else result
        slopes: tuple[Tensor, ...] = ()
        if gradients:
            direction = torch.linspace(-1, 2, result.numel()).view(result.shape)
            slopes = torch.autograd.grad((result * direction).sum(), [*images, *block.parameters()], allow_unused=True)
        states.append((result, slopes))
        expects_calls = change is accelerate_cpu and name not in ("one output", "bicubic", "resized")
        assert bool(calls) == expects_calls
    (plain, slopes), (fast, ours) = states
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(now.detach(), then) for now, then in zip(images, before, strict=True)), "inputs are kept"
    for one, two in zip(ours, slopes, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3 * float(two.abs().max()))


def test_a_shared_part_is_convolved_once_and_means_the_concatenation() -> None:
    torch.manual_seed(0)
    conv, (shared, own) = PartsConv2d(6, 5, 3, padding=1).double(), (x.double() for x in parts_of(2))
    repeated = shared.repeat_interleave(2, dim=0)
    expected = F.conv2d(torch.cat([repeated, own], dim=1), conv.weight, conv.bias, padding=1)
    for found in (conv(shared, own), conv(repeated, own), conv(torch.cat([repeated, own], dim=1))):
        torch.testing.assert_close(found, expected)
    window = torch.tensor([1, 0, 0, 1])
    expected = F.conv2d(torch.cat([shared[window], own], dim=1), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(shared, own, spread=lambda x: x[window]), expected)


# -- what the switch leaves alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_entries_copies_and_pickles_do_not_depend_on_the_form(method: str) -> None:
    fast, plain = build(method), VOSModel(**_arguments(method), plain_cpu=True)
    assert is_fast(fast) and not is_fast(plain)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert "plain_cpu" not in plain.hparams, "it belongs to a run"
    plain.load_state_dict(fast.state_dict())
    for copied in (copy.deepcopy(fast.network), pickle.loads(pickle.dumps(fast.network))):
        assert classes(copied) == classes(fast.network)
        assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in fast.parameters())
    there_and_back = copy.deepcopy(fast.network)
    plain_cpu(there_and_back)
    assert classes(there_and_back) == classes(plain.network)
    accelerate_cpu(there_and_back)
    assert classes(there_and_back) == classes(fast.network)


def _arguments(method: str) -> dict[str, object]:
    model = build(method)
    return {name: model.hparams[name] for name in ("method", "model", "track")}


def test_weights_loaded_later_modes_and_devices_are_followed(calls: list[torch.Size]) -> None:
    torch.manual_seed(0)
    block, other, x = ResBlock(6, 5), ResBlock(6, 5), torch.randn(1, 6, 12, 16)
    accelerate_cpu(block)
    with torch.no_grad():
        assert not torch.allclose(block(x), other(x), atol=1e-3)
        block.load_state_dict(other.state_dict())
        torch.testing.assert_close(block(x), other(x), rtol=1e-4, atol=1e-5)
        assert not block.eval().training and block.train().conv1.training
        assert calls
        calls.clear()
        assert torch.equal(block.double()(x.double()), other.double()(x.double())), "other formats: plain operations"
        assert block.to("meta")(x.to("meta").double()).shape == (1, 5, 12, 16), "other devices: plain operations"
        assert not calls


def test_modules_with_a_forward_of_their_own_and_encoders_are_left_alone() -> None:
    class Own(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return x

    network = nn.ModuleList(
        [Own(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 1), build_backbone("resnet18")]
    )
    before = classes(network)
    accelerate_cpu(network)
    changed = [(old, new) for old, new in zip(before, classes(network), strict=True) if old is not new]
    assert len(changed) == 1 and changed[0][0].__name__ == "ResNet", "the encoder as a whole"


def test_a_replaced_layer_is_used() -> None:
    torch.manual_seed(0)
    block, x = RRB(6), torch.randn(1, 6, 12, 16)
    accelerate_cpu(block)
    block.bblock[3] = nn.Identity()
    y = block.conv1x1(x)
    conv, norm = block.bblock[0], block.bblock[1]
    torch.testing.assert_close(block(x), F.relu(y + F.relu(norm(conv(y)))), rtol=1e-4, atol=1e-5)


# -- the switch ------------------------------------------------------------------------------------------------------


def test_the_environment_variable_and_the_keyword_choose_the_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("lwl").save_pretrained(tmp_path)
    assert is_fast(VOSModel.from_pretrained(tmp_path))
    assert not is_fast(VOSModel.from_pretrained(tmp_path, plain_cpu=True))
    monkeypatch.setenv("VOS_ZOO_PLAIN_CPU", "1")
    assert not is_fast(VOSModel.from_pretrained(tmp_path))
    monkeypatch.setenv("VOS_ZOO_PLAIN_CPU", "0")
    assert is_fast(VOSModel.from_pretrained(tmp_path))
