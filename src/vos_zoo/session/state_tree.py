"""Values that a method holds of a video, as tensors and JSON, and back: nothing in a file is executed.

Tensors, NumPy arrays, numbers, texts, bytes, containers, dataclasses, named tuples and random generators may be nested
in any way. A tensor comes back with its strides and its alignment in memory, so that kernels compute the same bits. A
tensor that occurs twice is one tensor again; two views of one storage become separate.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import deque
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vos_zoo.files.atomic import atomic_file
from vos_zoo.types import VOSError

Json: TypeAlias = Any
_ALIGNMENT = 64
"""Bytes; torch aligns what it allocates on a CPU to these."""
_CONTAINERS: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class Flattened:
    """A value as JSON that refers to tensors.

    Args:
        value: what is flattened.

    Attributes:
        tree: JSON.
        tensors: by name; contiguous, on the CPU, of separate storages.

    Raises:
        TypeError: something in it has a type that cannot be stored.
    """

    def __init__(self, value: Any) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._known: dict[int, Json] = {}
        self._alive: list[Any] = []
        self._storages: set[int] = set()
        self.tree: Json = self._node(value)

    def _node(self, value: Any) -> Json:
        if value is None or isinstance(value, bool | str) or type(value) is int:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
        if isinstance(value, Tensor):
            return self._once(value, self._tensor)
        if isinstance(value, np.ndarray | np.generic):
            return self._once(value, self._array)
        if isinstance(value, bytes):
            return {
                "$": "bytes",
                "v": self._tensor(torch.frombuffer(bytearray(value or b"\0"), dtype=torch.uint8)),
                "n": len(value),
            }
        return self._container(value)

    def _container(self, value: Any) -> Json:
        kind = type(value)
        if kind is list:
            return [self._node(item) for item in value]
        if kind is dict:
            return {"$": "dict", "v": [[self._node(key), self._node(item)] for key, item in value.items()]}
        if kind is deque:
            return {"$": "deque", "v": [self._node(item) for item in value], "n": value.maxlen}
        if kind is torch.Size or kind is tuple:
            return {"$": "tuple", "v": [self._node(item) for item in value]}
        if kind in (set, frozenset):
            return {"$": kind.__name__, "v": [self._node(item) for item in sorted(value)]}
        if kind is torch.Generator:
            return {"$": "generator", "v": self._tensor(value.get_state()), "device": value.device.type}
        if kind is np.random.Generator:
            return {"$": "random", "v": self._node(value.bit_generator.state)}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"$": "named", "class": _path(kind), "v": [self._node(item) for item in value]}
        if is_dataclass(kind):
            held = {f.name: self._node(getattr(value, f.name)) for f in fields(value)}
            return {"$": "object", "class": _path(kind), "v": held}
        raise TypeError(
            f"a state holds a {kind.__module__}.{kind.__qualname__}, which cannot be stored; hold tensors, numbers, "
            "containers and dataclasses of these"
        )

    def _once(self, value: Any, make: Any) -> Json:
        """The node of a value, the same for the same object."""
        if id(value) not in self._known:
            self._alive.append(value)
            self._known[id(value)] = make(value)
        return self._known[id(value)]

    def _array(self, value: np.ndarray[Any, Any] | np.generic) -> Json:
        held = np.ascontiguousarray(value)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        node = self._tensor(torch.from_numpy(held.copy()))
        return {"$": kind, "v": node, "shape": list(value.shape)}

    def _tensor(self, value: Tensor) -> Json:
        value = value.detach()
        size, stride = list(value.shape), list(value.stride())
        node: dict[str, Json] = {"$": "tensor", "size": size, "stride": stride, "device": value.device.type}
        node["offset"] = value.data_ptr() % _ALIGNMENT // value.element_size() if value.device.type == "cpu" else 0
        for axis, step in enumerate(stride):  # an expanded axis is stored once
            if step == 0 and size[axis] > 1:
                value = value.narrow(axis, 0, 1)
        held = value.cpu().contiguous()
        storage = held.untyped_storage()
        if storage.nbytes() != held.numel() * held.element_size() or storage.data_ptr() in self._storages:
            held = held.clone()
        self._storages.add(held.untyped_storage().data_ptr())
        name = f"{len(self.tensors):06d}"
        self.tensors[name] = held
        return {**node, "v": name}


class Unflattened:
    """The value of a flattened one.

    Args:
        tree, tensors: from `Flattened`.
        packages: top-level packages whose dataclasses and named tuples may occur; they are found among the modules
            that are loaded already, and made without running their code.
        device: where tensors go that were not on the CPU.

    Attributes:
        value: the value.

    Raises:
        VOSError: the tree is damaged, or names another class.
    """

    def __init__(
        self,
        tree: Json,
        tensors: dict[str, Tensor],
        packages: Collection[str],
        device: torch.device | None = None,
    ) -> None:
        self._tensors, self._packages, self._device = tensors, packages, device or torch.device("cpu")
        self._made: dict[str, Tensor] = {}
        self._arrays: dict[str, Any] = {}
        try:
            self.value: Any = self._value(tree)
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise VOSError(f"a saved state is damaged ({error})") from error

    def _value(self, node: Json) -> Any:
        if isinstance(node, list):
            return [self._value(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind, held = node["$"], node["v"]
        if kind == "tensor":
            return self._tensor(node)
        if kind in ("array", "scalar"):
            return self._array(node)
        if kind == "dict":
            return {self._value(key): self._value(item) for key, item in held}
        if kind in _CONTAINERS:
            return _CONTAINERS[kind](self._value(item) for item in held)
        if kind == "deque":
            return deque((self._value(item) for item in held), node["n"])
        if kind == "float":
            return float(held)
        if kind == "bytes":
            return bytes(self._tensor(held).numpy().tobytes()[: node["n"]])
        if kind in ("object", "named"):
            return self._object(node)
        return self._generator(node)

    def _tensor(self, node: Json) -> Tensor:
        name = node["v"]
        if name not in self._made:
            stored, size, stride = self._tensors[name], node["size"], node["stride"]
            if node["device"] != "cpu" or not stored.numel():
                made = torch.empty_strided(size, stride, dtype=stored.dtype, device=self._device_of(node))
                self._made[name] = made.copy_(stored) if stored.numel() else made
            else:
                span = 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
                room = torch.empty(span + node["offset"], dtype=stored.dtype)
                room.as_strided(stored.shape, stride, node["offset"]).copy_(stored)
                self._made[name] = room.as_strided(size, stride, node["offset"])
        return self._made[name]

    def _device_of(self, node: Json) -> torch.device:
        return torch.device("cpu") if node["device"] == "cpu" else self._device

    def _array(self, node: Json) -> Any:
        name = node["v"]["v"]
        if name not in self._arrays:
            array = self._tensors[name].numpy().copy().reshape(node["shape"])
            self._arrays[name] = array if node["$"] == "array" else array[()]
        return self._arrays[name]

    def _object(self, node: Json) -> Any:
        kind, held = self._class(node["class"]), node["v"]
        if node["$"] == "named":
            return kind(*(self._value(item) for item in held))
        made = object.__new__(kind)
        for f in fields(kind):
            object.__setattr__(made, f.name, self._value(held[f.name]))
        return made

    def _class(self, path: str) -> Any:
        """The class of a path, if it is a dataclass or named tuple of a known package."""
        module, _, name = path.partition(":")
        found: Any = sys.modules.get(module) if module.split(".")[0] in self._packages else None
        for part in name.split("."):
            found = getattr(found, part, None)
        plain = isinstance(found, type) and (
            is_dataclass(found) or (issubclass(found, tuple) and hasattr(found, "_fields"))
        )
        if not plain or _path(found) != path:
            raise VOSError(f"a saved state names the class {path}, which this model does not have")
        return found

    def _generator(self, node: Json) -> Any:
        if node["$"] == "generator":
            generator = torch.Generator(node["device"] if node["device"] == "cpu" else self._device)
            generator.set_state(self._tensor(node["v"]))
            return generator
        if node["$"] != "random":
            raise ValueError(f"unknown kind {node['$']!r}")
        state = self._value(node["v"])
        kinds = {name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")}
        bits = kinds[state["bit_generator"]]()
        bits.state = state
        return np.random.Generator(bits)


def save_state(path: Path, value: Any) -> None:
    """Write a value to a safetensors file, whole or not at all.

    Args:
        path: the file.
        value: see the top of this module.
    """
    flat = Flattened(value)
    tensors = flat.tensors or {"none": torch.zeros(1, dtype=torch.uint8)}
    metadata = {"format": "pt", "tree": json.dumps(flat.tree, separators=(",", ":"))}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(path: Path, packages: Collection[str], device: torch.device | None = None) -> Any:
    """The value in a file of `save_state`; the arguments are those of `Unflattened`.

    Raises:
        VOSError: the file is missing or damaged.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            tree = json.loads(file.metadata()["tree"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise VOSError(f"{path}: cannot be read as a saved state ({error})") from error
    return Unflattened(tree, tensors, packages, device).value


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
