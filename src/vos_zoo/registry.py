"""The registry of methods: found by scanning folders, without importing them.

A method is a folder `vos_zoo/methods/<name>/` whose `__init__.py` defines `METHOD = MethodInfo(...)` without importing
torch. Other packages add methods through the entry-point group `vos_zoo.methods`, whose values name such a module.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from vos_zoo.types import UsageError, VOSError

ENTRY_POINT_GROUP = "vos_zoo.methods"
_FOLDER = Path(__file__).resolve().parent / "methods"


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file with a name that others published, and where to get it.

    Attributes:
        name: its name on the command line; unique.
        file: name of the published file; "" if `url` is a folder of several, each of which is NAME/FILE.
        page: page of the publishers with a link to it.
        licence: the publishers' licence.
        about: one sentence on what it is.
        url: address for a download: of the file, or of a file or a folder of Google Drive; None: by hand only.
        sha256: digest of the file; None if none is published: the first download is then recorded and trusted.
        published: data set -> score -> value in percent, as published for this file, not measured by us.
    """

    name: str
    file: str
    page: str
    licence: str
    about: str
    url: str | None = None
    sha256: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WeightsEntry(PublishedFile):
    """Trained weights with a name, for `from_pretrained`; published ones are listed in `methods/<name>/weights.py`.

    Attributes:
        converted: whether the file is the authors' and needs conversion (else it is ours).
        track: inference settings that belong to these weights.
    """

    converted: bool = True
    track: Mapping[str, Any] = field(default_factory=dict)


KnownWeights = WeightsEntry
"""The former name, for methods in other packages."""


@dataclass(frozen=True)
class MethodInfo:
    """The description of a method, available without heavy imports.

    Attributes:
        name: name on the command line; the name of its folder, its configuration file and its card.
        title: full name, for tables.
        paper: title of the publication.
        year: year of the publication.
        url: address of the paper.
        licence_note: licence of the authors' own code and weights.
        summary: one sentence on how the method works.
        target_model: dotted path "package.module:Class" of its target model.
        converter: dotted path "package.module:function" from the authors' weights to ours, or None.
        weights: published weights, the default ones first.
        masks: published result masks, zip archives that `vos-zoo score` reads.
    """

    name: str
    title: str
    paper: str
    year: int
    url: str
    licence_note: str
    summary: str
    target_model: str
    converter: str | None = None
    weights: tuple[WeightsEntry, ...] = ()
    masks: tuple[PublishedFile, ...] = ()

    def load_target_model(self) -> Any:
        """Import the class of the target model (imports torch)."""
        return _resolve(self.target_model, self.name)

    def load_converter(self) -> Any:
        """Import the function that converts the authors' weights; raises `UsageError` if there is none."""
        if self.converter is None:
            raise UsageError(f"method {self.name!r} has no converter for its authors' weights")
        return _resolve(self.converter, self.name)


def available_methods() -> list[str]:
    """Sorted names of all methods, from the folders here and from installed packages; imports none of them.

    Examples:
        >>> [name for name in available_methods() if name in ("giel", "joint", "llb", "lwl", "pcvos")]
        ['giel', 'joint', 'llb', 'lwl', 'pcvos']
    """
    return sorted(_built_in() | _entry_points().keys())


available_models = available_methods


@cache
def load_method(name: str) -> MethodInfo:
    """The description of method `name`; imports its folder's `__init__` only.

    Raises:
        UsageError: no such method; the message suggests the nearest name.
        VOSError: the method's module does not define a valid `METHOD`.
    """
    if name in _built_in():
        info = getattr(import_module(f"vos_zoo.methods.{name}"), "METHOD", None)
    elif name in _entry_points():
        loaded = _entry_points()[name].load()
        info = getattr(loaded, "METHOD", loaded)
    else:
        known = available_methods()
        raise UsageError(f"unknown method {name!r}{suggestion(name, known)}; there are: {', '.join(known)}")
    if not isinstance(info, MethodInfo):
        raise VOSError(f"method {name!r} does not define METHOD = MethodInfo(...) in its __init__.py")
    if info.name != name:
        raise VOSError(f"method {name!r} calls itself {info.name!r} in METHOD; both names must be the same")
    return info


def suggestion(word: str, known: list[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known word, or an empty string if none is similar."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _built_in() -> set[str]:
    return {folder.parent.name for folder in _FOLDER.glob("*/__init__.py") if not folder.parent.name.startswith("_")}


def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """Entry points of installed packages by name; the packages are searched once per state of `sys.path`."""
    return _found_entry_points(group, tuple(sys.path))


@cache
def _found_entry_points(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _entry_points() -> dict[str, EntryPoint]:
    return entry_points_of(ENTRY_POINT_GROUP)


def _resolve(path: str, method: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError as error:
        raise VOSError(f"method {method!r}: {module} has no {attribute!r} (named by {path!r})") from error
