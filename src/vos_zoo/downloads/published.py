"""Files that authors published: where they lie on this machine, and how they get there."""

from __future__ import annotations

import sys
import urllib.parse
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vos_zoo.downloads.fetching import cached_file, fetch, home, offline
from vos_zoo.downloads.transfer import names_in
from vos_zoo.downloads.trust import fetch_trusted
from vos_zoo.registry import PublishedFile
from vos_zoo.types import UsageError, VOSError


def by_hand(known: PublishedFile) -> Path:
    """Where a file is looked for first: people may put it there themselves; those of a folder have one of their own."""
    return home() / "files" / (known.name if "/" in known.name else known.file)


def downloaded(known: PublishedFile) -> Path | None:
    """Where the download of a file is kept, or None if it has no address."""
    if known.url is None:
        return None
    return cached_file(known.url, known.sha256) if known.sha256 else home() / "downloads" / known.name / known.file


def local_file(known: PublishedFile) -> Path | None:
    """The file on this machine, or None."""
    places = (by_hand(known), downloaded(known))
    return next((place for place in places if place is not None and place.is_file()), None)


def where_to_get(known: PublishedFile) -> str:
    """How to get a file without our downloads."""
    return f"get {known.file} from {known.page} and put it at {by_hand(known)}"


def get_file(known: PublishedFile, check: Callable[[Path], object] | None = None) -> Path:
    """A published file, downloaded if it is not on this machine; its source and licence are printed before that.

    Args:
        known: the file.
        check: raises `VOSError` if a file is unusable; called once after a download without a published digest.

    Raises:
        UsageError: it is not on this machine, and has no address, or downloads are switched off.
        VOSError: the download failed, or the file is not the one that was published or downloaded first.
    """
    if not known.file:
        raise UsageError(_which_one(known))
    if by_hand(known).is_file():
        return by_hand(known)
    place = downloaded(known)
    if known.url is None or place is None:
        raise UsageError(f"{known.name!r} is not on this machine: {where_to_get(known)}")
    if not place.is_file() and not offline():
        _announce(known)
    try:
        return fetch(known.url, known.sha256) if known.sha256 else fetch_trusted(known.url, place, check)
    except UsageError:
        raise
    except VOSError as error:
        raise VOSError(f"{error}; or {where_to_get(known)}") from error


def in_folder(known: PublishedFile, path: str) -> PublishedFile | None:
    """One file of a published folder, named NAME/PATH; None if that is no path in it."""
    parts = path.split("/")
    if known.file or known.url is None or any(part in ("", ".", "..") for part in parts):
        return None
    url = f"{known.url}#{urllib.parse.quote(path)}"
    return replace(known, name=f"{known.name}/{path}", file=parts[-1], url=url)


def _which_one(known: PublishedFile) -> str:
    """What to give instead of the name of a folder."""
    there = "" if offline() or known.url is None else f"; it shows {names_in(known.url)}"
    return f"{known.name!r} is a folder of files; name one of them, as {known.name}/FILE (page: {known.page}){there}"


def check_zip(path: Path) -> None:
    """Check that a file is a complete zip archive.

    Raises:
        VOSError: it is not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise VOSError(f"no zip archive: {error}") from error
    if broken is not None:
        raise VOSError(f"{broken} in the zip archive is damaged")


def _announce(known: PublishedFile) -> None:
    digest = "" if known.sha256 else "; no digest is published, so the first download is recorded and trusted"
    sys.stderr.write(
        f"vos-zoo: downloading {known.file} for {known.name!r} from {known.url} "
        f"(page: {known.page}; licence: {known.licence}){digest}\n"
    )
