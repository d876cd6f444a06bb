"""What a command tells the person at the terminal."""

from __future__ import annotations

import sys

from vos_zoo.processes import is_first


def say(text: str) -> None:
    """Print at once: long runs are often watched through a pipe. Of several processes the first one speaks."""
    if not is_first():
        return
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
