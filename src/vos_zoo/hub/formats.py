"""Format versions of a saved model's config.json, and migration of older ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vos_zoo.types import UsageError

FORMAT_VERSION = 3


def _add_origin(config: dict[str, Any]) -> dict[str, Any]:
    """1 -> 2: adds the origin of the weights (empty: trained by whoever saved them)."""
    return {**config, "origin": {}}


def _add_shared(config: dict[str, Any]) -> dict[str, Any]:
    """2 -> 3: adds the entries that are in another file (none)."""
    return {**config, "shared": {}}


MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _add_origin, 2: _add_shared}
"""Format version -> migration of its configuration to the next version."""


def migrate(config: dict[str, Any], source: str) -> dict[str, Any]:
    """A saved configuration migrated to the current format.

    Args:
        config: content of a config.json.
        source: its path, for messages.

    Raises:
        UsageError: it is of a later format than this version knows.
    """
    written = int(config.get("format_version", 1))
    if not 1 <= written <= FORMAT_VERSION:
        raise UsageError(
            f"{source!r} is of format {written}, this version reads up to {FORMAT_VERSION}; update vos-zoo"
        )
    for version in range(written, FORMAT_VERSION):
        config = MIGRATIONS[version](config)
    return {**config, "format_version": FORMAT_VERSION}
