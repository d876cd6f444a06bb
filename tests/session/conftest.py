"""A small method of another package, and a video in which it follows two objects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.contract_settings import Video, build_lively, moving_squares, toy_installed
from tests.helpers.threads import one_thread
from vos_zoo.model import VOSModel


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    with one_thread(), toy_installed():
        yield


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
