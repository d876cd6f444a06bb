"""Downloads that resume and are verified by their SHA-256; nothing is downloaded without a digest."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from vos_zoo import __version__
from vos_zoo.environment import is_on
from vos_zoo.files.atomic import publish
from vos_zoo.types import UsageError, VOSError

ATTEMPTS = 4
"""Attempts of a download after failures that may be temporary."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""
TIMEOUT = 30.0
"""Seconds without data after which a connection is closed."""
_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)


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
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: only http and https addresses can be downloaded")
    path = cached_file(url, digest)
    if _is_whole(path, digest):
        return path
    if offline():
        found = "was damaged since its download" if path.is_file() else "is not downloaded yet"
        raise UsageError(
            f"{url}: {found}, and downloads are switched off (VOS_ZOO_OFFLINE or HF_HUB_OFFLINE); "
            f"unset these, or put the file at {path}"
        )
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # a second process waits and then finds the file
            if not _is_whole(path, digest):
                _download(url, digest, path, sys.stderr.isatty() if progress is None else progress)
    except OSError as error:
        raise VOSError(f"{url}: cannot be kept in {path.parent} ({error.strerror or error})") from error
    return path


def _is_whole(path: Path, digest: str) -> bool:
    """Whether a file exists and has the digest."""
    return path.is_file() and file_digest(path) == digest


def _download(url: str, digest: str, path: Path, progress: bool) -> None:
    partial = path.with_name(f"{path.name}.part")
    for _ in range(2):
        resumed = partial.is_file() and partial.stat().st_size > 0
        kind = _collect(url, partial, progress)
        found = file_digest(partial)
        if found == digest:
            publish(partial, path)
            return
        partial.unlink()
        if not resumed:  # else the kept part may be corrupt: one more attempt, from the start
            hint = "; the server sent a web page instead of the file" if kind.startswith("text/html") else ""
            raise VOSError(f"{url}: the file has SHA-256 {found}, expected {digest}{hint}; it was deleted")


def _collect(url: str, partial: Path, progress: bool) -> str:
    """Complete `partial`, in several attempts if necessary; returns the content type."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _continue(url, partial, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and partial.is_file():  # nothing is left to send
                return ""
            reason = f"the server says {error.code} {error.reason}"
            if error.code not in _PASSING:
                raise VOSError(f"{url}: {reason}; check the address") from error
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
    kept = partial.stat().st_size if partial.is_file() else 0
    rest = f"; {kept} bytes are kept, and the next call continues from there" if kept else ""
    raise VOSError(f"{url}: the download failed {ATTEMPTS} times, the last time because: {reason}{rest}")


def _continue(url: str, partial: Path, progress: bool) -> str:
    """One request for the missing part of `partial`.

    Raises:
        http.client.IncompleteRead: the connection ended before the announced length.
    """
    start = partial.stat().st_size if partial.is_file() else 0
    headers = {"User-Agent": f"vos-zoo/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        range_kept = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if range_kept else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        _check_space(partial.parent, total, start)
        with partial.open("ab" if range_kept else "wb") as file:
            _copy(answer, file, partial.name.removesuffix(".part"), start, total, progress)
            got = file.tell()
        if total is not None and got < total:
            raise http.client.IncompleteRead(b"", total - got)
        return str(answer.headers.get("Content-Type", ""))


def _check_space(folder: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - start > free:
        raise OSError(28, f"{total - start} bytes are needed, {free} are free")


def _copy(answer: Any, file: Any, name: str, start: int, total: int | None, progress: bool) -> None:
    from tqdm import tqdm

    with tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=not progress, file=sys.stderr
    ) as bar:
        while chunk := answer.read1(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
