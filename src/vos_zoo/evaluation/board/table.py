"""Grouping of runs into tables: same videos, size, number format and device."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from vos_zoo.evaluation.board.published import CostRow, PublishedRow
from vos_zoo.evaluation.record import RunRecord
from vos_zoo.evaluation.referee.score_record import ScoreRecord

ACROSS = ("size", "precision", "device")
"""Facts that may differ within a table on request; videos never may."""
_GROUPS = ("J_seen", "F_seen", "J_unseen", "F_unseen")
_SCORE_ORDER = (
    *("G", *_GROUPS, "J&F_new", "J&F", "J", "F", "V", "J_last"),
    *("F_new", "disappear_J&F_new", "reappear_J&F_new"),
)
"""Scores that the board shows, in this order; the first one ranks. Recall and decay are only in the record."""
_DIFFERENCES = {"data": "data (frames, masks or lists)"}
Published = Literal["matching", "all", "none"]


@dataclass(frozen=True)
class Row:
    """A line of the board.

    Attributes:
        published: whether it is a published result, not measured here.
        method: name of the method.
        model: the weights' name, or the authors' name of the network.
        scores: name -> percent.
        fps: frames per second of the tracker alone, or as reported.
        memory: peak memory in bytes.
        parameters: number of them.
        runs: number of runs with exactly this result.
        size: shorter side of the network's input, in pixels.
        precision: number format.
        device: where it ran; of published rows the hardware of the speed.
        source: weights' digest and revision, or paper and table.
        url: address of the source; "" for our runs.
        note: further remarks.
        scored: whether the row is of masks that were made elsewhere and scored here.
        date: when it was measured or scored, or when the source was published.
        cost: forward passes of a ResNet-50 per frame on one CPU core; see `CostRow`.
    """

    published: bool
    method: str
    model: str
    scores: Mapping[str, float]
    fps: float | None
    memory: int | None = None
    parameters: int | None = None
    runs: int = 1
    size: int | None = None
    precision: str = ""
    device: str = ""
    source: str = ""
    url: str = ""
    note: str = ""
    scored: bool = False
    date: str = ""
    cost: float | None = None


@dataclass(frozen=True)
class Group:
    """Comparable rows.

    Attributes:
        title: data set and split.
        facts: facts that all runs of the group share: videos, objects, digest of the data, size, number format, device.
        rows: best first.
        warnings: reasons why a comparison may be invalid.
        data: digest of the frames, masks and lists that were evaluated; "" if there are only published rows.
    """

    title: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    data: str = ""

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores; the first one ranks."""
        return _ordered({name for row in self.rows for name in row.scores})

    @property
    def heading(self) -> str:
        """Title and facts in one line."""
        return " · ".join((self.title, *self.facts))


def _ordered(present: Collection[str]) -> tuple[str, ...]:
    """Scores in the order of the columns; those of groups follow G, or else the means over all (LVOS)."""
    names = [name for name in _SCORE_ORDER if name in present]
    if "G" in present or "J&F" not in present:
        return tuple(names)
    last = max(names.index(name) for name in names if name in ("J&F", "J", "F"))
    groups = [name for name in names if name in _GROUPS]
    return (*(name for name in names[: last + 1] if name not in groups), *groups, *names[last + 1 :])


@dataclass(frozen=True)
class Board:
    """All groups, warnings about the whole board, and a table of costs, which has no scores."""

    groups: tuple[Group, ...]
    warnings: tuple[str, ...] = field(default=())
    costs: tuple[CostRow, ...] = field(default=())


def build_board(
    records: Iterable[RunRecord],
    published: Sequence[PublishedRow] = (),
    scored: Sequence[ScoreRecord] = (),
    *,
    across: Iterable[str] = (),
    show: Published = "matching",
    warnings: Sequence[str] = (),
    costs: Sequence[CostRow] = (),
) -> Board:
    """Sort records into comparable groups and add the published rows.

    Args:
        records: our records.
        published: published rows.
        scored: records of scored masks. They are in the table of runs on the same split with as many videos and
            objects, else in a table of their own, one per ground truth and kind of values.
        across: names of `ACROSS` that may differ within a table, with a warning.
        show: which published rows: of the measured data sets, all, or none.
        warnings: problems while the records were collected.
        costs: costs on one CPU core; a table of their own where all published rows are shown.
    """
    dropped = set(across)
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.run.time):
        groups.setdefault(_key(record, dropped), []).append(record)
    shown = published if show != "none" else ()
    built = [_group(members, shown, scored) for members in groups.values()]
    placed = {row.source for group in built for row in group.rows if row.scored}
    built += _scored_groups([one for one in scored if _scored_source(one) not in placed], shown)
    built.sort(key=lambda group: (group.title, -len(group.rows), group.facts))
    if show == "all":
        built += _published_groups(published, {_benchmark(group.title) for group in built})
    known = {(cost.method, model): cost.one for cost in costs for model in cost.published_as}
    priced = tuple(replace(group, rows=tuple(_priced(row, known) for row in group.rows)) for group in built)
    shown_costs = tuple(costs) if show == "all" else ()
    return Board(priced, (*warnings, *_separations(list(groups.values()))), shown_costs)


