"""Fixtures of the tests of GIEL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.threads import one_thread


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
