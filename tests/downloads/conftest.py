"""A server on this machine, and a folder of our own to keep its files in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.unruly_server import Site, serve
from vos_zoo.downloads import transfer


@pytest.fixture
def site(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(transfer, "PAUSE", 0.01)
    monkeypatch.setattr(transfer, "TIMEOUT", 20.0)
    with serve() as site:
        yield site
