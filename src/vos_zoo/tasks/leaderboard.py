"""`vos-zoo leaderboard`: the records of all runs on one board, in the terminal, as files, and at Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from vos_zoo.console import say
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.published import PUBLISHED_FILE, PublishedRow, read_published
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
    records, warnings = _collect(source, folders, project)
    scored, more = _collect_scored(folders) if source == "runs" else ([], [])
    speeds, others = _collect_speeds(folders) if source == "runs" else ([], [])
    if not records and not scored and not speeds and published != "all":
        raise UsageError(
            f"no record in {_places(source, folders, project)}; vos-zoo test, score and benchmark write one"
        )
    warnings = [*warnings, *more, *others]
    board = build_board(records, published_rows(), scored, across=across, show=published, warnings=warnings)
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
    """The published rows of all methods, each from ``published.json`` in the method's folder."""
    return [row for name in available_methods() for row in read_published(_folder(name) / PUBLISHED_FILE, name)]


def _folder(method: str) -> Path:
    """The folder of the method's package, found without importing its network."""
    package = load_method(method).target_model.partition(":")[0].rpartition(".")[0]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise VOSError(f"method {method!r}: its package {package!r} cannot be found; install it again")
    return Path(next(iter(spec.submodule_search_locations)))


def _collect(source: str, folders: Sequence[str], project: str) -> tuple[list[RunRecord], list[str]]:
    """Records, and a warning for each one that cannot be used."""
    if source == "wandb" and not folders:
        from vos_zoo.evaluation.wandb_runs import fetch_records

        return fetch_records(project), []
    places = [Path(folder) for folder in folders or ["runs"]]
    for place in places:
        if not place.exists():
            raise UsageError(f"folder {place}: does not exist; give the folders that hold runs")
    records, warnings = [], []
    if source == "wandb":
        from vos_zoo.evaluation.wandb_runs import find_run_files, read_run_file

        for path in find_run_files(places):
            try:
                found = read_run_file(path)
            except VOSError as error:
                warnings.append(f"left out: {error}")
                continue
            records += [found] if found is not None else []
        return records, warnings
    for path in find_records(places):
        try:
            records.append(read_record(path))
        except VOSError as error:
            warnings.append(f"left out: {error}")
    return records, warnings


def _collect_scored(folders: Sequence[str]) -> tuple[list[ScoreRecord], list[str]]:
    """Records of scored masks, and a line for each one that cannot be used."""
    records, warnings = [], []
    for path in find_score_records(folders or ["runs"]):
        try:
            records.append(read_score_record(path))
        except VOSError as error:
            warnings.append(f"left out: {error}")
    return records, warnings


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
