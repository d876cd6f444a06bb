"""Switches in environment variables."""

from __future__ import annotations

import os


def is_on(*names: str) -> bool:
    """Whether one of these environment variables is 1, true, yes or on."""
    return any(os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"} for name in names)
