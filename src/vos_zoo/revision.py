"""What a run is made of: the revision of the checkout, and digests of source files and weights."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
_CODE = (".py", ".txt")
"""Endings of source files, and of lists that the source reads."""


def git_revision() -> str | None:
    """The git revision of the package's checkout, with "-dirty" if its files have changed since.

    None without git, or if the package is not part of a checkout (it may be installed inside another one).
    """
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    revision = _git("rev-parse", "HEAD") if tracked else None
    return revision and revision + ("-dirty" if _git("status", "--porcelain", "--", ".") else "")


def _git(*words: str) -> str | None:
    """Output of git in the package's folder; None if it fails."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, *words], capture_output=True, text=True, cwd=_PACKAGE)
    return done.stdout.strip() if done.returncode == 0 else None


def source_digest(classes: Iterable[type] = ()) -> str:
    """SHA-256 of the package's source files, and of the modules in which `classes` from elsewhere are defined."""
    files = {path.relative_to(_PACKAGE).as_posix(): path for path in _PACKAGE.rglob("*") if path.suffix in _CODE}
    for name in sorted({each.__module__ for each in classes}):
        path = getattr(sys.modules.get(name), "__file__", None)
        if path is not None and not Path(path).is_relative_to(_PACKAGE):
            files[f"{name} in {Path(path).name}"] = Path(path)
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes() if files[name].is_file() else b""
        digest.update(f"{name}:{len(content)};".encode())
        digest.update(content)
    return digest.hexdigest()


def weights_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 of a state dict: names, types, shapes and values of its tensors, on any device."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, torch.Tensor):
            digest.update(f"{name}={value!r};".encode())
            continue
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