def _priced(row: Row, known: Mapping[tuple[str, str], float]) -> Row:
    return replace(row, cost=known.get((row.method, row.model))) if row.published else row


def _benchmark(title: str) -> str:
    """The split that papers name: all frames of YouTube-VOS are tracked for the scores of its sampled ones."""
    return title.removesuffix("_all_frames")


def _facts(record: RunRecord) -> dict[str, object]:
    """The facts that must be equal for two runs to be in one table; "data" covers frames, masks and lists."""
    result = record.result
    return {
        "data": (result.data.title, result.data.digest),
        "size": result.size,
        "precision": result.precision,
        "device": record.environment.device,
    }


def _key(record: RunRecord, dropped: set[str]) -> tuple[object, ...]:
    return tuple(value for name, value in _facts(record).items() if name not in dropped)


def _group(members: Sequence[RunRecord], published: Sequence[PublishedRow], scored: Sequence[ScoreRecord]) -> Group:
    data = members[0].result.data
    beside = [
        one
        for one in scored
        if (one.title, one.videos, one.objects) == (_benchmark(data.title), data.videos, data.objects)
    ]
    theirs = [row for row in published if row.data == _benchmark(data.title)]
    shared = {name: {_facts(member)[name] for member in members} for name in ACROSS}
    texts = {name: sorted(_text(name, value) for value in values) for name, values in shared.items()}
    facts = [f"{data.videos} videos", f"{data.objects} objects", f"data {data.digest[:12]}"]
    facts += [values[0] for values in texts.values() if len(values) == 1]
    warnings = [
        f"runs that differ in {name} are in one table: {', '.join(values)}"
        for name, values in texts.items()
        if len(values) > 1
    ]
    if theirs and data.videos != theirs[0].videos:
        warnings.append(
            f"these runs are of {data.videos} videos, the published rows of the whole split, {theirs[0].videos}: "
            "they cannot be compared"
        )
    if any(member.schema < 2 for member in members):
        warnings.append(
            "some of these runs have no digest of the frames and masks they were scored with, which may differ; "
            "run vos-zoo test again"
        )
    failed = sorted({name for member in members for name in member.result.failures})
    if failed:
        warnings.append(f"not finished: {', '.join(failed)}")
    warnings += [*_scored_warnings(beside), *_right_beside_published(beside, theirs)]
    rows = [*_measured(members), *_scored_rows(beside), *(_published(row) for row in theirs)]
    return Group(data.title, tuple(facts), _ranked(rows), tuple(warnings), data.digest)


def _measured(members: Sequence[RunRecord]) -> list[Row]:
    """One row per result; of equal results the newest run's speed is taken. `members` are in order of time."""
    same: dict[tuple[str, str], list[RunRecord]] = {}
    for member in members:
        same.setdefault((member.digest, member.environment.device), []).append(member)
    return [_row(runs[-1], len(runs)) for runs in same.values()]


def _row(record: RunRecord, runs: int) -> Row:
    result, revision = record.result, record.environment.git
    return Row(
        published=False,
        method=result.method,
        model=record.run.source,
        scores={n: 100 * v for n, v in result.scores.items() if v is not None and n in _SCORE_ORDER},
        fps=record.run.tracking_fps,
        memory=record.run.peak_memory,
        parameters=result.parameters,
        runs=runs,
        size=result.size,
        precision=result.precision,
        device=record.environment.device,
        source=f"weights {result.weights[:12]}" + (f", revision {_short(revision)}" if revision else ""),
        note=f"preset {result.preset}" if result.preset else "",
        date=record.run.time[:10],
    )


