"""Published scores, with their sources; they are always marked as published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vos_zoo.types import VOSError

PUBLISHED_FILE = "published.json"
"""Name of the file in a method's folder."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        method: name of the method.
        model: what the authors call the network or file.
        data: title of the data set and split, as in `DataFacts.title`.
        videos: number of videos of the whole split.
        scores: name -> percent, as printed.
        source: paper and table, or the authors' README.
        url: address of the source.
        fps: frames per second as reported, or None.
        hardware: hardware of that speed.
        note: further remarks.
    """

    method: str
    model: str
    data: str
    videos: int
    scores: Mapping[str, float]
    source: str
    url: str
    fps: float | None = None
    hardware: str = ""
    note: str = field(default="")


def read_published(path: Path, method: str) -> list[PublishedRow]:
    """The published rows of a method; none if it has no file.

    Raises:
        VOSError: a row has a missing or unknown entry.
    """
    if not path.is_file():
        return []
    try:
        content: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        rows = [PublishedRow(method=method, **row) for row in content]
    except (ValueError, TypeError) as error:
        raise VOSError(f"{path}: not a list of published rows ({error})") from error
    for row in rows:
        if not row.source or not row.url.startswith("https://"):
            raise VOSError(f"{path}: the row of {row.model!r} on {row.data!r} names no source or no https:// address")
    return rows
