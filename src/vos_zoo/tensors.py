"""Tensors that outlive the call they are made in, caches above all: ordinary ones, whatever mode the caller is in."""

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
    """Record no gradients, and make tensors that can be used in any mode later; also a decorator.

    What `torch.inference_mode` makes can afterwards neither be saved for backward nor be changed in place. Lightning
    validates in that mode.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def cached_tensors(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`lru_cache` for a function that makes tensors from hashable arguments alone; nobody changes them in place.

    They are made as `ordinary_tensors`, on the CPU unless the function names a device: who asks first does not matter.

    Args:
        maxsize: results kept.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        @wraps(make)
        def ordinary(*args: P.args, **kwargs: P.kwargs) -> R:
            with ordinary_tensors(), torch.device("cpu"):
                return make(*args, **kwargs)

        return lru_cache(maxsize)(ordinary)  # type: ignore[return-value]

    return decorate
