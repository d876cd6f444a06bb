"""The record of masks that were scored here: the line of the board between measured runs and published rows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vos_zoo.evaluation.referee.protocols import ScoringProtocol
from vos_zoo.evaluation.referee.scoring import ScoredMasks
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.score_report import ScoreReport
from vos_zoo.types import VOSError

SCORE_RECORD_FILE = "score_record.json"
SCHEMA = 1
"""Version of the form; records of newer versions are refused."""


@dataclass(frozen=True)
class ScoreRecord:
    """Masks of any origin, scored by a protocol.

    Attributes:
        name: what made the masks, as the user calls it.
        source: where the masks come from: an address or a text; "" where nobody said.
        protocol: name of the protocol on the command line.
        title: data set and split, as published rows name it.
        official: whether the official program's quirks were reproduced.
        quirks: what a reader of the numbers has to know.
        data: SHA-256 of the ground truth that was read.
        masks: SHA-256 of the masks.
        videos: number of videos.
        objects: number of objects.
        scores: name on the board -> value, 0..1.
        time: when it was scored, ISO 8601 with the zone.
        version: version of the package.
        schema: version of the form.
    """

    name: str
    source: str
    protocol: str
    title: str
    official: bool
    quirks: tuple[str, ...]
    data: str
    masks: str
    videos: int
    objects: int
    scores: Mapping[str, float]
    time: str
    version: str
    schema: int = SCHEMA

    @property
    def digest(self) -> str:
        """SHA-256 of all but time and version."""
        content = {key: value for key, value in asdict(self).items() if key not in ("time", "version")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def board_scores(report: ScoreReport, protocol: ScoringProtocol) -> dict[str, float]:
    """The final numbers under their names on the board, 0..1, without those that are NaN."""
    found = report.scores
    return {board: found[own] for own, board in protocol.board if own in found and not math.isnan(found[own])}


def make_score_record(
    scored: ScoredMasks,
    protocol: ScoringProtocol,
    *,
    title: str,
    name: str,
    source: str,
    time: str,
    version: str,
) -> ScoreRecord:
    """The record of a result; see `ScoreRecord`."""
    return ScoreRecord(
        name=name,
        source=source,
        protocol=protocol.name,
        title=title,
        official=scored.report.official,
        quirks=tuple(scored.report.notes()),
        data=scored.truth_digest,
        masks=scored.mask_digest,
        videos=scored.videos,
        objects=len(scored.report.objects),
        scores=board_scores(scored.report, protocol),
        time=time,
        version=version,
    )


def write_score_record(record: ScoreRecord, folder: str | Path) -> Path:
    """Write ``score_record.json`` into `folder`; a reader sees all of it or nothing."""
    path = Path(folder) / SCORE_RECORD_FILE
    write_text(path, score_record_text(record))
    return path


def score_record_text(record: ScoreRecord) -> str:
    """The record as JSON, which `parse_score_record` reads."""
    return json.dumps({**asdict(record), "digest": record.digest}, indent=2) + "\n"


def read_score_record(path: str | Path) -> ScoreRecord:
    """Read a record.

    Raises:
        VOSError: it cannot be read, is no record, is of a newer schema, or was changed afterwards.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise VOSError(f"{path}: cannot be read ({error}); run vos-zoo score again") from error
    return parse_score_record(text, str(path))


def parse_score_record(text: Any, source: str) -> ScoreRecord:
    """The record in a JSON text.

    Args:
        text: the text.
        source: where it comes from, for messages.

    Raises:
        VOSError: it is no record, is of a newer schema, or was changed afterwards.
    """
    try:
        content: dict[str, Any] = dict(json.loads(text))
        digest, schema = content.pop("digest"), content["schema"]
        if not isinstance(schema, int) or schema > SCHEMA:
            raise VOSError(f"{source}: a record of schema {schema}, this version reads {SCHEMA}; update")
        record = ScoreRecord(**{**content, "quirks": tuple(content["quirks"])})
    except (ValueError, KeyError, TypeError) as error:
        raise VOSError(
            f"{source}: cannot be read as a record of scored masks ({error}); run vos-zoo score again"
        ) from error
    if record.digest != digest:
        raise VOSError(f"{source}: the scores do not fit their digest, so they were edited; run vos-zoo score again")
    return record


def find_score_records(folders: Iterable[str | Path]) -> Iterator[Path]:
    """The record files in `folders` and below, sorted, none twice."""
    found = {path.resolve(): path for folder in folders for path in sorted(Path(folder).rglob(SCORE_RECORD_FILE))}
    yield from (found[key] for key in sorted(found))
