"""The actions of the page by name: each reads its arguments from JSON and calls one method of a project."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vos_zoo import samples
from vos_zoo.demo.drawing import Stroke
from vos_zoo.demo.project import Project
from vos_zoo.types import UsageError

Body = Mapping[str, Any]
Answer = dict[str, Any]


def run_action(project: Project, name: str, body: Any) -> Answer:
    """Run an action.

    Args:
        project: whose.
        name: one of `ACTIONS`.
        body: its arguments.

    Returns:
        What the page is told besides the state: "message", "object".

    Raises:
        VOSError: the action is unknown, an argument is missing or invalid, or the project refuses it.
    """
    if name not in ACTIONS:
        raise UsageError(f"there is no action {name!r}; known actions are: {', '.join(ACTIONS)}")
    if not isinstance(body, Mapping):
        raise UsageError(f"{name}: the request holds a {type(body).__name__} instead of an object")
    return ACTIONS[name](project, body) or {}


def _open(project: Project, body: Body) -> Answer:
    project.open(_text(body, "path"))
    return {"message": about_video(project)}


def _open_sample(project: Project, body: Body) -> Answer:
    project.open(samples.clip().video)
    return {"message": about_video(project)}


def _draw(project: Project, body: Body) -> None:
    stroke = Stroke(_points(body), _number(_value(body, "radius"), "radius"), bool(body.get("erase")))
    project.draw(_whole(body, "frame"), _whole(body, "object"), stroke)


def _box(project: Project, body: Body) -> Answer:
    box = _numbers(_value(body, "box"), "box", 4)
    name = project.draw_box(_whole(body, "frame"), _whole(body, "object"), box)
    return {"message": f"mask in the box found by {name}; correct it with the brush and the eraser"}


def _clear(project: Project, body: Body) -> None:
    with project.editing() as annotations:
        annotations.clear(_whole(body, "frame"))


def _add_object(project: Project, body: Body) -> Answer:
    with project.editing() as annotations:
        return {"object": annotations.add_object()}


def _rename_object(project: Project, body: Body) -> None:
    with project.editing() as annotations:
        annotations.rename_object(_whole(body, "object"), _text(body, "name"))


def _remove_object(project: Project, body: Body) -> None:
    with project.editing() as annotations:
        annotations.remove_object(_whole(body, "object"))


def _undo(project: Project, body: Body) -> None:
    with project.editing() as annotations:
        annotations.history.undo()


def _redo(project: Project, body: Body) -> None:
    with project.editing() as annotations:
        annotations.history.redo()


def _weights(project: Project, body: Body) -> None:
    project.choose_weights(_text(body, "name"))


def _track(project: Project, body: Body) -> None:
    project.track(_whole(body, "frame"), -1 if body.get("backward") else 1)


def _stop(project: Project, body: Body) -> None:
    project.worker.stop()


def _export(project: Project, body: Body) -> None:
    project.export(_text(body, "kind"))


ACTIONS: dict[str, Callable[[Project, Body], Answer | None]] = {
    "open": _open,
    "open_sample": _open_sample,
    "draw": _draw,
    "box": _box,
    "clear": _clear,
    "add_object": _add_object,
    "rename_object": _rename_object,
    "remove_object": _remove_object,
    "undo": _undo,
    "redo": _redo,
    "weights": _weights,
    "track": _track,
    "stop": _stop,
    "export": _export,
}
"""Name -> what it does."""


def about_video(project: Project) -> str:
    """The name, length and size of the open video."""
    height, width = project.frames.size
    return f"{project.frames.name}: {counted(project.length, 'frame')} of {width}x{height}"


def counted(number: int, thing: str) -> str:
    """A number of things: "1 frame", "2 frames"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _value(body: Body, key: str) -> Any:
    if key not in body:
        raise UsageError(f"the request lacks {key!r}")
    return body[key]


def _text(body: Body, key: str) -> str:
    return str(_value(body, key))


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{key}: {value!r} is not a number")
    return float(value)


def _whole(body: Body, key: str) -> int:
    number = _number(_value(body, key), key)
    if number != int(number):
        raise UsageError(f"{key}: {number} is not a whole number")
    return int(number)


def _numbers(values: Any, key: str, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise UsageError(f"{key}: {values!r} is not a list of {count} numbers")
    return tuple(_number(value, key) for value in values)


def _points(body: Body) -> list[tuple[float, float]]:
    values = _value(body, "points")
    if not isinstance(values, list):
        raise UsageError(f"points: {values!r} is not a list of points")
    pairs = (_numbers(value, "points", 2) for value in values)
    return [(x, y) for x, y in pairs]
