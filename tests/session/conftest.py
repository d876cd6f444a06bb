"""A small method of another package, and a video in which it follows two objects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.contract_settings import Video, build_lively, moving_squares, toy_installed
from vos_zoo.model import VOSModel


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with toy_installed():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(toy: None) -> VOSModel:
    """One frame per call, one canvas per object; takes masks, boxes and points."""
    return build_lively("clicks")


@pytest.fixture(scope="module")
def clips(toy: None) -> VOSModel:
    """Clips of three frames."""
    return build_lively("toy")


@pytest.fixture(scope="module")
def video() -> Video:
    return moving_squares(20)
