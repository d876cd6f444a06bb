"""Run records at Weights & Biases: logged from an evaluation, read back from a project or from offline run files.

A run without an account is a folder ``wandb/offline-run-.../`` with one ``.wandb`` file; ``wandb sync`` uploads it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vos_zoo.evaluation.board.plot import charts_of
from vos_zoo.evaluation.board.published import COST_TITLE
from vos_zoo.evaluation.board.table import Board, Group, Row
from vos_zoo.evaluation.record import RunRecord
from vos_zoo.types import UsageError, VOSError

CONFIG_KEY = "record"
"""Entry of a run's configuration that holds the whole record as JSON text (the service drops empty values)."""
EVALUATION, LEADERBOARD = "test", "leaderboard"
"""Job types of our runs."""
_BLOCK, _HEADER = 32768, 7


def goes_online() -> bool:
    """Whether runs are uploaded: by `WANDB_MODE`, or if it is not set, if there is an API key."""
    mode = os.environ.get("WANDB_MODE")
    return mode == "online" if mode else _has_key()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    import netrc
    from urllib.parse import urlparse

    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    if any("wandb" in host for host in hosts):
        return True
    import wandb

    return bool(hosts) and urlparse(wandb.Settings().base_url).hostname in hosts  # a self-hosted server


@contextmanager
def wandb_run(folder: Path, project: str, name: str, job: str, config: Mapping[str, Any]) -> Iterator[Any]:
    """Context manager of a Weights & Biases run in `folder`, without console output; offline without a key.

    Args:
        folder: folder of the run's files, in ``wandb/``.
        project: "project", or "entity/project" if it is not the user's own.
        name: name of the run.
        job: its job type.
        config: its configuration.
    """
    import wandb

    entity, _, project = project.rpartition("/")
    folder.mkdir(parents=True, exist_ok=True)
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    run = wandb.init(
        entity=entity or None,
        project=project,
        name=name,
        dir=str(folder),
        job_type=job,
        config=dict(config),
        mode=mode,
        settings=wandb.Settings(silent=True, console="off"),
    )
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    if wandb.run is None:  # no other run is active: end the background process, which flushes the file
        wandb.teardown()


def log_record(record: RunRecord, folder: Path, project: str, pictures: int) -> None:
    """Log a record: itself as configuration, the means as summary, tables per sequence and object, overlay images.

    Args:
        record: the record.
        folder: the run's folder; its ``overlays`` are logged.
        project: name of the project.
        pictures: number of contact sheets.
    """
    import wandb

    with wandb_run(folder, project, folder.name, EVALUATION, _configuration(record)) as run:
        run.log(
            {
                "sequences": wandb.Table(columns=["sequence", "objects", "J", "F", "J&F"], data=sequence_rows(record)),
                "objects": wandb.Table(columns=["sequence", "object", "J", "F", "J&F"], data=object_rows(record)),
            }
        )
        sheets = sorted((folder / "overlays").glob("*.png"))[:pictures]
        if sheets:
            run.log({"overlays": [wandb.Image(str(sheet), caption=sheet.stem) for sheet in sheets]})
        for name, value in summary(record).items():
            run.summary[name] = value


def _configuration(record: RunRecord) -> dict[str, Any]:
    """Facts to search and filter runs by, and the record itself."""
    result = record.result
    return {
        "method": result.method,
        "data": result.data.title,
        "weights": result.weights,
        "preset": result.preset,
        "size": result.size,
        "precision": result.precision,
        "track": dict(result.track),
        "device": record.environment.device,
        "git": record.environment.git,
        CONFIG_KEY: json.dumps(record.to_json()),
    }


def summary(record: RunRecord) -> dict[str, float | int | None]:
    """The numbers of a run: means, speed, memory, size."""
    numbers: dict[str, float | int | None] = dict(record.result.scores)
    numbers["fps"], numbers["tracking_fps"] = record.run.fps, record.run.tracking_fps
    numbers["peak_memory"], numbers["parameters"] = record.run.peak_memory, record.result.parameters
    return numbers


def sequence_rows(record: RunRecord) -> list[list[Any]]:
    """Sequence, number of objects, and means of J, F and J&F over them (None if nothing was scored)."""
    rows = []
    for name, objects in record.result.sequences.items():
        means = [_mean(scores[key] for scores in objects.values() if key in scores) for key in ("J", "F", "J&F")]
        rows.append([name, len(objects), *means])
    return rows


def object_rows(record: RunRecord) -> list[list[Any]]:
    """Sequence, object, J, F and J&F."""
    return [
        [name, identity, scores.get("J"), scores.get("F"), scores.get("J&F")]
        for name, objects in record.result.sequences.items()
        for identity, scores in objects.items()
    ]


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def fetch_records(project: str) -> list[RunRecord]:
    """The records of all evaluation runs of a project; see `fetch_configs`."""
    found = [(name, config.get(CONFIG_KEY)) for name, config in fetch_configs(project, EVALUATION)]
    return [parse_record(text, f"wandb run {name}") for name, text in found if text is not None]


