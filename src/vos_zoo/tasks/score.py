"""`vos-zoo score`: anybody's masks by a protocol of the field, and two results against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from vos_zoo import __version__
from vos_zoo.config.schema import LoggerConfig
from vos_zoo.config.settings.rules import build_settings
from vos_zoo.console import say
from vos_zoo.downloads.published import check_zip, get_file
from vos_zoo.evaluation.referee.compare import Result, compare, read_result
from vos_zoo.evaluation.referee.pictures import draw_worst
from vos_zoo.evaluation.referee.protocols import PROTOCOLS, ScoringProtocol
from vos_zoo.evaluation.referee.results import open_results
from vos_zoo.evaluation.referee.score_record import make_score_record, write_score_record
from vos_zoo.evaluation.referee.scoring import Missing, ScoredMasks, score_masks
from vos_zoo.evaluation.referee.truth import TruthSettings
from vos_zoo.evaluation.referee.written import SCORES_FILE, main_score, write_scores
from vos_zoo.files.atomic import write_text
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.hub.result_masks import named_masks
from vos_zoo.labels import check_threshold
from vos_zoo.registry import suggestion
from vos_zoo.types import UsageError


def run_score(
    *,
    masks: Sequence[str],
    data: str | None,
    overrides: Sequence[str],
    official: bool = False,
    missing: Missing = "refuse",
    name: str | None = None,
    source: str = "",
    output: str | None = None,
    board: str | None = None,
) -> int:
    """Score masks, or compare two results; see the command's help.

    Args:
        masks: one folder, zip or JSON file of masks, or the name of published ones; or two of them, or of folders that
            were written before.
        data: name of the protocol; may be left out where two written results are compared.
        overrides: ``data.KEY=VALUE``, ``logger.name=wandb`` and ``logger.project=NAME``.
        official: reproduce the official program's quirks.
        missing: what happens where masks are missing.
        name: what made the masks; the file's name by default.
        source: where they come from.
        output: folder of the results; a new one in ``runs`` by default.
        board: folder to write the leaderboard into, of all records beside the results.
    """
    if not 1 <= len(masks) <= 2:
        raise UsageError(f"score takes one result, or two to compare; got {len(masks)}")
    logger, rest = read_logger(overrides)
    if len(masks) == 2 and (board is not None or logger.name == "wandb"):
        raise UsageError("two results are compared, not logged or put on a board; score them one by one for that")
    if len(masks) == 2:
        return _compare(masks, data, rest, official, missing, output)
    if data is None:
        raise UsageError(f"which protocol? give --data, one of: {', '.join(PROTOCOLS)}")
    protocol, settings, known = find_protocol(data), read_settings(rest), named_masks(masks[0])
    scored, title, pictures = _score(masks[0], protocol, settings, official, missing)
    chosen = name or Path(masks[0]).resolve().stem
    now = datetime.now().astimezone()
    stamp = f"{now:%Y%m%d-%H%M%S}"
    folder = Path(output) if output else Path("runs") / f"score-{_file_name(chosen)}-{data}-{stamp}"
    refuse_overwriting([folder], [masks[0]])
    write_scores(scored, protocol, title, folder, pictures)
    time = now.isoformat(timespec="seconds")
    record = make_score_record(
        scored,
        protocol,
        title=title,
        name=chosen,
        source=source or (known.known.page if known else ""),
        time=time,
        version=__version__,
    )
    write_score_record(record, folder)
    if logger.name == "wandb":
        from vos_zoo.evaluation.wandb_scores import log_score

        log_score(record, scored.report, protocol, folder, logger.project)
    say(str(scored.report))
    for score, value in known.known.published.get(data, {}).items() if known else ():
        say(f"published: {score} {value:.1f} (reported by those who made the masks)")
    say(f"results: {folder} (vos-zoo leaderboard {folder.parent} shows them)")
    if board is not None:
        from vos_zoo.tasks.leaderboard import run_leaderboard

        run_leaderboard(source="runs", folders=[str(folder.parent)], project=logger.project, output=board)
    return 0


def _file_name(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in name)


def find_protocol(name: str) -> ScoringProtocol:
    """The protocol of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(
            f"--data: {name!r} is no protocol{suggestion(name, list(PROTOCOLS))}; choose one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name]


def read_logger(overrides: Sequence[str]) -> tuple[LoggerConfig, list[str]]:
    """Where the scores go besides their folder, and the overrides that say nothing of it.

    Raises:
        UsageError: a key or value that does not exist, or one that scoring does not take.
    """
    start = f"{LoggerConfig.KEY}."
    own = [text.partition("=") for text in overrides if text.startswith(start)]
    given = {key.removeprefix(start): value for key, _, value in own}
    other = next((key for key in given if key not in ("name", "project")), None)
    if other is not None:
        raise UsageError(f"{start}{other}: score takes {start}name=wandb and {start}project=NAME")
    logger: LoggerConfig = build_settings(LoggerConfig, {"name": "none", **given}, LoggerConfig.KEY)
    return logger, [text for text in overrides if not text.startswith(start)]


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _names(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.strip("[]").split(",") if one.strip())


_READ: dict[str, Callable[[str], Any]] = {"ends": _flag, "sequences": _names, "mask_threshold": int}


def read_settings(overrides: Sequence[str]) -> TruthSettings:
    """The ground truth that ``data.KEY=VALUE`` names.

    Raises:
        UsageError: a key is unknown, a value of another type, or ``data.root`` is missing.
    """
    known = [f"data.{one.name}" for one in fields(TruthSettings)]
    found: dict[str, Any] = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or key not in known:
            raise UsageError(
                f"{text!r} is unknown{suggestion(key, known)}; score takes {', '.join(known)}, as key=value"
            )
        own = key.removeprefix("data.")
        try:
            found[own] = _READ.get(own, str)(value)
        except ValueError as error:
            raise UsageError(f"{key}: {value!r} is of another type ({error})") from error
    if not found.get("root"):
        raise UsageError("data.root=FOLDER is missing: give the folder of the ground truth")
    check_threshold(found.get("mask_threshold"), "data.mask_threshold")
    return TruthSettings(**found)


def _score(
    masks: str, protocol: ScoringProtocol, settings: TruthSettings, official: bool, missing: Missing
) -> tuple[ScoredMasks, str, dict[tuple[str, str], str]]:
    """The scores, the title of the data, and pictures of the worst objects, see `draw_worst`."""
    truth, known = protocol.find(settings), named_masks(masks)
    found = masks if known is None else str(get_file(known.known, check_zip))
    with open_results(found, truth.videos, truth.masks.threshold) as results:
        scored = score_masks(protocol, settings, truth, results, official=official, missing=missing)
        return scored, truth.title, draw_worst(scored.report, protocol, truth, results)


def _compare(
    masks: Sequence[str],
    data: str | None,
    overrides: Sequence[str],
    official: bool,
    missing: Missing,
    output: str | None,
) -> int:
    found: list[Result] = []
    for one in masks:
        if (Path(one) / SCORES_FILE).is_file():
            found.append(read_result(one))
        elif data is None:
            raise UsageError(f"{one}: holds no {SCORES_FILE}; give --data and data.root to score its masks first")
        else:
            found.append(_fresh(one, find_protocol(data), read_settings(overrides), official, missing))
    comparison = compare(found[0], found[1])
    say(str(comparison))
    if output is not None:
        path = Path(output) / "comparison.json"
        write_text(path, json.dumps(comparison.to_json(), indent=2) + "\n")
        say(f"written: {path}")
    return 0


def _fresh(masks: str, protocol: ScoringProtocol, settings: TruthSettings, official: bool, missing: Missing) -> Result:
    scored, title, _ = _score(masks, protocol, settings, official, missing)
    objects = scored.report.objects
    values = {(one.video, one.name): main_score(one, protocol) for one in objects}
    return Result(
        masks,
        f"{scored.report.protocol} on {title}",
        scored.truth_digest,
        protocol.main,
        {key: value for key, value in values.items() if not math.isnan(value)},
        {(one.video, one.name): one.group for one in objects},
    )
