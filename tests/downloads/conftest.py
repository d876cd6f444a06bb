"""A server on this machine, and a folder of our own to keep its files in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.unruly_server import Site, serve
from vos_zoo.downloads import transfer


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VOS_ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(transfer, "PAUSE", 0.01)
    monkeypatch.setattr(transfer, "TIMEOUT", 20.0)
    with serve() as site:
        yield site
