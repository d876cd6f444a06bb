"""Which revision of the source a run used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """The revision of the source, or None: not a checkout, or no git on this machine."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or None
