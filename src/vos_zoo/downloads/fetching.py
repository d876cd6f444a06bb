"""Downloads that are verified by their published SHA-256; files without one are in `vos_zoo.downloads.trust`."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vos_zoo.downloads.transfer import collect, discard, finish, is_web_page
from vos_zoo.environment import is_on
from vos_zoo.types import UsageError, VOSError


def is_url(source: str) -> bool:
    """Whether `source` is an address to download from."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", source) is not None


def split_url(source: str) -> tuple[str, str | None]:
    """A URL and the digest in its fragment, as in ``https://host/model.safetensors#sha256=1f2e...``."""
    url, _, fragment = source.partition("#")
    name, _, digest = fragment.partition("=")
    return url, digest if name == "sha256" and digest else None


def offline() -> bool:
    """Whether downloads are switched off, by VOS_ZOO_OFFLINE or HF_HUB_OFFLINE."""
    return is_on("VOS_ZOO_OFFLINE", "HF_HUB_OFFLINE")


def home() -> Path:
    """The folder of downloaded and converted weights: VOS_ZOO_HOME, else vos-zoo in the user's cache folder."""
    given = os.environ.get("VOS_ZOO_HOME")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vos-zoo"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_digest(sha256: str | None, source: str) -> str:
    """The digest in lower case.

    Raises:
        UsageError: there is none, or it is not a SHA-256.
    """
    if not sha256:
        raise UsageError(
            f"{source}: nothing is downloaded without its digest; append #sha256=DIGEST to the address, or pass sha256="
        )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(
            f"{source}: {sha256!r} is not a SHA-256; it has 64 hexadecimal digits, as `sha256sum FILE` prints"
        )
    return sha256.lower()


def cached_file(url: str, sha256: str) -> Path:
    """Path of a URL's file in the cache; the digest is part of the path."""
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "file"
    return home() / "downloads" / sha256[:16] / name


def http_address(url: str) -> str:
    """The address, if it is one of http or https.

    Raises:
        UsageError: it is not.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: only http and https addresses can be downloaded")
    return url


def damaged_or_absent_error(url: str, path: Path) -> UsageError:
    """The error for a file that would have to be downloaded while downloads are switched off."""
    found = "was damaged since its download" if path.is_file() else "is not downloaded yet"
    return UsageError(
        f"{url}: {found}, and downloads are switched off (VOS_ZOO_OFFLINE or HF_HUB_OFFLINE); "
        f"unset these, or put the file at {path}"
    )


@contextmanager
def kept_in(url: str, path: Path) -> Iterator[None]:
    """The folder of `path`, where only one process at a time downloads it; a second one waits.

    Raises:
        VOSError: nothing can be kept there.
    """
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            yield
    except OSError as error:
        raise VOSError(f"{url}: cannot be kept in {path.parent} ({error.strerror or error})") from error


def show_progress(asked: bool | None) -> bool:
    """Whether to show a progress bar: as asked, or if stderr is a terminal."""
    return sys.stderr.isatty() if asked is None else asked


def fetch(source: str, sha256: str | None = None, *, progress: bool | None = None) -> Path:
    """Download a file, or find it in the cache.

    An interrupted download continues where it stopped, if the server supports it. The file gets its name only when it
    is complete and has the right digest.

    Args:
        source: http or https address; the digest may be in its fragment.
        sha256: the digest, if it is not in the address.
        progress: show a progress bar; None: if stderr is a terminal.

    Returns:
        The file in the cache.

    Raises:
        UsageError: another kind of address, no digest, or downloads are switched off and the file is not in the cache.
        VOSError: the download failed, or the file does not have the digest.
    """
    url, written = split_url(source)
    digest = checked_digest(sha256 or written, url)
    path = cached_file(http_address(url), digest)
    if _is_whole(path, digest):
        return path
    if offline():
        raise damaged_or_absent_error(url, path)
    with kept_in(url, path):
        if not _is_whole(path, digest):
            _download(url, digest, path, show_progress(progress))
    return path


def _is_whole(path: Path, digest: str) -> bool:
    """Whether a file exists and has the digest."""
    return path.is_file() and file_digest(path) == digest


def _download(url: str, digest: str, path: Path, progress: bool) -> None:
    partial = path.with_name(f"{path.name}.part")
    for _ in range(2):
        resumed = partial.is_file() and partial.stat().st_size > 0
        collect(url, partial, progress)
        found = file_digest(partial)
        if found == digest:
            finish(partial, path)
            return
        hint = "; the server sent a web page instead of the file" if is_web_page(partial) else ""
        discard(partial)
        if not resumed:  # else the kept part may be corrupt: one more attempt, from the start
            raise VOSError(f"{url}: the file has SHA-256 {found}, expected {digest}{hint}; it was deleted")
