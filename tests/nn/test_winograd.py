"""Winograd's convolution is the plain one: exactly in its algebra, closely in float32, only where it may be used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.nn.cpu import winograd as module
from vos_zoo.nn.cpu.layers import FastConv3x3
from vos_zoo.nn.cpu.winograd import convolve, winograd


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7), (13, 9), (17, 32)])
def test_the_algebra_is_exact(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, *size).double(), torch.randn(6, 5, 3, 3).double(), torch.randn(6).double()
    for offset in (bias, None):
        expected = F.conv2d(x, weight, offset, padding=1)
        assert (winograd(x, weight, offset) - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("size", [(8, 12), (13, 9)])
def test_positive_parts_and_a_summand_come_in_by_the_way(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 5, *size).double(), torch.randn(6, 5, 3, 3).double(), torch.randn(6).double()
    plus = torch.randn(3, 6, *size).double()
    before = x.clone(), plus.clone()
    expected = F.conv2d(x.relu(), weight, bias, padding=1) + plus
    for way in (winograd, convolve):
        assert (way(x, weight, bias, rectify=True, plus=plus) - expected).abs().max() <= 1e-12
    assert torch.equal(x, before[0]) and torch.equal(plus, before[1]), "nothing is overwritten"


def test_strips_of_any_height_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1, 3, 30, 11).double(), torch.randn(4, 3, 3, 3).double()
    whole = winograd(x, weight, None)
    assert torch.equal(winograd(x.to(memory_format=torch.channels_last), weight, None), whole)
    monkeypatch.setattr(module, "STRIP_BYTES", 1)
    assert (winograd(x, weight, None) - whole).abs().max() <= 1e-12


@torch.no_grad()
def test_rounding_is_that_of_float32() -> None:
    torch.manual_seed(0)
    layer, x = FastConv3x3(256, 128, 3, padding=1), torch.randn(1, 256, 40, 44).relu()
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    error = (layer(x) - exact).abs().max() / exact.abs().max()
    plain = (F.conv2d(x, layer.weight, layer.bias, padding=1) - exact).abs().max() / exact.abs().max()
    assert plain < error <= 5e-6, "another algorithm, and nearly as close"


@pytest.mark.parametrize("size", [(13, 9), (8, 12)])
def test_gradients_are_those_of_the_plain_convolution(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    given = torch.randn(3, 5, *size).double(), torch.randn(6, 5, 3, 3).double(), torch.randn(6).double()
    x, weight, bias = (tensor.requires_grad_() for tensor in given)
    back = torch.randn(3, 6, *size).double()
    expected = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1), (x, weight, bias), back)
    for strip in (module.STRIP_BYTES, 1):
        monkeypatch.setattr(module, "STRIP_BYTES", strip)
        found = torch.autograd.grad(module._Recorded.apply(x, weight, bias, None, False), (x, weight, bias), back)
        for ours, plain in zip(found, expected, strict=True):
            assert (ours - plain).abs().max() <= 1e-11


@pytest.mark.parametrize("least", [0, 1 << 30], ids=["recorded", "plain"])
def test_positive_parts_and_a_summand_have_their_gradients(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PIXELS", least)
    monkeypatch.setattr(module, "MIN_TRAINED", 0)
    monkeypatch.setattr(module, "plain_only", lambda _: False)
    torch.manual_seed(0)
    given = torch.randn(2, 5, 8, 12).double(), torch.randn(6, 5, 3, 3).double(), torch.randn(6).double()
    x, weight, bias = (tensor.requires_grad_() for tensor in given)
    plus, back = torch.randn(2, 6, 8, 12).double().requires_grad_(), torch.randn(2, 6, 8, 12).double()
    inputs = (x, weight, bias, plus)
    result = convolve(x, weight, bias, rectify=True, plus=plus)
    assert result.grad_fn is not None and ("Recorded" in result.grad_fn.name()) == (least == 0)
    expected = torch.autograd.grad(F.conv2d(x.relu(), weight, bias, padding=1) + plus, inputs, back)
    for ours, plain in zip(torch.autograd.grad(result, inputs, back), expected, strict=True):
        assert (ours - plain).abs().max() <= 1e-11


def test_training_goes_the_same_way_and_rounds_as_little() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 128, 30, 36).relu().requires_grad_(), torch.randn(144, 128, 3, 3).requires_grad_()
    back = torch.randn(2, 144, 30, 36)
    exact = torch.autograd.grad(F.conv2d(x.double(), weight.double(), padding=1), (x, weight), back.double())
    result = convolve(x, weight, None)
    assert result.grad_fn is not None and "Recorded" in result.grad_fn.name()
    for ours, plain in zip(torch.autograd.grad(result, (x, weight), back), exact, strict=True):
        assert (ours - plain).abs().max() / plain.abs().max() <= 5e-6


def test_half_precision_and_small_layers_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Winograd's algorithm was called")

    monkeypatch.setattr(module, "winograd", refuse)
    x, weight = torch.randn(1, 128, 32, 32), torch.randn(128, 128, 3, 3)
    convolve(x[..., :8], weight, None)
    with torch.no_grad():
        convolve(x.bfloat16(), weight.bfloat16(), None)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            convolve(x, weight, None)
        convolve(x[..., :8], weight, None)
        with pytest.raises(AssertionError):
            convolve(x, weight, None)
