"""What the page shows of a project, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from vos_zoo.demo.project import Project
from vos_zoo.video.masks import davis_palette


def describe(project: Project) -> dict[str, Any]:
    """The state of a project: video, weights, objects, drawn, tracked and outdated frames, and the running job."""
    sheet, history = project.annotations.sheet, project.annotations.history
    tracked, stale = project.tracked_frames()
    height, width = project.frames.size
    job = project.worker.job
    return {
        "version": project.version,
        "video": {
            "name": project.frames.name,
            "number": project.number,
            "frames": project.length,
            "width": width,
            "height": height,
            "fps": project.frames.fps,
        },
        "weights": project.weights,
        "objects": [{"id": i, "name": name, "colour": colour(i)} for i, name in sheet.objects.items()],
        "drawn": list(sheet.drawings),
        "tracked": ranges(tracked),
        "stale": ranges(stale),
        "undo": history.can_undo,
        "redo": history.can_redo,
        "job": None if job is None else asdict(job),
    }


def colour(identity: int) -> str:
    """Colour of an object in masks and overlays, ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*davis_palette()[3 * identity : 3 * identity + 3])


def ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges of consecutive ones, first and last of each included."""
    starts = [0, *(place for place, (one, two) in enumerate(pairwise(numbers), 1) if two != one + 1)]
    return [(numbers[a], numbers[b - 1]) for a, b in pairwise([*starts, len(numbers)])] if numbers else []
