"""Console output of commands."""

from __future__ import annotations

import sys

from vos_zoo.processes import is_first


def say(text: str) -> None:
    """Print and flush, since long runs are often watched through a pipe; of several processes only the first prints."""
    if not is_first():
        return
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
