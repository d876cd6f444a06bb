"""Winograd's convolution is the plain one: exactly in its algebra, closely in float32, only where it may be used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.blocks import winograd as module
from vos_zoo.blocks.winograd import Conv3x3, convolve, winograd


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
    layer, x = Conv3x3(256, 128), torch.randn(1, 256, 40, 44).relu()
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    error = (layer(x) - exact).abs().max() / exact.abs().max()
    plain = (F.conv2d(x, layer.weight, layer.bias, padding=1) - exact).abs().max() / exact.abs().max()
    assert plain < error <= 5e-6, "another algorithm, and nearly as close"


def test_gradients_and_half_precision_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Winograd's algorithm was called")

    monkeypatch.setattr(module, "winograd", refuse)
    x, weight = torch.randn(1, 128, 32, 32), torch.randn(128, 128, 3, 3)
    convolve(x, weight, None)
    with torch.no_grad():
        convolve(x.bfloat16(), weight.bfloat16(), None)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            convolve(x, weight, None)
        convolve(x[..., :8], weight, None)
        with pytest.raises(AssertionError):
            convolve(x, weight, None)
