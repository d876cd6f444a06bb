"""What scoring leaves: ``scores.json``, tables per object, video and frame, and a page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.evaluation.gallery import curve, page, percent, table
from vos_zoo.evaluation.referee.protocols import ScoringProtocol
from vos_zoo.evaluation.referee.scoring import ScoredMasks
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport

SCORES_FILE = "scores.json"
_WORST = 10
_LEGEND = "<p>Above the masks, below the ground truth of this object.</p>"


def write_scores(
    scored: ScoredMasks,
    protocol: ScoringProtocol,
    title: str,
    folder: str | Path,
    pictures: Mapping[tuple[str, str], str] | None = None,
) -> None:
    """Write all files of a result into `folder`, each complete or not at all.

    Args:
        scored: the result.
        protocol: what it was scored by.
        title: data set and split.
        folder: where the files go.
        pictures: (video, object) -> address of an image of it, for the page.
    """
    folder, report = Path(folder), scored.report
    write_text(folder / SCORES_FILE, json.dumps(to_json(scored, protocol, title), indent=2) + "\n")
    write_text(folder / "objects.csv", _objects_csv(report))
    write_text(folder / "videos.csv", _videos_csv(report))
    write_text(folder / "frames.csv", _frames_csv(report))
    write_text(folder / "report.html", _page(scored, protocol, title, pictures or {}))


def to_json(scored: ScoredMasks, protocol: ScoringProtocol, title: str) -> dict[str, Any]:
    """The result as JSON; null where there is no number."""
    report = scored.report
    videos = {
        video: {
            "scores": _numbers(scores),
            "objects": {one.name: _object_json(one) for one in report.objects if one.video == video},
        }
        for video, scores in report.videos.items()
    }
    return {
        "protocol": report.protocol,
        "name": protocol.name,
        "title": title,
        "official": report.official,
        "main": list(protocol.main),
        "data": scored.truth_digest,
        "masks": scored.mask_digest,
        "scores": _numbers(report.scores),
        "notes": report.notes(),
        "missing": list(scored.missing),
        "videos": videos,
    }


def _object_json(one: ScoredObject) -> dict[str, Any]:
    group = {"group": one.group} if one.group else {}
    return {**group, "frames": len(one.frames), **_numbers(one.scores)}


def _numbers(scores: Any) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else float(value) for name, value in scores.items()}


def main_score(one: ScoredObject, protocol: ScoringProtocol) -> float:
    """The mean of an object's main measures, 0..1."""
    return float(np.mean([one.scores[name] for name in protocol.main]))


def _objects_csv(report: ScoreReport) -> str:
    names = list(dict.fromkeys(name for one in report.objects for name in one.scores))
    rows = [
        [one.video, one.name, one.group, len(one.frames), *(_cell(one.scores.get(name, math.nan)) for name in names)]
        for one in report.objects
    ]
    return _csv([["video", "object", "group", "frames", *names], *rows])


def _videos_csv(report: ScoreReport) -> str:
    names = list(report.scores)
    rows = [[video, *(_cell(scores.get(name, math.nan)) for name in names)] for video, scores in report.videos.items()]
    return _csv([["video", *names], *rows, ["all", *(_cell(value) for value in report.scores.values())]])


def _frames_csv(report: ScoreReport) -> str:
    names = list(dict.fromkeys(name for one in report.objects for name in one.values))
    rows: list[list[Any]] = [["video", "object", "frame", *names]]
    for one in report.objects:
        for index, frame in enumerate(one.frames):
            rows.append([one.video, one.name, frame, *(_cell(float(one.values[name][index])) for name in names)])
    return _csv(rows)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def worst_objects(report: ScoreReport, protocol: ScoringProtocol) -> list[ScoredObject]:
    """The objects that the page shows, the lowest score first."""
    return sorted(report.objects, key=lambda one: (_or_one(main_score(one, protocol)), one.video, one.name))[:_WORST]


def _page(scored: ScoredMasks, protocol: ScoringProtocol, title: str, pictures: Mapping[tuple[str, str], str]) -> str:
    report = scored.report
    names = list(dict.fromkeys(name for one in report.objects for name in one.scores))
    ranked = worst_objects(report, protocol)
    finals = list(report.scores)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(report.protocol)}, {'official' if report.official else 'right'} values.</p>",
        *(f'<p class="note">{escape(note)}</p>' for note in report.notes()),
        table(("score", "percent"), [(name, percent(value)) for name, value in report.scores.items()]),
        f"<h2>The {len(ranked)} objects with the lowest {escape('&'.join(protocol.main))}</h2>",
        *([_LEGEND] if pictures else []),
        *(_worst(one, protocol, pictures.get((one.video, one.name), "")) for one in ranked),
        "<h2>Videos</h2>",
        table(
            ("video", *finals),
            [(v, *(percent(scores.get(name)) for name in finals)) for v, scores in report.videos.items()],
        ),
        "<h2>Objects</h2>",
        table(
            ("object", *names),
            [(f"{one.video}/{one.name}", *(percent(one.scores.get(name)) for name in names)) for one in report.objects],
        ),
    ]
    return page(title, body)


def _or_one(value: float) -> float:
    return 1.0 if math.isnan(value) else value


def _worst(one: ScoredObject, protocol: ScoringProtocol, picture: str) -> str:
    values = np.mean([one.values[name] for name in protocol.main], axis=0)
    numbers = ", ".join(f"{escape(name)} {percent(value)}" for name, value in one.scores.items())
    line = curve(values, [int(np.argmin(values))]) if len(values) else ""
    lowest = f"; lowest in frame {escape(one.frames[int(np.argmin(values))])}" if len(values) else ""
    name = f"{escape(one.video)}, object {escape(one.name)}"
    image = f"<img alt='{name}' src='{picture}'>" if picture else ""
    return f"<article><h3>{name}</h3><p>{numbers}{lowest}</p>{line}{image}</article>"
