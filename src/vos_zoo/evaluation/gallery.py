"""A report as one HTML file that opens offline: scores, tables, and images of the objects with the lowest scores."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vos_zoo.evaluation.protocols import readable
from vos_zoo.evaluation.report import EvaluationReport, SequenceResult
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.scoring import ObjectScores
from vos_zoo.types import Frame, LabelMap, VideoSequence
from vos_zoo.video.masks import read_mask
from vos_zoo.video.panels import overlay_panel, spread

STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
article { margin: 1.5rem 0 2.2rem; }
h3 { margin: 0 0 .2rem; }
img { max-width: 100%; display: block; }
svg { display: block; margin: .3rem 0; }
.note { color: #a50; }
"""
_WIDTH, _HEIGHT = 640, 70


def write_gallery(
    report: EvaluationReport,
    sequences: Sequence[VideoSequence],
    masks: str | Path,
    path: str | Path,
    *,
    worst: int = 10,
    pictures: int = 6,
    title: str = "Evaluation",
) -> list[tuple[str, int]]:
    """Write the report.

    Args:
        report: the report.
        sequences: the videos, for the images.
        masks: folder of the results, ``SEQUENCE/FRAME.png``.
        path: the HTML file.
        worst: number of objects shown, the lowest J&F first.
        pictures: frames per object.
        title: heading of the page.

    Returns:
        (sequence, object id) of the objects shown.
    """
    ranked = sorted(
        (
            (score.mean, result.name, score.object_id, result, score)
            for result in report.sequences
            for score in result.objects
        ),
        key=lambda entry: entry[:3],
    )[:worst]
    wanted = {name for _, name, *_ in ranked}
    videos = {sequence.name: sequence for sequence in readable(sequences) if sequence.name in wanted}
    articles = [_article(videos[name], score, Path(masks) / name, pictures) for _, name, _, _, score in ranked]
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(report.protocol.name)}. {escape(report.protocol.convention)}.</p>",
        *(f'<p class="note">{escape(note)}</p>' for note in report.notes),
        table(("score", "percent"), [(name, percent(value)) for name, value in report.scores.items()]),
        *([f"<h2>The {len(ranked)} objects with the lowest J&amp;F</h2>", _LEGEND, *articles] if ranked else []),
        "<h2>Sequences</h2>",
        table(("sequence", "objects", "frames", "J", "F", "J&F", "fps"), [_row(one) for one in report.sequences]),
        "<h2>Objects</h2>",
        table(
            ("object", "category", "J", "F", "J&F"),
            [_object(r, score) for r in report.sequences for score in r.objects],
        ),
    ]
    failures = [f"<li>{escape(one.sequence)}: {escape(one.message)}</li>" for one in report.failures]
    if failures:
        body.append(f"<h2>Failed</h2><ul>{''.join(failures)}</ul>")
    write_text(Path(path), page(title, body))
    return [(name, identity) for _, name, identity, *_ in ranked]


def page(title: str, body: Sequence[str]) -> str:
    """An HTML file that needs nothing else, with `body` as its content."""
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"


_LEGEND = (
    "<p>Above the prediction, below the ground truth of this object. The curve is the mean of J and F per scored "
    "frame, from 0 to 100; the dots are the frames shown.</p>"
)


def _article(sequence: VideoSequence, score: ObjectScores, masks: Path, pictures: int) -> str:
    """One object: its numbers, its curve, its row of frames."""
    values = (score.J + score.F) / 2
    shown = chosen_frames(values, pictures)
    names = [score.frames[index] for index in shown]
    numbers = [sequence.frame_names.index(name) for name in names]
    frames, predictions, truths = [], [], []
    for number, name in zip(numbers, names, strict=True):
        truth = sequence.labels(number)
        assert truth is not None, "a scored frame has ground truth"
        frames.append(sequence.frame(number))
        predictions.append(read_mask(masks / f"{name}.png") == score.object_id)
        truths.append(truth == score.object_id)
    captions = [
        f"{name}   J {100 * score.J[t]:.0f}  F {100 * score.F[t]:.0f}" for t, name in zip(shown, names, strict=True)
    ]
    address = strip(frames, predictions, truths, captions, score.object_id)
    category = f" ({escape(score.category)})" if score.category else ""
    return (
        f"<article><h3>{escape(sequence.name)}, object {score.object_id}{category}</h3>"
        f"<p>J {percent(score.region.mean)}, F {percent(score.boundary.mean)}, J&amp;F {percent(score.mean)}; "
        f"given in frame {escape(score.start)}, {len(score.frames)} frames scored</p>"
        f"{curve(values, shown)}"
        f"<img alt='{escape(sequence.name)} object {score.object_id}' src='{address}'></article>"
    )


