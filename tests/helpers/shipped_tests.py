"""Weights that ship."""

from __future__ import annotations

from typing import Any

from tests.helpers.contract_settings import BY_METHOD

METHODS = sorted(BY_METHOD)


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("something asked the network")
