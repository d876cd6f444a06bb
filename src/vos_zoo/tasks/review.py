"""`vos-zoo review`: which masks of a tracked video to correct next, on a page with pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.evaluation.consistency import backward_agreement, lowest_so_far
from vos_zoo.files.atomic import write_text
from vos_zoo.files.outputs import REPORT_TABLE
from vos_zoo.metrics import region_similarity
from vos_zoo.session.frames import FrameStore
from vos_zoo.suggestions import Suggestion, combine, suggest
from vos_zoo.tasks.evaluate import load_model
from vos_zoo.types import Frame, LabelMap, UsageError
from vos_zoo.video.confidence_report import ConfidenceRow, read_report
from vos_zoo.video.masks import read_mask
from vos_zoo.video.panels import overlay_panel, write_picture
from vos_zoo.video.reader import open_video
from vos_zoo.video.source import FrameSource
from vos_zoo.video.writer import with_frames

Curve = NDArray[np.float64]


def run_review(
    *,
    results: str,
    source: str,
    count: int,
    output: str,
    second: tuple[str, RunConfig] | None = None,
    backward: tuple[str, RunConfig] | None = None,
) -> int:
    """Write review.html with the masks whose correction is expected to help most.

    Args:
        results: folder of masks and confidence.csv, as `track --report` writes it.
        source: the video.
        count: how many masks.
        output: folder of the page and its pictures.
        second: weights and inference settings of a second method, whose masks are compared with those of the results.
        backward: the same of what tracks the video backward from each object's last mask.
    """
    folder, target = Path(results), Path(output)
    rows, video = read_report(folder / REPORT_TABLE), open_video(source)
    if not rows:
        raise UsageError(f"{folder / REPORT_TABLE}: has no rows; track a video with --report first")
    masks = _Masks(folder, {row.index: row.frame for row in rows})
    others = {"appearance": _appearance(video, masks, rows)}
    if second is not None:
        others[f"agreement with {second[0]}"] = _agreement(video, masks, rows, *second)
    if backward is not None:
        others["agreement with the backward pass"] = _backward(source, masks, rows, *backward)
    curves = _curves(rows)
    quality = {
        identity: combine(curve, {name: other[identity] for name, other in others.items()})
        for identity, curve in curves.items()
    }
    starts = {identity: [int(np.flatnonzero(~np.isnan(curve))[0])] for identity, curve in curves.items()}
    found = suggest(quality, count, given=starts)
    pictures = _draw(video, masks, found, target)
    lines = [_line(each, masks.names[each.frame], curves, others) for each in found]
    shown = [(line, pictures[each.frame]) for line, each in zip(lines, found, strict=True)]
    write_text(target / "review.html", _page(folder, shown))
    for line in lines:
        say(line)
    say(f"page: {target / 'review.html'}")
    return 0


class _Masks:
    """The masks of the results, read when they are needed.

    Attributes:
        names: number of a frame -> name of its mask.
    """

    def __init__(self, folder: Path, names: Mapping[int, str]) -> None:
        self.folder, self.names = folder, dict(names)

    def __getitem__(self, index: int) -> LabelMap:
        return read_mask(self.folder / f"{self.names[index]}.png")


def _curves(rows: Sequence[ConfidenceRow]) -> dict[int, Curve]:
    """Expected IoU of each object by frame; NaN where it has no result."""
    length = max(row.index for row in rows) + 1
    curves: dict[int, Curve] = {}
    for row in rows:
        curves.setdefault(row.object, np.full(length, np.nan))[row.index] = row.expected_iou
    return curves


def _pairs(video: FrameSource, masks: _Masks) -> Iterator[tuple[int, Frame, LabelMap]]:
    """The frames that have masks, with them."""
    for index, frame in enumerate(video):
        if index in masks.names:
            yield index, frame, masks[index]


def _appearance(video: FrameSource, masks: _Masks, rows: Sequence[ConfidenceRow]) -> dict[int, Curve]:
    """Overlap of the histogram of colours inside each mask with that of the object's first mask, 0..1."""
    found = {identity: np.full_like(curve, np.nan) for identity, curve in _curves(rows).items()}
    first: dict[int, Curve] = {}
    for index, frame, labels in _pairs(video, masks):
        for identity, curve in found.items():
            inside = frame[labels == identity]
            if len(inside):
                now = _histogram(inside)
                curve[index] = float(np.sqrt(now * first.setdefault(identity, now)).sum())
    return found


