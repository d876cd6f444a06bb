"""What a command tells the person at the terminal."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print at once: long runs are often watched through a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
