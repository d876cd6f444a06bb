"""One file over http: attempts, resuming, and the check that all parts are of the same version of the file."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_zoo import __version__
from vos_zoo.downloads import drive
from vos_zoo.files.atomic import publish
from vos_zoo.types import VOSError

ATTEMPTS = 4
"""Attempts of a download after failures that may be temporary."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""
TIMEOUT = 30.0
"""Seconds without data after which a connection is closed."""
_CHUNK = 1 << 18
_HEADERS = {"User-Agent": f"vos-zoo/{__version__}", "Accept-Encoding": "identity"}
_PASSING = (408, 425, 429, 500, 502, 503, 504)


def collect(url: str, partial: Path, progress: bool) -> None:
    """Complete `partial`, in several attempts if necessary.

    A part that is there already is continued if the server sends the rest of the same version of the file.

    Args:
        url: address of the file, or of a file or a folder of Google Drive; in a folder the file has the name of
            `partial`, without ``.part``.
        partial: ``NAME.part``.
        progress: show a progress bar.

    Raises:
        VOSError: the server refuses, or the download failed too often.
        OSError: the file cannot be written.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _continue(url, partial, progress)
        except _OtherVersion:
            reason = "the file changed while it was downloaded"
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server says {error.code} {error.reason}"
            if error.code == 416:  # nothing is left to send
                if _size(partial) == _kept_version(partial).get("total"):
                    return None
                discard(partial)
            elif error.code not in _PASSING:
                raise VOSError(f"{url}: {reason}; check the address") from error
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except http.client.IncompleteRead as error:
            reason = f"the connection ended {error.expected or 'some'} bytes before the end of the file"
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
    kept = _size(partial)
    rest = f"; {kept} bytes are kept, and the next call continues from there" if kept else ""
    raise VOSError(f"{url}: the download failed {ATTEMPTS} times, the last time because: {reason}{rest}")


def names_in(url: str) -> str:
    """The names that a folder on Google Drive shows, for messages.

    Raises:
        VOSError: it cannot be asked.
    """
    try:
        return drive.names_in(url, lambda address: _request(address, _HEADERS))
    except (OSError, http.client.HTTPException) as error:
        raise VOSError(f"{url}: cannot be listed ({error})") from error


def discard(partial: Path) -> None:
    """Delete an incomplete file and what is known about it."""
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)


def finish(partial: Path, path: Path) -> None:
    """Give a complete file its name."""
    _version_file(partial).unlink(missing_ok=True)
    publish(partial, path)


def is_web_page(path: Path) -> bool:
    """Whether a file begins like HTML."""
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head"))


class _OtherVersion(Exception):
    """The server sends the rest of another version of the file."""


def _continue(url: str, partial: Path, progress: bool) -> None:
    """One request for the missing part of `partial`.

    Raises:
        http.client.IncompleteRead: the connection ended before the announced length.
    """
    start, kept = _size(partial), _kept_version(partial)
    start = start if kept else 0
    headers = {**_HEADERS, "Range": f"bytes={start}-"} if start else _HEADERS
    name = partial.name.removesuffix(".part")
    with drive.follow(url, name, lambda address: _request(address, headers)) as answer:
        rest = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if rest else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        version = {"id": _version_id(answer), "total": total}
        if rest and version != kept:
            discard(partial)
            raise _OtherVersion
        _check_space(partial.parent, total, start)
        with partial.open("ab" if rest else "wb") as file:
            _version_file(partial).write_text(json.dumps(version), encoding="utf-8")
            _copy(answer, file, name, start, total, progress)
            got = file.tell()
        if total is not None and got < total:
            raise http.client.IncompleteRead(b"", total - got)


def _request(url: str, headers: Mapping[str, str]) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=TIMEOUT)


def _version_id(answer: Any) -> str:
    """What a server says about the version of a file; Google's storage has digests instead of entity tags."""
    return next((answer.headers[name] for name in ("ETag", "X-Goog-Hash", "Last-Modified") if answer.headers[name]), "")


def _version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _kept_version(partial: Path) -> dict[str, Any]:
    """Version and length of the file that `partial` is a part of; empty if unknown."""
    try:
        return dict(json.loads(_version_file(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


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
