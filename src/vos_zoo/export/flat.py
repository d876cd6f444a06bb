"""Features and memories as flat lists of tensors, which is what an ONNX file takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

ValueT = TypeVar("ValueT")
"""What is flattened."""


def named_tensors(value: Any, name: str = "") -> dict[str, Tensor]:
    """The tensors in nested dataclasses, mappings and sequences, by their path: "samples.buffers.features"."""
    if isinstance(value, Tensor):
        return {name: value}
    found = {}
    for key, part in _parts(value):
        found.update(named_tensors(part, f"{name}.{key}" if name else str(key)))
    return found


def with_tensors(value: ValueT, tensors: Mapping[str, Tensor], name: str = "") -> ValueT:
    """The same structure with other tensors, by the paths of `named_tensors`; all else is kept as it is."""
    if isinstance(value, Tensor):
        return tensors[name]  # type: ignore[return-value]
    parts = {key: with_tensors(part, tensors, f"{name}.{key}" if name else str(key)) for key, part in _parts(value)}
    if not parts:
        return value
    if isinstance(value, Mapping):
        return {**value, **parts}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)([parts.get(index, part) for index, part in enumerate(value)])
    return replace(value, **{str(key): part for key, part in parts.items()})  # type: ignore[type-var]


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and parts of a value that may hold tensors."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs: Iterator[tuple[Any, Any]] = ((f.name, getattr(value, f.name)) for f in fields(value) if f.init)
    elif isinstance(value, Mapping):
        pairs = iter(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        pairs = enumerate(value)
    else:
        return
    for key, part in pairs:
        if isinstance(part, Tensor) or next(_parts(part), None) is not None:
            yield key, part