def _histogram(pixels: NDArray[np.uint8]) -> Curve:
    """Shares of 512 colours of pixels ``(n, 3)``."""
    bins = (pixels.astype(np.int64) // 32) @ np.array([64, 8, 1])
    return np.bincount(bins, minlength=512) / len(pixels)


def _agreement(
    video: FrameSource, masks: _Masks, rows: Sequence[ConfidenceRow], second: str, config: RunConfig
) -> dict[int, Curve]:
    """IoU of each mask and that of a second method, which starts from the first mask of each object."""
    model, options = load_model(config, second)
    found = {identity: np.full_like(curve, np.nan) for identity, curve in _curves(rows).items()}
    starts: dict[int, list[int]] = {}
    for identity in found:
        starts.setdefault(min(row.index for row in rows if row.object == identity), []).append(identity)
    prompts = {index: np.where(np.isin(masks[index], ids), masks[index], 0) for index, ids in starts.items()}
    pairs = with_frames(lambda frames, given: model.track(frames, given, **options), video, prompts)
    for _, result in tqdm(pairs, total=video.length, unit="frame", desc=second, file=sys.stderr):
        if result.index in masks.names:
            ours, theirs = masks[result.index], result.label_map()
            for identity, curve in found.items():
                if not np.isnan(_curves(rows)[identity][result.index]):
                    curve[result.index] = float(region_similarity(ours == identity, theirs == identity))
    return found


def _backward(
    source: str, masks: _Masks, rows: Sequence[ConfidenceRow], weights: str, config: RunConfig
) -> dict[int, Curve]:
    """Lowest agreement up to each frame of each object's masks and those of a backward pass."""
    model, options = load_model(config, weights)
    frames, numbers = FrameStore(source), sorted(masks.names)
    track = partial(model.track, **options)
    found = {identity: np.full_like(curve, np.nan) for identity, curve in _curves(rows).items()}
    for identity, agreement in backward_agreement(track, frames.frame, masks.__getitem__, numbers, found).items():
        found[identity][numbers] = lowest_so_far(agreement)
    return found


def _draw(video: FrameSource, masks: _Masks, found: Sequence[Suggestion], target: Path) -> dict[int, str]:
    """A picture of each suggested frame with its masks; frame -> name of the file below the page."""
    wanted = {each.frame for each in found}
    pictures = {}
    for index, frame, labels in _pairs(video, masks):
        if index in wanted:
            pictures[index] = f"pictures/{masks.names[index]}.png"
            write_picture(target / pictures[index], overlay_panel([frame], [labels], columns=1, width=640))
    return pictures


def _line(each: Suggestion, name: str, curves: Mapping[int, Curve], others: Mapping[str, Mapping[int, Curve]]) -> str:
    signs = [f"expected IoU {curves[each.object][each.frame]:.2f}"]
    signs += [
        f"{sign} {curve[each.object][each.frame]:.2f}"
        for sign, curve in others.items()
        if not np.isnan(curve[each.object][each.frame])
    ]
    return f"frame {name}, object {each.object}: {', '.join(signs)}; expected gain {each.gain:.2f}"


def _page(results: Path, lines: Sequence[tuple[str, str]]) -> str:
    """The page, from lines of text and their pictures."""
    cells = [
        f'<figure><img src="{escape(picture, quote=True)}"><figcaption>{escape(line)}</figcaption></figure>'
        for line, picture in lines
    ]
    style = "body{font:15px sans-serif;max-width:700px;margin:2em auto}img{width:100%}figure{margin:1.5em 0}"
    head = f"<!doctype html><meta charset='utf-8'><title>What to correct next</title><style>{style}</style>"
    return "\n".join([head, f"<h1>What to correct next: {escape(str(results))}</h1>", *cells, ""])
