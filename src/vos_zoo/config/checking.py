"""Checks of configured values that name the key, the value and the fix: types, and constructors' signatures."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from vos_zoo.types import UsageError


def check_keywords(given: Mapping[str, Any], function: Callable[..., Any], where: str) -> None:
    """Check keyword arguments against the signature of `function` (a class or a function).

    Values are checked where the annotation is made of plain types (bool, int, float, str, None and their unions).

    Args:
        given: the keyword arguments.
        function: what they are passed to.
        where: their key in the configuration, for messages ("model").

    Raises:
        UsageError: an unknown or missing name, or a value of the wrong type.
    """
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    hints = _hints(function)
    for key, value in given.items():
        if key not in names and not open_ended:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean '{where}.{near[0]}'?" if near else f"{where} takes: {', '.join(names)}"
            raise UsageError(f"unknown key '{where}.{key}'; {hint}")
        expected = hints.get(key, Any)
        if not fits(value, expected):
            cure = f"; quote a string that looks like another type: '{where}.{key}=\"...\"'"
            looks = isinstance(value, bool | int | float) and fits("", expected)
            raise UsageError(f"'{where}.{key}' is {value!r}, expected {describe_type(expected)}{cure if looks else ''}")
    missing = [n for n in names if parameters[n].default is inspect.Parameter.empty and n not in given]
    if missing:
        raise UsageError(f"'{where}.{missing[0]}' is not set; give {where}.{missing[0]}=VALUE")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Evaluated annotations of a class's constructor or of a function; empty where they cannot be evaluated."""
    target = function.__init__ if inspect.isclass(function) else function  # type: ignore[misc]
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError):
        return {}


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; another type by itself."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if union else (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits an annotation; annotations that are not made of plain types accept everything."""
    if len(members(hint)) > 1:
        return any(fits(value, part) for part in members(hint))
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if typing.get_origin(hint) in (list, tuple):
        return isinstance(value, list | tuple)
    return True


def show(value: Any) -> str:
    """A value as YAML has it: null for None, lists for tuples."""
    return "null" if value is None else repr(plain_lists(value))


def plain_lists(value: Any) -> Any:
    """The value with tuples replaced by lists, recursively."""
    if isinstance(value, Mapping):
        return {key: plain_lists(inner) for key, inner in value.items()}
    return [plain_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def describe_type(hint: Any) -> str:
    """An annotation in words: "an integer or null", "a list of numbers"."""
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a text", type(None): "null"}
    if hint in words:
        return words[hint]
    if len(members(hint)) > 1:
        return " or ".join(describe_type(part) for part in members(hint))
    if typing.get_origin(hint) in (list, tuple):
        plural = {int: "integers", float: "numbers", str: "texts"}.get(typing.get_args(hint)[0], "values")
        return f"a list of {plural}"
    if hint is dict or typing.get_origin(hint) is dict or dataclasses.is_dataclass(hint):
        return "keys and values"
    return str(hint)
