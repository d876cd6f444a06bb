"""Names of outputs, and checks that no command overwrites its inputs, however their paths are written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from vos_zoo.files.names import list_pictures
from vos_zoo.types import UsageError

REPORT_TABLE, REPORT_CHART = "confidence.csv", "confidence.png"
"""What `track --report` writes."""


def refuse_overwriting(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise an error for outputs that are inputs: the same file or folder by any path or link.

    Args:
        outputs: files that would be replaced, and folders that would be written into; they need not exist.
        inputs: files and folders that are read; missing ones are ignored.

    Raises:
        UsageError: an output is an input; both are named.
    """
    known = {_identity(path): path for path in inputs if os.path.exists(path)}
    for output in outputs:
        found = known.get(_identity(output))
        if found is not None:
            kind = "folder" if os.path.isdir(found) else "file"
            raise UsageError(
                f"output {output}: is the input {kind} {found}, which would be overwritten; give another name"
            )


def report_paths(output: str | Path) -> tuple[Path, Path]:
    """Table and chart of an output: inside a folder, or next to a video or JSON file with its name in front."""
    path = Path(output)
    if path.suffix.lower() in (".mp4", ".json"):
        return path.with_name(f"{path.stem}.{REPORT_TABLE}"), path.with_name(f"{path.stem}.{REPORT_CHART}")
    return path / REPORT_TABLE, path / REPORT_CHART


def masks_to_replace(folder: str | Path, names: Collection[str] | None) -> list[Path]:
    """The PNGs of a folder that masks named as frames would replace.

    Args:
        folder: folder of the masks; it need not exist.
        names: stems of the frames; None: numbers with at least five digits.
    """
    there = list_pictures(folder, (".png",))
    if names is None:
        return [path for stem, path in there.items() if stem.isdecimal() and stem.isascii() and len(stem) >= 5]
    replaced = {name.casefold() for name in names}
    return [path for stem, path in there.items() if stem.casefold() in replaced]


def _identity(path: str | Path) -> tuple[object, ...]:
    """Identity of a file or folder: device and inode, or the resolved name if it does not exist yet."""
    resolved = os.path.realpath(path)
    try:
        state = os.stat(resolved)
    except OSError:
        return (os.path.normcase(resolved),)
    return (state.st_dev, state.st_ino) if state.st_ino else (os.path.normcase(resolved),)
