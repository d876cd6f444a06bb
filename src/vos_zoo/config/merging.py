"""Merges the layers of a configuration, resolves interpolations, and reports errors in one line.

No OmegaConf object leaves this module.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vos_zoo.config.checking import describe_type, members, plain_lists, show
from vos_zoo.config.schema import RunConfig
from vos_zoo.config.settings.rules import build_settings, key_hints
from vos_zoo.types import UsageError


@dataclass(frozen=True)
class Layer:
    """Keys and values from one source.

    Attributes:
        source: where they come from, for messages.
        tree: the nested keys and values.
    """

    source: str
    tree: dict[str, Any]


def last_value(layers: Sequence[Layer], *keys: str) -> Any:
    """The value the last layer gives to the nested key, or None where no layer names it."""
    for layer in reversed(layers):
        node: Any = layer.tree
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        if node is not None:
            return node
    return None


def merge_layers(layers: Sequence[Layer]) -> RunConfig:
    """The configuration of all layers, later ones win; interpolations are resolved once at the end.

    Raises:
        UsageError: an unknown key, a value of another type, or one that breaks a rule.
    """
    merged: Any = OmegaConf.structured(_plain_schema(typing.cast(Any, RunConfig)))
    for layer in layers:
        _check_keys(layer, RunConfig, layer.tree, "")
        try:
            merged.merge_with(layer.tree)  # in place: OmegaConf.merge would copy everything for every layer
        except OmegaConfBaseException as error:
            raise UsageError(_type_message(error, [layer])) from error
    try:
        tree = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(_type_message(error, layers)) from error
    return build_settings(RunConfig, typing.cast(dict[str, Any], tree), "")


@cache
def _plain_schema(kind: Any) -> type[Any]:
    """A settings class as OmegaConf merges it: types and defaults alone, with tuples replaced by lists."""
    hints, entries = key_hints(kind), []
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            hint = _plain_schema(typing.cast(Any, hint))
            factory: Callable[[], Any] = hint
        else:
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            hint, factory = _plain_hint(hint), partial(plain_lists, default)
        entries.append((item.name, hint, dataclasses.field(default_factory=factory)))
    return dataclasses.make_dataclass(kind.__name__, entries)


def _plain_hint(hint: Any) -> Any:
    if typing.get_origin(hint) is not tuple:
        return hint
    return list[_plain_hint(members(typing.get_args(hint)[0])[0])]  # type: ignore[misc]  # a type made at run time


def check_required(config: RunConfig, layers: Sequence[Layer]) -> None:
    """`???` in a file demands a value from another layer; raises `UsageError` where none gives it."""
    for layer in layers:
        for key in (key for key in _all_keys(RunConfig, "") if last_value([layer], *key.split(".")) == "???"):
            if attrgetter(key)(config) is None:
                raise UsageError(f"{key!r} is not set and {layer.source} needs it; give {key}=VALUE")


def _check_keys(layer: Layer, schema: type[Any], tree: Mapping[str, Any], prefix: str) -> None:
    hints = key_hints(schema)
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in hints:
            place = "" if layer.source == "key=value" else f" in {layer.source}"
            near = _nearest(name, [prefix + known for known in hints])
            raise UsageError(f"unknown key {name!r}{place}{near}")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise UsageError(f"{name!r} is {value!r}, expected keys and values ({layer.source})")
            _check_keys(layer, typing.cast(type[Any], hints[key]), value, f"{name}.")


def _nearest(name: str, siblings: list[str]) -> str:
    """`"; did you mean 'data.root'?"`: a key beside it, the same last word elsewhere, or anything near."""
    everything = list(_all_keys(RunConfig, ""))
    near = difflib.get_close_matches(name, siblings, n=1)
    near += [key for key in everything if key.rpartition(".")[2] == name.rpartition(".")[2]]
    near += difflib.get_close_matches(name, everything, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(siblings)}"


def _all_keys(schema: type[Any], prefix: str) -> Iterator[str]:
    for key, hint in key_hints(schema).items():
        yield prefix + key
        if dataclasses.is_dataclass(hint):
            yield from _all_keys(typing.cast(type[Any], hint), f"{prefix}{key}.")


def _type_message(error: OmegaConfBaseException, layers: Sequence[Layer]) -> str:
    """One line that names the key, the value and the expected type; OmegaConf's own first line for anything else."""
    key = str(error.full_key or "").partition("[")[0]
    value, hint = last_value(layers, *key.split(".")), _hint_of(key)
    source = layers[0].source if len(layers) == 1 else "with interpolations resolved"
    if hint in (None, Any) or "${" in str(value):
        return f"{key!r}: {str(error).splitlines()[0]} ({source})"
    return f"{key!r} is {show(value)}, expected {describe_type(hint)} ({source})"


def _hint_of(key: str) -> Any:
    hint: Any = RunConfig
    for part in key.split("."):
        if not dataclasses.is_dataclass(hint):
            return hint if typing.get_origin(hint) is not dict else typing.get_args(hint)[1]
        hint = key_hints(typing.cast(type[Any], hint)).get(part)
    return hint
