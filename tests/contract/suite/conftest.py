"""Fixtures of the contract suite: each registered method, and those of "another package"."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch

from tests.helpers.contract import METHODS
from tests.helpers.contract_settings import (
    build_lively,
    toy_installed,
)
from tests.helpers.threads import one_thread
from vos_zoo.model import VOSModel


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    """The methods of "another package" are installed."""
    with one_thread(), toy_installed():
        yield


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(method: str, toy: None) -> VOSModel:
    return _model(method)


@cache
def _model(method: str) -> VOSModel:
    """One model per method serves all files."""
    return build_lively(method)