def strip(
    frames: Sequence[Frame],
    predictions: Sequence[NDArray[np.bool_]],
    truths: Sequence[NDArray[np.bool_]],
    captions: Sequence[str],
    identity: int,
) -> str:
    """A row of frames around one object, prediction above ground truth, as the address of an image in a page.

    Args:
        frames: uint8 RGB ``(H, W, 3)`` each.
        predictions: the object, bool ``(H, W)``, per frame.
        truths: its ground truth, bool ``(H, W)``, per frame.
        captions: a text per frame.
        identity: the id whose palette colour the object has.
    """
    crops = [_window(prediction, truth) for prediction, truth in zip(predictions, truths, strict=True)]
    sheet = overlay_panel(
        [frame[crop] for frame, crop in zip(frames, crops, strict=True)],
        [_coloured(mask[crop], identity) for mask, crop in zip(predictions, crops, strict=True)],
        [_coloured(mask[crop], identity) for mask, crop in zip(truths, crops, strict=True)],
        columns=len(frames),
        width=200,
        captions=captions,
    )
    return _data(sheet)


def chosen_frames(values: np.ndarray, count: int) -> list[int]:
    """Frames that summarise an object: first, last and worst, the drop before the worst, and evenly spread ones.

    Args:
        values: score per scored frame, ``(T,)``.
        count: maximum number.
    """
    worst = int(np.argmin(values))
    before = np.flatnonzero(values[:worst] > (values.max() + values[worst]) / 2)
    story = [worst, 0, *([int(before[-1])] if len(before) else []), len(values) - 1, *spread(len(values), count)]
    return sorted(list(dict.fromkeys(story))[:count])


def _window(*masks: np.ndarray) -> tuple[slice, slice]:
    """A crop of the frame's aspect ratio around the pixels of all masks; the whole frame if they are large or empty."""
    either = np.logical_or.reduce(masks)
    height, width = either.shape
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not len(rows):
        return slice(0, height), slice(0, width)
    share = max((rows[-1] - rows[0] + 1) / height, (columns[-1] - columns[0] + 1) / width)
    side = min(1.0, max(2.2 * share, 0.25))
    h, w = round(side * height), round(side * width)
    top = min(max((rows[0] + rows[-1] + 1 - h) // 2, 0), height - h)
    left = min(max((columns[0] + columns[-1] + 1 - w) // 2, 0), width - w)
    return slice(int(top), int(top) + h), slice(int(left), int(left) + w)


def _coloured(mask: NDArray[np.bool_], identity: int) -> LabelMap:
    return np.where(mask, identity, 0).astype(np.uint8)


def curve(values: np.ndarray, shown: Sequence[int]) -> str:
    """The score over time as a line."""
    step = (_WIDTH - 8) / max(len(values) - 1, 1)
    points = [(4 + step * t, 4 + (_HEIGHT - 8) * (1 - value)) for t, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f"<circle cx='{points[t][0]:.1f}' cy='{points[t][1]:.1f}' r='3.5' fill='#c33'/>" for t in shown)
    frame = f"<rect x='.5' y='.5' width='{_WIDTH - 1}' height='{_HEIGHT - 1}' fill='none' stroke='#8888'/>"
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' "
        f"aria-label='score over time'>"
        f"{frame}<polyline points='{line}' fill='none' stroke='#36c' stroke-width='1.5'/>{dots}</svg>"
    )


def _data(picture: Frame) -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _row(result: SequenceResult) -> tuple[str, ...]:
    part = EvaluationReport((result,))
    name = result.name if result.objects else f"{result.name} ({result.note})"
    numbers = (percent(part.j), percent(part.f), percent(part.jf))
    return name, str(len(result.objects)), str(result.frames), *numbers, "-" if part.fps is None else f"{part.fps:.1f}"


def _object(result: SequenceResult, score: ObjectScores) -> tuple[str, ...]:
    numbers = (percent(score.region.mean), percent(score.boundary.mean), percent(score.mean))
    return f"{result.name}/{score.object_id}", score.category, *numbers


def percent(value: float | None) -> str:
    """A share of 0..1 in percent with one decimal; "-" where there is none."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; all texts are escaped."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
