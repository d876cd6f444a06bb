"""Published scores of our methods and of others, with their sources; they are always marked as published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vos_zoo.types import VOSError

PUBLISHED_FILE = "published.json"
"""Name of the file in a method's folder."""
_HERE = Path(__file__).parent


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
        date: when the source was published: a year, or year and month.
        parameters: number of parameters, where a source says it.
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
    date: str = ""
    parameters: int | None = None


@dataclass(frozen=True)
class CostRow:
    """What a network costs on one CPU core, in forward passes of a ResNet-50 in the same process.

    All rows were measured in one session, with random weights: they say nothing about accuracy.

    Attributes:
        method: name of the method.
        model: the network.
        one: per frame with one object.
        five: per frame with five objects, or None.
        gflop_one: GFLOP per frame with one object, or None.
        gflop_five: the same with five objects.
        published_as: what published rows call this network.
    """

    method: str
    model: str
    one: float
    five: float | None = None
    gflop_one: float | None = None
    gflop_five: float | None = None
    published_as: tuple[str, ...] = ()


COST_TITLE = "Cost on one CPU core"
COST_FACTS = (
    *("854 x 480 frames", "one thread", "float32", "random weights", "November 2026"),
    "unit: one ResNet-50 forward pass at 480 x 832 in the same process; differences below 10 % are noise",
)


def read_published(path: Path, method: str, date: str = "") -> list[PublishedRow]:
    """The published rows of a method; none if it has no file.

    Args:
        path: the file.
        method: name of the method.
        date: date of rows that name none.

    Raises:
        VOSError: a row has a missing or unknown entry.
    """
    if not path.is_file():
        return []
    return _rows(path, {"method": method, "date": date})


def read_peers() -> list[PublishedRow]:
    """The published rows of methods that are not in the zoo."""
    return _rows(_HERE / "peers.json", {})


def read_costs() -> tuple[CostRow, ...]:
    """The measured costs on one CPU core, of the zoo's methods and of others, cheapest first."""
    content = json.loads((_HERE / "costs.json").read_text(encoding="utf-8"))
    rows = (CostRow(**{**row, "published_as": tuple(row.get("published_as", ()))}) for row in content)
    return tuple(sorted(rows, key=lambda row: row.one))


def _rows(path: Path, common: Mapping[str, Any]) -> list[PublishedRow]:
    try:
        content: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        rows = [PublishedRow(**{**common, **row}) for row in content]
    except (ValueError, TypeError) as error:
        raise VOSError(f"{path}: not a list of published rows ({error})") from error
    for row in rows:
        if not row.source or not row.url.startswith("https://"):
            raise VOSError(f"{path}: the row of {row.model!r} on {row.data!r} names no source or no https:// address")
    return rows
