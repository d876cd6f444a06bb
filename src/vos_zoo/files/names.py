"""Images of a folder in natural order, and messages about missing files.

Frames may be numbered with or without leading zeros: they are sorted by the numbers within their names, so that
``frame_2`` comes before ``frame_10``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from vos_zoo.types import UsageError, VOSError

FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""File endings of frames (lower case; any case on disk)."""
_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key: runs of digits compare as numbers, the text between them as text, then the whole name."""
    parts = _NUMBER.split(name)  # text, number, text, ...
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def list_files(folder: str | Path, suffixes: Iterable[str] = FRAME_SUFFIXES) -> list[Path]:
    """Files of a folder with one of the `suffixes` (lower case), in natural order of their stems; no hidden ones.

    Broken links are listed: reading them is an error that names them.

    Raises:
        VOSError: there is no such folder, or it cannot be read.
    """
    wanted = set(suffixes)
    names = [name for name, is_folder in _entries(Path(folder)) if not is_folder and _suffix(name) in wanted]
    return [Path(folder, name) for name in sorted(names, key=lambda name: (natural_key(_stem(name)), name))]


def list_folders(folder: str | Path) -> list[Path]:
    """Folders of a folder in natural order, without hidden ones; including broken links without an image ending.

    Raises:
        VOSError: there is no such folder, or it cannot be read.
    """
    found = []
    for name, is_folder in _entries(Path(folder)):
        path = Path(folder, name)
        if is_folder or (path.is_symlink() and not path.exists() and not _suffix(name)):
            found.append(path)
    return sorted(found, key=lambda path: natural_key(path.name))


def list_pictures(folder: str | Path, suffixes: Iterable[str] = FRAME_SUFFIXES) -> dict[str, Path]:
    """Images of a folder by file stem, in natural order. A missing folder is empty.

    If two images share a stem, the first suffix in alphabetical order is taken.
    """
    pictures: dict[str, Path] = {}
    for path in list_files(folder, suffixes) if os.path.isdir(folder) else []:
        pictures.setdefault(path.stem, path)
    return pictures


def reordered(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two neighbours that are sorted differently as text and by their numbers; None if both orders agree.

    Args:
        names: stems in natural order.
    """
    return next(((one, two) for one, two in pairwise(names) if one > two), None)


def describe_order(names: Sequence[str]) -> str | None:
    """A warning if the natural order of `names` is not their text order, else None."""
    pair = reordered(names)
    if pair is None:
        return None
    return (
        f"the numbers in the names order the frames ({pair[0]} before {pair[1]}); as text they would come in another "
        "order: write the numbers with leading zeros if other tools read them, too"
    )


def no_such_file(path: str | Path, kind: str = "file") -> str:
    """Why a file (or another `kind`) is missing, and the fix; for a broken link with its target."""
    if os.path.islink(path):
        return f"is a link to {os.readlink(path)}, where there is no {kind}; restore that {kind} or remove the link"
    return f"there is no such {kind}; restore it or leave the sequence out"


def camera_number(source: object) -> int | None:
    """The number of a camera named as text "camera" (0) or "camera:N"; None for anything else.

    Raises:
        UsageError: the part after "camera:" is not a number.
    """
    if not isinstance(source, str) or (source != "camera" and not source.startswith("camera:")):
        return None
    number = source.partition(":")[2] or "0"
    if not (number.isascii() and number.isdecimal()):
        raise UsageError(f"{source}: a camera is named 'camera' or 'camera:NUMBER', for example 'camera:1'")
    return int(number)


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder that are not hidden, and which are folders (or links to folders)."""
    try:
        with os.scandir(folder) as entries:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path)))
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        raise VOSError(f"folder {folder}: {no_such_file(folder, 'folder')}") from None
    except OSError as error:
        raise VOSError(f"folder {folder}: cannot be read ({error.strerror})") from error


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