def fetch_configs(project: str, job: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and configuration of the runs of a job type in a project ("project" or "entity/project") on the server.

    Raises:
        UsageError: the user is not logged in.
        VOSError: the server does not answer, or has no such project.
    """
    if not _has_key():
        raise UsageError("wandb: not logged in (wandb login, or WANDB_API_KEY); for offline runs name their folders")
    import wandb

    try:
        runs = wandb.Api(timeout=30).runs(project)
        return [(str(run.name), dict(run.config)) for run in runs if run.job_type == job]
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise VOSError(f"wandb: cannot read project {project!r}: {' '.join(str(error).split())}") from error


def parse_record(text: Any, source: str) -> RunRecord:
    """The record in a run's configuration, as JSON text.

    Raises:
        VOSError: it is no valid record.
    """
    try:
        content = json.loads(text)
    except (TypeError, ValueError) as error:
        raise VOSError(f"{source}: its record is not JSON text ({error}); log the run again") from error
    return RunRecord.from_json(content, source)


def record_of(config: Mapping[str, Any], source: str) -> RunRecord | None:
    """The record in a run's configuration; None if the run is not an evaluation.

    Raises:
        VOSError: it holds no valid record.
    """
    text = config.get(CONFIG_KEY)
    return None if text is None else parse_record(text, source)


def find_run_files(folders: Iterable[Path]) -> list[Path]:
    """The run files in `folders` and below, sorted, none twice (links to the latest run are not followed)."""
    found = {path.resolve(): path for folder in folders for path in folder.rglob("*.wandb")}
    return [found[key] for key in sorted(found)]


def publish_board(board: Board, page: str, folder: Path, project: str) -> str:
    """Write a board to a run of its own: a table and charts per group, and the page; returns its location.

    Args:
        board: the board.
        page: the board as an HTML file.
        folder: folder of the run's files.
        project: name of the project.
    """
    import wandb

    with wandb_run(folder, project, "leaderboard", LEADERBOARD, {"groups": [g.heading for g in board.groups]}) as run:
        for number, group in enumerate(board.groups, 1):
            names = f"{number} {group.title}"
            table = wandb.Table(columns=[*_COLUMNS, *group.scores], data=_board_rows(group))
            charts: dict[str, Any] = {f"{names}/table": table}
            if group.scores:
                first = group.scores[0]
                charts[f"{names}/{first}"] = wandb.plot.bar(table, "name", first, title=f"{names}: {first}")
                charts |= _scatters(wandb, group, names, first)
            run.log(charts)
        if board.costs:
            rows = [[getattr(cost, name) for name in _COSTS] for cost in board.costs]
            run.log({COST_TITLE: wandb.Table(columns=list(_COSTS), data=rows)})
        run.log({"leaderboard": wandb.Html(page, inject=False)})
        return str(run.url or run.dir)


_COSTS = ("method", "model", "one", "five", "gflop_one", "gflop_five")


def _scatters(wandb: Any, group: Group, names: str, score: str) -> dict[str, Any]:
    """The charts of the page: the score against speed (one per device), parameters and cost."""
    found = {}
    for chart in charts_of(group.rows, score):
        points = [(_name(row), row.scores[score], chart.value(row)) for row in group.rows if score in row.scores]
        rows = [[name, value, x] for name, value, x in points if x]
        table = wandb.Table(columns=["name", score, chart.axis], data=rows)
        title = f"{names}: {score} against {chart.title}"
        found[f"{names}/{chart.title}"] = wandb.plot.scatter(table, chart.axis, score, title=title)
    return found


def _name(row: Row) -> str:
    return f"{row.method}: {row.model}" + (" (published)" if row.published else "")


_COLUMNS = (
    *("name", "method", "model", "published", "fps", "memory", "parameters", "runs"),
    *("device", "date", "source", "url", "note"),
)


def _board_rows(group: Group) -> list[list[Any]]:
    return [
        [
            _name(row),
            *(row.method, row.model, row.published, row.fps, row.memory, row.parameters, row.runs),
            *(row.device, row.date, row.source, row.url, row.note),
            *(row.scores.get(name) for name in group.scores),
        ]
        for row in group.rows
    ]


def offline_config(path: Path) -> dict[str, Any]:
    """The configuration in a run file.

    Raises:
        VOSError: the file is damaged.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict[str, Any] = {}
    try:
        for data in _entries(path.read_bytes()):
            record = Record.FromString(data)
            for update in (*record.run.config.update, *record.config.update):
                config[update.key] = json.loads(update.value_json)
    except (DecodeError, ValueError, OSError) as error:
        raise VOSError(f"{path}: cannot be read as a wandb run file ({error})") from error
    return config


def _entries(content: bytes) -> Iterator[bytes]:
    """The entries of a run file in LevelDB's log format: blocks of 32 KiB; checksum, length, kind before each part."""
    if not content.startswith(b":W&B"):
        raise ValueError("it does not begin with :W&B")
    position, parts = _HEADER, b""
    while position + _HEADER <= len(content):
        if position % _BLOCK > _BLOCK - _HEADER:  # the rest of a block is too short for a header: zeros
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += _HEADER
        if kind not in (1, 2, 3, 4) or position + length > len(content):  # the run is still being written
            return
        parts += content[position : position + length]
        position += length
        if kind in (1, 4):  # a full entry, or its last part
            yield parts
            parts = b""
