"""Tensors that outlive the call that creates them, such as caches: ordinary tensors in any mode of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Record no gradients, and create tensors that can be used in any mode later; also a decorator.

    Tensors created in `torch.inference_mode` can later neither be saved for backward nor changed in place. Lightning
    validates in that mode.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def cached_tensors(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`lru_cache` for a function that creates tensors from hashable arguments; they must not be changed in place.

    They are created as `ordinary_tensors`, on the CPU unless the function names a device, whoever calls first. In a
    compiled network they are constants.

    Args:
        maxsize: number of cached results.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        @wraps(make)
        def ordinary(*args: P.args, **kwargs: P.kwargs) -> R:
            with ordinary_tensors(), torch.device("cpu"):
                return make(*args, **kwargs)

        cached = lru_cache(maxsize)(ordinary)

        @wraps(make)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return cached(*args, **kwargs)  # type: ignore[arg-type]

        call.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
        return torch.compiler.assume_constant_result(call)

    return decorate


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`; the host does not wait for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@cached_tensors(256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers ``(n,)`` on a device; created once, they must not be changed."""
    return upload(torch.tensor(values, dtype=dtype), device)


def picked(tensor: Tensor, numbers: Sequence[int], dim: int = 0) -> Tensor:
    """The entries `numbers` of an axis, copied; consecutive ones without an index on the device."""
    if not _consecutive(numbers):
        return tensor.index_select(dim, constant(tuple(numbers), tensor.device, torch.int64))
    return tensor.narrow(dim, numbers[0], len(numbers)).clone()


def seen(tensor: Tensor, numbers: Sequence[int], dim: int = 0) -> Tensor:
    """As `picked`, but consecutive entries are a view: the result must not be changed."""
    if not _consecutive(numbers):
        return picked(tensor, numbers, dim)
    return tensor.narrow(dim, numbers[0], len(numbers))


def stacked(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `torch.stack`, but a single part is a view: the result must not be changed."""
    return parts[0].unsqueeze(dim) if len(parts) == 1 else torch.stack(list(parts), dim)


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `torch.cat`, but a single part is itself: the result must not be changed."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def _consecutive(numbers: Sequence[int]) -> bool:
    return len(numbers) > 0 and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
