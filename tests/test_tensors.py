"""Tensors that outlive their call: caches and the modes of those who ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from vos_zoo.tensors import cached_tensors, ordinary_tensors


def modes() -> Iterator[tuple[str, AbstractContextManager[object]]]:
    yield "inference", torch.inference_mode()
    yield "no gradients", torch.no_grad()
    yield "gradients", torch.enable_grad()
    yield "another device", torch.device("meta")


@pytest.mark.parametrize("mode", [pytest.param(mode, id=name) for name, mode in modes()])
def test_what_is_cached_serves_training_whoever_asks_first(mode: AbstractContextManager[object]) -> None:
    weight, calls = torch.ones(3, requires_grad=True), []

    @cached_tensors(maxsize=2)
    def table(size: int) -> Tensor:
        calls.append(size)
        return torch.arange(float(size)) + weight.sum()

    with mode:
        first = table(3)
    assert table(3) is first and calls == [3], "cached"
    assert not first.requires_grad and not first.is_inference() and first.device.type == "cpu"
    x = torch.ones(3, requires_grad=True)
    (first * x).sum().backward()
    assert torch.equal(x.grad, first)


def test_arguments_tell_results_apart_and_the_oldest_is_dropped() -> None:
    calls = []

    @cached_tensors(maxsize=2)
    def table(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Named."""
        calls.append(size)
        return torch.zeros(size, dtype=dtype)

    assert table.__name__ == "table" and table.__doc__ == "Named."
    assert table(2).dtype == torch.float32 and table(2, dtype=torch.float64).dtype == torch.float64
    table(3)
    table(2)
    assert calls == [2, 2, 3, 2]


def test_ordinary_tensors_leave_the_callers_mode_as_it_was() -> None:
    @ordinary_tensors()
    def make() -> Tensor:
        return torch.zeros(2)

    with torch.inference_mode():
        assert not make().is_inference() and torch.is_inference_mode_enabled()
    weight = torch.ones(2, requires_grad=True)
    with ordinary_tensors():
        assert not (weight * 2).requires_grad
    assert (weight * 2).requires_grad
