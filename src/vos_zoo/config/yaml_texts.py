"""YAML in which strings stay as they are written: `007`, `330e1204` and `true` are names where a name is expected.

YAML guesses the type of a word without quotes. Here the expected type is known: where it is a string, the word is
taken literally. Everywhere else the rules are those of YAML, but `1e-3` is a number, dates and times (`12:00:00`)
are texts, a number that starts with 0 is no octal one, and duplicate keys are refused.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from vos_zoo.config.checking import members

Hints = Callable[[type[Any]], Mapping[str, Any]]
"""The expected type of every key of a dataclass."""
_NULL, _TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"
_INT, _FLOAT, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_DECIMAL = r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)"
_EXPONENT = r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+"
_INTEGER = r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)"


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping's node."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"found duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes words that other YAML readers would not read as strings."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat a value that occurs twice."""
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag not in (_INT, _FLOAT, _DATE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SIGNS = list("-+.0123456789")
_Loader.add_implicit_resolver(_INT, re.compile(f"^(?:{_INTEGER})$"), _SIGNS)
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(rf"^(?:{_DECIMAL}|{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"), _SIGNS
)
_Dumper.add_implicit_resolver(_FLOAT, re.compile(f"^(?:{_DECIMAL}|{_EXPONENT})$"), _SIGNS)


def read_yaml(text: str | bytes, expected: Any, hints: Hints = typing.get_type_hints) -> Any:
    """Parse YAML.

    Args:
        text: the document; bytes are UTF-8, or UTF-16 with a byte order mark.
        expected: the type it should have: a dataclass for keys and values, or any annotation made of plain types.
        hints: the expected types of a dataclass's keys.

    Returns:
        Plain values. What is expected to be a text and written as one word is one, except `null` for a key by itself;
        other values are returned as YAML has them, whatever is expected.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _keep_texts(node, expected, hints)
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.composer.ComposerError(None, None, "a value contains itself", node.start_mark) from None
    finally:
        loader.dispose()


def read_value(text: str, expected: Any, hints: Hints = typing.get_type_hints) -> Any:
    """Parse the value of a key that stands by itself, as in `key=value`: a text needs no quotes, whatever is in it.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    word = text.strip()
    if set(members(expected)) <= {str, type(None)} and not word.startswith(("'", '"')):
        return None if word in ("", "~", "null", "Null", "NULL") else word
    return read_yaml(text, expected, hints)


def write_yaml(tree: Mapping[str, Any], file: typing.IO[str]) -> None:
    """Write plain values so that every reader keeps strings and numbers apart."""
    yaml.dump(tree, file, _Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)


def type_of_key(expected: Any, keys: Sequence[str], hints: Hints = typing.get_type_hints) -> Any:
    """The expected type of a nested key; `Any` where it is unknown."""
    for key in keys:
        expected = _of_value(expected, key, hints)
    return expected


def _keep_texts(node: yaml.Node, expected: Any, hints: Hints, listed: bool = False) -> None:
    """Tag the words that are expected to be strings."""
    if isinstance(node, yaml.ScalarNode):
        kept = node.tag == _NULL and not listed
        if str in members(expected) and not node.style and not kept:
            node.tag = _TEXT
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _keep_texts(value, _of_items(expected), hints, listed=True)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _keep_texts(merged, expected, hints)
            elif isinstance(key, yaml.ScalarNode):
                if _has_named_keys(expected) and not key.style:
                    key.tag = _TEXT
                _keep_texts(value, _of_value(expected, key.value, hints), hints)


def _of_items(expected: Any) -> Any:
    """The expected type of a list's items."""
    found = [part for part in members(expected) if typing.get_origin(part) in (list, tuple, Sequence)]
    return typing.get_args(found[0])[0] if found else Any


def _of_value(expected: Any, key: str, hints: Hints) -> Any:
    """The expected type of a mapping's value of `key`."""
    for part in members(expected):
        if dataclasses.is_dataclass(part):
            return hints(typing.cast(type[Any], part)).get(key, Any)
        if typing.get_origin(part) is dict:
            return typing.get_args(part)[1]
    return Any


def _has_named_keys(expected: Any) -> bool:
    """Whether the keys of a mapping are texts."""
    return any(
        dataclasses.is_dataclass(part) or (typing.get_origin(part) is dict and typing.get_args(part)[0] is str)
        for part in members(expected)
    )
