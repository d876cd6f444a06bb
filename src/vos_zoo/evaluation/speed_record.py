"""The record of `vos-zoo benchmark`: what was measured, on which device; a table of its own on the board."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vos_zoo.evaluation.speed import SpeedRow
from vos_zoo.files.atomic import write_text
from vos_zoo.types import VOSError

SPEED_RECORD_FILE = "speed_record.json"
SCHEMA = 1
"""Version of the form; a reader refuses what is newer than itself."""


@dataclass(frozen=True)
class SpeedRecord:
    """Speed and memory of weights.

    Attributes:
        source: the weights as named on the command line.
        method: their method.
        weights: SHA-256 of the weights (names, types, shapes and values).
        parameters: number of them.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        precision: number format.
        device: with its name.
        threads: CPU threads of torch.
        rows: a measurement per number of objects.
        git: revision of the source.
        versions: by package.
        time: when it was measured, ISO 8601 with the zone.
        schema: version of the form.
    """

    source: str
    method: str
    weights: str
    parameters: int
    height: int
    width: int
    precision: str
    device: str
    threads: int
    rows: tuple[SpeedRow, ...]
    git: str | None
    versions: Mapping[str, str]
    time: str
    schema: int = SCHEMA


def write_speed_record(record: SpeedRecord, folder: str | Path) -> Path:
    """Write ``speed_record.json`` into `folder` atomically."""
    path = Path(folder) / SPEED_RECORD_FILE
    write_text(path, json.dumps(asdict(record), indent=2) + "\n")
    return path


def read_speed_record(path: str | Path) -> SpeedRecord:
    """Read a record.

    Raises:
        VOSError: it cannot be read, is no record, or is of a newer schema.
    """
    try:
        content: dict[str, Any] = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        if content["schema"] > SCHEMA:
            raise VOSError(f"{path}: a record of schema {content['schema']}, this version reads {SCHEMA}; update")
        return SpeedRecord(**{**content, "rows": tuple(SpeedRow(**row) for row in content["rows"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VOSError(f"{path}: cannot be read as a record of speed ({error}); run vos-zoo benchmark again") from error


def find_speed_records(folders: Iterable[str | Path]) -> Iterator[Path]:
    """The record files in `folders` and below, sorted, none twice."""
    found = {path.resolve(): path for folder in folders for path in sorted(Path(folder).rglob(SPEED_RECORD_FILE))}
    yield from (found[key] for key in sorted(found))
