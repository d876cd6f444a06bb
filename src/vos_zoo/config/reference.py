"""The reference of all keys of the configuration: what `vos-zoo config` prints and docs/configuration.md shows."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vos_zoo.config.checking import describe_type, plain_lists
from vos_zoo.config.layers import load_config, method_of
from vos_zoo.config.schema import RunConfig
from vos_zoo.config.settings.data import MixturePart
from vos_zoo.config.settings.rules import describe_rule, key_hints
from vos_zoo.registry import load_method
from vos_zoo.types import UsageError

_PART = "data.mixture.LABEL"
_HEAD = """# Configuration

Every key with its type, default, rule and meaning, written by `vos-zoo config --markdown`. A file of `configs`, a
recipe or a file of yours gives keys as nested YAML, the command line as `key=value`: `data.crop.size=[240,416]`.
`vos-zoo config --model METHOD` adds the keys of `model` and `track`, which every method has for itself, and
`vos-zoo config data.crop` prints a part.
"""


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: with dots between its parts.
        kind: its type in words.
        default: its default as YAML has it.
        rule: what values may be; empty where anything of the type goes.
        meaning: what it means.
    """

    name: str
    kind: str
    default: str
    rule: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A group of keys.

    Attributes:
        name: what the keys begin with; empty for those at the top.
        about: what the group is, a sentence.
        keys: its keys, without those of groups inside it.
    """

    name: str
    about: str
    keys: tuple[Key, ...]


def sections(kind: type[Any] = RunConfig, name: str = "") -> Iterator[Section]:
    """All keys that every run has, group by group."""
    hints, own, inner = key_hints(kind), [], []
    for item in dataclasses.fields(kind):
        hint, full = hints[item.name], f"{name}.{item.name}" if name else item.name
        if dataclasses.is_dataclass(hint):
            inner.append((typing.cast(type[Any], hint), full))
            continue
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        rule = describe_rule(item.metadata, hint)
        own.append(Key(full, describe_type(hint), _yaml(default), rule, item.metadata["meaning"]))
    yield Section(name, _first_paragraph(kind), tuple(own))
    for each, full in inner:
        yield from sections(each, full)
    if name == "data":
        yield from sections(MixturePart, _PART)


def method_sections(name: str) -> Iterator[Section]:
    """The keys of `model` and `track` of a method or of a variant of one (imports torch).

    Raises:
        UsageError: there is no such method.
    """
    network = load_method(method_of(name)).load_target_model()
    config, meanings = load_config(name), _documented(network)
    given = inspect.signature(network).parameters.values()
    plain = [
        parameter for parameter in given if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    hints = typing.get_type_hints(network.__init__)
    keys = [
        Key(
            f"model.{each.name}",
            _kind(hints.get(each.name, Any)),
            _yaml(config.model.get(each.name, each.default)),
            "",
            meanings.get(each.name, ""),
        )
        for each in plain
    ]
    yield Section("model", f"The network of {name}: keyword arguments of `{network.__name__}`.", tuple(keys))
    settings, presets = network.settings_type, ", ".join(f"`{preset}`" for preset in network.presets)
    hints, meanings, defaults = key_hints(settings), _documented(settings), settings()
    keys = [
        Key("track.preset", "a text or null", "null", f"one of {presets}", "settings under one name; other keys win")
    ]
    for item in dataclasses.fields(settings):
        hint, default = hints[item.name], config.track.get(item.name, getattr(defaults, item.name))
        meaning = item.metadata.get("meaning") or meanings.get(item.name, "")  # methods elsewhere may document them
        rule = describe_rule(item.metadata, hint)
        keys.append(Key(f"track.{item.name}", _kind(hint), _yaml(default), rule, meaning))
    yield Section("track", f"Inference settings of {name}.", tuple(keys))


def chosen_sections(everything: Sequence[Section], wanted: str | None) -> list[Section]:
    """Those with the key `wanted`, or with keys that begin with it; all for None.

    Raises:
        UsageError: there is no such key; the message proposes the nearest.
    """
    if wanted is None:
        return list(everything)
    found = []
    for section in everything:
        keys = tuple(key for key in section.keys if f"{key.name}.".startswith(f"{wanted}."))
        found += [dataclasses.replace(section, keys=keys)] if keys else []
    if not found:
        names = [name for section in everything for name in (section.name, *(key.name for key in section.keys))]
        same = [name for name in names if name.rpartition(".")[2] == wanted.rpartition(".")[2]]
        near = [*same, *difflib.get_close_matches(wanted, names, n=1)]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown key {wanted!r}{hint}; vos-zoo config lists all")
    return found


def as_text(everything: Sequence[Section], width: int = 100) -> str:
    """The keys for a terminal."""
    lines: list[str] = []
    for section in everything:
        lines += ["", *textwrap.wrap(f"# {section.name or 'top level'}: {section.about}", width)]
        for key in section.keys:
            rule = f"; {_unmarked(key.rule)}" if key.rule else ""
            lines.append(f"{key.name}={key.default}  ({key.kind}{rule})")
            lines += textwrap.wrap(
                _unmarked(key.meaning), width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    return "\n".join(lines).lstrip("\n")


def as_markdown(everything: Sequence[Section]) -> str:
    """The keys as a page."""
    lines = [_HEAD]
    for section in everything:
        title = f"`{section.name}`" if section.name else "Top level"
        lines += [
            f"## {title}",
            "",
            section.about,
            "",
            "| key | type | default | rule | meaning |",
            "|---|---|---|---|---|",
        ]
        for key in section.keys:
            cells = (f"`{key.name}`", key.kind, f"`{key.default}`", key.rule, key.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _kind(hint: Any) -> str:
    """A type in words; those that are not made of plain types by their name."""
    return re.sub(r"\b(?:typing|collections\.abc|vos_zoo(?:\.\w+)+)\.", "", describe_type(hint))


def _yaml(value: Any) -> str:
    """A default as YAML has it, numbers in six digits."""
    if value is inspect.Parameter.empty:
        return "must be given"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.6g}" if value % 1 else f"{value:.1f}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(inner) for inner in plain_lists(value)) + "]"
    return str(value)


def _unmarked(text: str) -> str:
    return text.replace("`", "")


def _first_paragraph(kind: type[Any]) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _documented(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of arguments and attributes, by name."""
    meanings: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        text = inspect.cleandoc(each.__doc__ or "")
        for part in re.findall(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)*)", text, re.MULTILINE):
            for names, meaning in re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", part, re.MULTILINE):
                meanings.update(dict.fromkeys(names.split(", "), " ".join(meaning.split()).rstrip(".")))
    return meanings
