"""Tensors that outlive the call that creates them, such as caches: ordinary tensors in any mode of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

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

    They are created as `ordinary_tensors`, on the CPU unless the function names a device, whoever calls first.

    Args:
        maxsize: number of cached results.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        @wraps(make)
        def ordinary(*args: P.args, **kwargs: P.kwargs) -> R:
            with ordinary_tensors(), torch.device("cpu"):
                return make(*args, **kwargs)

        return lru_cache(maxsize)(ordinary)  # type: ignore[return-value]

    return decorate
