"""How a setting is declared: a dataclass field with its default, its constraint and its meaning.

The rule is checked whenever a settings object is made, by a constructor, the data module or the merged configuration,
and it is what the reference of all keys prints.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from vos_zoo.config.checking import describe_type, fits, members, show
from vos_zoo.types import UsageError

Kind = TypeVar("Kind")
_NUMBERS: dict[Any, type[int] | type[float]] = {int: int, float: float}


def setting(
    default: Any,
    meaning: str,
    *,
    choices: tuple[str, ...] | None = None,
    length: int | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    ascending: bool = False,
    cure: str | None = None,
) -> Any:
    """A dataclass field; bounds hold for every number of a list.

    Args:
        default: its default; lists and dicts are copied.
        meaning: what it means, in a phrase.
        choices: the texts allowed, of a list for each of its items.
        length: how many values a list has (a tuple's type says it by itself).
        minimum: the smallest value.
        above: values are larger than this.
        maximum: the largest value.
        below: values are smaller than this.
        ascending: of a pair, the smaller number comes first.
        cure: a hint that an error message about the value adds.
    """
    rules = {
        "choices": choices,
        "length": length,
        "above": above,
        "minimum": minimum,
        "below": below,
        "maximum": maximum,
        "ascending": ascending or None,
        "cure": cure,
    }
    metadata = {"meaning": meaning, **{name: rule for name, rule in rules.items() if rule is not None}}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: type[Any], meaning: str) -> Any:
    """A dataclass field that holds a group of settings, all at their defaults."""
    return dataclasses.field(default_factory=kind, metadata={"meaning": meaning})


class Settings:
    """Base of the dataclasses of settings: types and rules of all fields are checked at construction.

    Attributes:
        KEY: the key of the configuration under which the group stands.
    """

    KEY = ""

    def __post_init__(self) -> None:
        """Check every field, and convert lists to tuples where a tuple is declared.

        Raises:
            UsageError: a value of another type, or one that breaks a rule.
        """
        hints = key_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = checked_value(getattr(self, item.name), hints[item.name], item.metadata, self.key_of(item.name))
            object.__setattr__(self, item.name, value)
        self.check()

    def key_of(self, name: str) -> str:
        """The full key of a field, for messages."""
        return f"{self.KEY}.{name}" if self.KEY else name

    def check(self) -> None:
        """Check constraints between fields; raises `UsageError`."""


def key_hints(kind: type[Any]) -> dict[str, Any]:
    """The evaluated types of a dataclass's fields, in their order."""
    return _evaluated_hints(typing.cast(Any, kind))  # mypy considers classes of dataclasses unhashable


@cache
def _evaluated_hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def checked_value(value: Any, hint: Any, rules: Mapping[str, Any], key: str) -> Any:
    """The value as its type declares it: numbers of a tuple are converted, paths become strings.

    Args:
        value: what was given.
        hint: the declared type.
        rules: the field's metadata.
        key: its full key, for messages.

    Raises:
        UsageError: it does not fit; the message names key, value and what was expected.
    """
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    expected = None if fits(value, hint) else describe_type(hint)
    if expected is None and isinstance(value, list | tuple):
        items = _tuple_items(hint)
        number = _NUMBERS.get(items[0]) if items else None
        if number and not all(fits(part, number) for part in value):
            expected = describe_type(hint)
        elif items[1:] and items[-1] is not Ellipsis and len(value) != len(items):
            expected = f"{len(items)} values"
        elif items:
            value = tuple(number(part) if number else part for part in value)
    expected = expected or _broken_rule(value, rules)
    if expected:
        cure = f"; {rules['cure']}" if "cure" in rules else ""
        raise UsageError(f"{key!r} is {show(value)}, expected {expected}{cure}")
    return value


def _tuple_items(hint: Any) -> tuple[Any, ...]:
    """The types of a tuple's items, of a declared tuple or the tuple of a union; empty for others."""
    found = [part for part in members(hint) if typing.get_origin(part) is tuple]
    return typing.get_args(found[0]) if found else ()


def _broken_rule(value: Any, rules: Mapping[str, Any]) -> str | None:
    """What the first broken rule expects, or None."""
    if value is None:
        return None
    numbers = value if isinstance(value, list | tuple) else [value]
    if "choices" in rules and not all(item in rules["choices"] for item in numbers):
        return f"{'a list of' if numbers is value else 'one of'}: {', '.join(rules['choices'])}"
    if "length" in rules and len(value) != rules["length"]:
        return f"{rules['length']} values"
    holds = {
        "above": lambda number, bound: number > bound,
        "minimum": lambda number, bound: number >= bound,
        "below": lambda number, bound: number < bound,
        "maximum": lambda number, bound: number <= bound,
    }
    for name, compare in holds.items():
        if name in rules and not all(compare(number, rules[name]) for number in numbers):
            return f"{_BOUNDS[name]} {rules[name]}"
    if "ascending" in rules and list(numbers) != sorted(numbers):
        return "the smaller first"
    return None


_BOUNDS = {"above": "above", "minimum": "at least", "below": "below", "maximum": "at most"}


def describe_rule(rules: Mapping[str, Any], hint: Any) -> str:
    """A field's rule in words, such as "2 values, each at least 1"; empty where any value of its type is valid."""
    items = _tuple_items(hint)
    fixed = len(items) if items and items[-1] is not Ellipsis else rules.get("length")
    said = [f"one of {', '.join(f'`{choice}`' for choice in rules['choices'])}"] if "choices" in rules else []
    said += [f"{fixed} values"] if fixed else []
    bounds = [f"{word} {rules[name]}" for name, word in _BOUNDS.items() if name in rules]
    said += [("each " if fixed else "") + " and ".join(bounds)] if bounds else []
    said += ["the smaller first"] if "ascending" in rules else []
    return ", ".join(said)


def build_settings(kind: type[Kind], given: Mapping[str, Any] | Kind | None, key: str) -> Kind:
    """A settings object from plain keys and values; groups inside it may be given as keys and values, or be built.

    Args:
        kind: the dataclass.
        given: its fields, or the object itself; None for the defaults, here and in groups.
        key: the key of the configuration under which it stands, for messages.

    Raises:
        UsageError: an unknown key (the nearest is proposed) or a value that breaks a rule.
    """
    if isinstance(given, kind):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"{key!r} is {show(given)}, expected keys and values")
    hints, prefix = key_hints(kind), f"{key}." if key else ""
    values = dict(given or {})
    rules = {item.name: item.metadata for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(hints)}"
            raise UsageError(f"unknown key {prefix}{name}; {hint}")
        if dataclasses.is_dataclass(hints[name]):
            values[name] = build_settings(typing.cast(type[Any], hints[name]), value, f"{prefix}{name}")
        else:  # here the whole key is known, which for a part of a mixture holds its label
            values[name] = checked_value(value, hints[name], rules[name], f"{prefix}{name}")
    return kind(**values)
