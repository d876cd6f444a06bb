"""`vos-zoo leaderboard`: the records of all runs on one board, in the terminal, as files, and at Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from vos_zoo.console import say
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.published import (
    PUBLISHED_FILE,
    PublishedRow,
    read_costs,
    read_peers,
    read_published,
)
from vos_zoo.evaluation.board.speed import speed_groups
from vos_zoo.evaluation.board.table import Board, Published, build_board
from vos_zoo.evaluation.board.text import format_csv, format_markdown, format_text
from vos_zoo.evaluation.record import RunRecord, find_records, read_record
from vos_zoo.evaluation.referee.score_record import ScoreRecord, find_score_records, read_score_record
from vos_zoo.evaluation.speed_record import SpeedRecord, find_speed_records, read_speed_record
from vos_zoo.files.atomic import write_text
from vos_zoo.registry import available_methods, load_method
from vos_zoo.types import UsageError, VOSError

NAME = "leaderboard"
"""Stem of the written files."""


def run_leaderboard(
    *,
    source: str,
    folders: Sequence[str],
    project: str,
    across: Sequence[str] = (),
    published: Published = "matching",
    output: str | None = None,
    publish: bool = False,
) -> int:
    """Collect records, print the board, and write it if requested.

    Args:
        source: "runs" (record files) or "wandb" (offline run files in `folders`; without folders the project's runs).
        folders: folders to search.
        project: name of the project at Weights & Biases.
        across: facts that may differ within a table.
        published: which published rows to show.
        output: folder for leaderboard.md, .csv and .html.
        publish: whether to write the board to a run at Weights & Biases.
    """
    records, scored, warnings = _collect(source, folders, project)
    speeds, others = _collect_speeds(folders) if source == "runs" else ([], [])
    if not records and not scored and not speeds and published != "all":
        raise UsageError(
            f"no record in {_places(source, folders, project)}; vos-zoo test, score and benchmark write one"
        )
    board = build_board(
        records,
        published_rows(),
        scored,
        across=across,
        show=published,
        warnings=[*warnings, *others],
        costs=read_costs(),
    )
    board = replace(board, groups=(*board.groups, *speed_groups(speeds)))
    say(format_text(board))
    if output is not None:
        for path in write_board(board, Path(output)):
            say(f"written: {path}")
    if publish:
        from vos_zoo.evaluation.wandb_runs import publish_board

        where = publish_board(board, format_page(board), Path(output or next(iter(folders), "runs")), project)
        say(f"published: {where}")
    return 0


def write_board(board: Board, folder: Path) -> list[Path]:
    """Write the board as Markdown, CSV and page; returns the files."""
    texts = {"md": format_markdown(board), "csv": format_csv(board), "html": format_page(board)}
    paths = [folder / f"{NAME}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths


def published_rows() -> list[PublishedRow]:
    """The published rows of the zoo's methods, from ``published.json`` in each one's folder, and of others."""
    own = [
        row
        for name in available_methods()
        for row in read_published(_folder(name) / PUBLISHED_FILE, name, str(load_method(name).year))
    ]
    return [*own, *read_peers()]


def _folder(method: str) -> Path:
    """The folder of the method's package, found without importing its network."""
    package = load_method(method).target_model.partition(":")[0].rpartition(".")[0]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise VOSError(f"method {method!r}: its package {package!r} cannot be found; install it again")
    return Path(next(iter(spec.submodule_search_locations)))


Found = tuple[list[RunRecord], list[ScoreRecord], list[str]]
"""Records of runs, records of scored masks, and a warning for each one that cannot be used."""


def _collect(source: str, folders: Sequence[str], project: str) -> Found:
    if source == "wandb" and not folders:
        from vos_zoo.evaluation.wandb_runs import fetch_records
        from vos_zoo.evaluation.wandb_scores import fetch_score_records

        return fetch_records(project), fetch_score_records(project), []
    places = [Path(folder) for folder in folders or ["runs"]]
    for place in places:
        if not place.exists():
            raise UsageError(f"folder {place}: does not exist; give the folders that hold runs")
    return _in_run_files(places) if source == "wandb" else _in_folders(places)


def _in_run_files(places: Sequence[Path]) -> Found:
    """What the run files of Weights & Biases hold."""
    from vos_zoo.evaluation.wandb_runs import find_run_files, offline_config, record_of
    from vos_zoo.evaluation.wandb_scores import score_record_of

    found: Found = [], [], []
    for path in find_run_files(places):
        try:
            config = offline_config(path)
            record, scored = record_of(config, str(path)), score_record_of(config, str(path))
            found[0].extend([] if record is None else [record])
            found[1].extend([] if scored is None else [scored])
        except VOSError as error:
            found[2].append(f"left out: {error}")
    return found


def _in_folders(places: Sequence[Path]) -> Found:
    """What the record files hold."""
    found: Found = [], [], []
    for path in find_records(places):
        try:
            found[0].append(read_record(path))
        except VOSError as error:
            found[2].append(f"left out: {error}")
    for path in find_score_records(places):
        try:
            found[1].append(read_score_record(path))
        except VOSError as error:
            found[2].append(f"left out: {error}")
    return found


def _collect_speeds(folders: Sequence[str]) -> tuple[list[SpeedRecord], list[str]]:
    """Records of speed, and a line for each one that cannot be used."""
    records, warnings = [], []
    for path in find_speed_records(folders or ["runs"]):
        try:
            records.append(read_speed_record(path))
        except VOSError as error:
            warnings.append(f"left out: {error}")
    return records, warnings


def _places(source: str, folders: Sequence[str], project: str) -> str:
    if source == "wandb" and not folders:
        return f"the project {project!r}"
    return ", ".join(folders or ["runs"])
