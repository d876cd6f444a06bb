"""Files without a published digest: the first download is trusted, and every later one must equal it.

Beside FILE, FILE.lock.json holds its address, SHA-256 and size, and the time of the first download.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from vos_zoo.downloads.fetching import (
    damaged_or_absent_error,
    file_digest,
    http_address,
    kept_in,
    offline,
    show_progress,
)
from vos_zoo.downloads.transfer import collect, discard, finish, is_web_page
from vos_zoo.files.atomic import write_text
from vos_zoo.types import VOSError


@dataclass(frozen=True)
class FirstDownload:
    """What the first download of a file was.

    Attributes:
        url: its address.
        sha256: its digest, 64 hexadecimal digits.
        size: bytes.
        time: when, ISO 8601.
    """

    url: str
    sha256: str
    size: int
    time: str


def lock_file(path: Path) -> Path:
    """The file that records the first download of `path`."""
    return path.with_name(f"{path.name}.lock.json")


def fetch_trusted(
    url: str, path: Path, check: Callable[[Path], object] | None = None, *, progress: bool | None = None
) -> Path:
    """Download a file for which no digest is published, or find it on this machine.

    Args:
        url: http or https address, or a link to a file or a folder of Google Drive; a folder has it by the name
            of `path`.
        path: where the file is kept.
        check: raises an error if a file is unusable; called before the first download is recorded.
        progress: show a progress bar; None: if stderr is a terminal.

    Returns:
        `path`.

    Raises:
        UsageError: downloads are switched off and the file is not on this machine.
        VOSError: the download failed, is no such file, or differs from the first download.
    """
    http_address(url)
    if _is_known(path):
        return path
    if offline():
        raise damaged_or_absent_error(url, path)
    with kept_in(url, path):
        if not _is_known(path):
            _download(url, path, check, show_progress(progress))
    return path


def _is_known(path: Path) -> bool:
    """Whether a file is there and equals its first download."""
    first = _read(path)
    return first is not None and path.is_file() and _same(path, first)


def _same(path: Path, first: FirstDownload) -> bool:
    return path.stat().st_size == first.size and file_digest(path) == first.sha256


def _download(url: str, path: Path, check: Callable[[Path], object] | None, progress: bool) -> None:
    partial, first = path.with_name(f"{path.name}.part"), _read(path)
    collect(url, partial, progress)
    if is_web_page(partial):
        discard(partial)
        raise VOSError(f"{url}: the server sent a web page instead of the file; open the address in a browser")
    if first is not None and not _same(partial, first):
        found = f"{partial.stat().st_size} bytes, SHA-256 {file_digest(partial)}"
        discard(partial)
        raise VOSError(
            f"{url}: the file changed: it has {found}, but the first download ({first.time[:10]}) had {first.size} "
            f"bytes, SHA-256 {first.sha256}; if its publishers say that they replaced it, delete {lock_file(path)}"
        )
    if check is not None:
        try:
            check(partial)
        except VOSError as error:
            discard(partial)
            raise VOSError(f"{url}: the file is damaged or incomplete ({error}); it was deleted, try again") from error
    if first is None:
        _record(url, partial, path)
    finish(partial, path)


def _record(url: str, partial: Path, path: Path) -> None:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    first = FirstDownload(url, file_digest(partial), partial.stat().st_size, time)
    write_text(lock_file(path), json.dumps(asdict(first), indent=2) + "\n")


def _read(path: Path) -> FirstDownload | None:
    """The record of the first download, or None if there was none.

    Raises:
        VOSError: the record is damaged.
    """
    lock = lock_file(path)
    if not lock.is_file():
        return None
    try:
        return FirstDownload(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise VOSError(f"{lock}: is not the record of a download; delete it to trust the next one") from error
