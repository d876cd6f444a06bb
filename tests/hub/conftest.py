"""Fixtures of the tests of saved and shipped weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import card as cards

from tests.helpers.contract_settings import build
from tests.helpers.shipped import ship_into
from tests.helpers.shipped_tests import refuse
from tests.helpers.unruly_server import Site, serve
from vos_zoo.model import VOSModel


@pytest.fixture(scope="module")
def small() -> VOSModel:
    return build("lwl", seed=3)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shipped weights for this test, without a network."""
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(cards, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(cards, "README", shutil.copyfile(cards.README, tmp_path / "README.md"))
    ship_into(tmp_path / "shipped", monkeypatch)
    yield tmp_path / "shipped"