def _scored_groups(scored: Sequence[ScoreRecord], published: Sequence[PublishedRow]) -> list[Group]:
    """Tables of scored masks alone: one per truth, and per kind of values (right or official)."""
    by_truth: dict[tuple[str, str, bool], list[ScoreRecord]] = {}
    for one in scored:
        by_truth.setdefault((one.title, one.data, one.official), []).append(one)
    groups = []
    for (title, data, official), members in sorted(by_truth.items()):
        theirs = [row for row in published if row.data == title]
        first = members[0]
        kind = "the official program's values" if official else "right values"
        facts = [f"{first.videos} videos", f"{first.objects} objects", f"truth {data[:12]}", kind]
        warnings = []
        if theirs and first.videos != theirs[0].videos:
            warnings.append(
                f"these masks are of {first.videos} videos, the published rows of the whole split, {theirs[0].videos}: "
                "they cannot be compared"
            )
        warnings += _right_beside_published(members, theirs)
        rows = _ranked([*_scored_rows(members), *(_published(row) for row in theirs)])
        groups.append(Group(title, tuple(facts), rows, tuple(warnings), data))
    return groups


def _scored_rows(scored: Sequence[ScoreRecord]) -> list[Row]:
    """One row per result; equal ones (the same masks by the same rules under one name) are counted."""
    same: dict[str, list[ScoreRecord]] = {}
    for one in scored:
        same.setdefault(one.digest, []).append(one)
    return [_scored(members[-1], len(members)) for members in same.values()]


def _scored(record: ScoreRecord, runs: int) -> Row:
    values = {name: 100 * value for name, value in record.scores.items() if name in _SCORE_ORDER}
    notes = ["masks scored here", *(["official values"] if record.official else [])]
    linked = record.source.startswith("https://")
    return Row(
        published=False,
        method=record.name,
        model="masks",
        scores=values,
        fps=None,
        runs=runs,
        source=_scored_source(record),
        url=record.source if linked else "",
        note="; ".join(notes + ([record.source] if record.source and not linked else [])),
        scored=True,
        date=record.time[:10],
    )


def _scored_source(record: ScoreRecord) -> str:
    return f"masks {record.masks[:12]}, truth {record.data[:12]}{', official' if record.official else ''}"


def _scored_warnings(scored: Sequence[ScoreRecord]) -> list[str]:
    warnings = []
    if len({one.data for one in scored}) > 1:
        warnings.append("the scored masks were not all scored with the same truth; see their sources")
    if len({one.official for one in scored}) > 1:
        warnings.append("some scored masks have the official program's values, others right ones; see their notes")
    return warnings


def _right_beside_published(scored: Sequence[ScoreRecord], published: Sequence[PublishedRow]) -> list[str]:
    """Right values that unusual input may have made differ from what the published rows' programs give."""
    doubtful = sorted({one.name for one in scored if one.quirks and not one.official})
    if not published or not doubtful:
        return []
    return [
        f"{', '.join(doubtful)}: right values with remarks (score_record.json has them) beside published rows of the "
        "official program; score with --official to compare"
    ]


def _short(revision: str) -> str:
    commit, dash, rest = revision.partition("-")
    return f"{commit[:8]}{dash}{rest}"


def _published(row: PublishedRow) -> Row:
    note = "; ".join(part for part in (row.note, f"speed on {row.hardware}" if row.hardware else "") if part)
    return Row(
        True,
        row.method,
        row.model,
        dict(row.scores),
        row.fps,
        parameters=row.parameters,
        device=row.hardware,
        source=row.source,
        url=row.url,
        note=note,
        date=row.date,
    )


def _ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Best first by the first score of the group that a row has; rows without one last; ties by method and name."""
    rows = list(rows)
    order = _ordered({name for row in rows for name in row.scores})

    def rank(row: Row) -> tuple[float, str, str]:
        best = next((row.scores[name] for name in order if name in row.scores), -1.0)
        return -best, row.method, row.model

    return tuple(sorted(rows, key=rank))


def _published_groups(published: Sequence[PublishedRow], shown: set[str]) -> list[Group]:
    titles = sorted({row.data for row in published} - shown)
    groups = []
    for title in titles:
        rows = [row for row in published if row.data == title]
        facts = (f"{rows[0].videos} videos", "published rows only")
        groups.append(Group(title, facts, _ranked(_published(row) for row in rows)))
    return groups


def _separations(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Why runs on one data set are in several tables."""
    by_title: dict[str, list[dict[str, object]]] = {}
    for members in groups:
        by_title.setdefault(members[0].result.data.title, []).append(_facts(members[0]))
    return [
        f"{title}: {len(facts)} tables, because the runs differ in "
        + ", ".join(_DIFFERENCES.get(n, n) for n in facts[0] if len({fact[n] for fact in facts}) > 1)
        for title, facts in sorted(by_title.items())
        if len(facts) > 1
    ]


def _text(name: str, value: object) -> str:
    """A fact as display text."""
    if name == "size":
        return "frames as stored" if value is None else f"{value} px"
    return str(value)
