"""Atomic outputs: written under a hidden name beside their place, and renamed when they are complete.

After a crash or on a full disk the former file or folder is still there, and a reader never sees half of a new one.
What is written has the permissions of any new file or folder of the process, and its content is synced to disk before
it is renamed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = 40
"""Characters of a name that its temporary name repeats: file systems allow 255 bytes."""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """The path to write the content of a file to; it gets the file's name when the block ends without an error.

    The folder of the file is created; an existing file is replaced.
    """
    path = Path(path)
    temporary = temporary_file(path)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # some libraries create their files anew, readable for the owner only
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill; it gets its name when the block ends without an error.

    Args:
        path: the folder; the one above it is created.
        replace: replace a folder of that name. Else it is kept, since another process was faster.
    """
    path = Path(path)
    draft, former = (path.with_name(_hidden(path, suffix)) for suffix in (".tmp", ".old"))
    draft.mkdir(parents=True)
    try:
        yield draft
        if replace and path.is_dir():
            path.rename(former)
        try:
            draft.rename(path)
        except OSError:
            if former.is_dir():
                former.rename(path)
            if replace or not path.is_dir():
                raise
    finally:
        for folder in (draft, former):
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically; creates its folder."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8 atomically; creates its folder."""
    write_bytes(path, text.encode("utf-8"))


def temporary_file(path: Path, suffix: str = ".tmp") -> Path:
    """A new, empty, hidden file beside `path`, for writers that call `publish` themselves; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_hidden(path, suffix))
    temporary.touch(exist_ok=False)
    return temporary


def publish(temporary: Path, path: Path) -> None:
    """Sync a complete file to disk and give it its name."""
    handle = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)


def remove_temporaries(path: Path) -> None:
    """Remove what killed processes left of a file that a single process writes."""
    for temporary in path.parent.glob(f".{path.name[:_NAME]}-*.tmp"):
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a renaming in it survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hidden(path: Path, suffix: str) -> str:
    return f".{path.name[:_NAME]}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"
