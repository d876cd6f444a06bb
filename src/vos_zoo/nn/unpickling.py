"""Reading checkpoints of other programs without running their code, and mapping them onto our networks."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.nn.state_dicts import STATE_KEYS, find_state_dict
from vos_zoo.types import Conversion, UsageError

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}


class Inert:
    """Stands in for every class and function of a foreign pickle: takes anything, does nothing, keeps nothing."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Inert:
        """Swallow constructor arguments."""
        return object.__new__(cls)

    def __init__(self, *_arguments: Any, **_keywords: Any) -> None:
        """Swallow initialiser arguments."""

    def __setstate__(self, _state: Any) -> None:
        """Swallow pickled attributes."""

    def __setitem__(self, _key: Any, _value: Any) -> None:
        """Swallow dictionary entries."""

    def append(self, _value: Any) -> None:
        """Swallow list entries."""

    def extend(self, _values: Any) -> None:
        """Swallow list entries."""

    def __call__(self, *_arguments: Any, **_keywords: Any) -> Inert:
        """Swallow calls."""
        return self


class SafeUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers; every other global becomes an `Inert` stub, so nothing foreign runs."""

    def find_class(self, module: str, name: str) -> Any:
        """An allowed global, or an inert stub."""
        return _ALLOWED.get((module, name), Inert)

    def get_extension(self, code: int) -> Any:
        """Extension-registry codes are never resolved."""
        return Inert


def _load(file: Any, **options: Any) -> Any:
    return SafeUnpickler(file, **options).load()


_SAFE_PICKLE = SimpleNamespace(Unpickler=SafeUnpickler, load=_load, __name__="safe_pickle")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of another program, without executing anything in it.

    Accepts torch's zip and legacy files, with the weights at top level or under one of `STATE_KEYS`, and safetensors
    files; prefixes of entry names by DataParallel, torch.compile and the like are removed (`find_state_dict`).

    Args:
        path: the file.

    Raises:
        UsageError: the file is missing, unreadable, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"checkpoint {str(path)!r} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return find_state_dict(load_file(path))
        if _is_torchscript(path):
            raise UsageError(f"checkpoint {str(path)!r} is a TorchScript program, not a state dict")
        content = torch.load(path, map_location="cpu", pickle_module=_SAFE_PICKLE, weights_only=False)
    except UsageError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"checkpoint {str(path)!r} cannot be read: {reason}") from error
    state = find_state_dict(content)
    if not state:
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UsageError(f"checkpoint {str(path)!r} holds no state dict (found: {found}); expected one of {STATE_KEYS}")
    return state


def _is_torchscript(path: Path) -> bool:
    """Whether torch would take the file for a program; as for torch, a file is an archive if it begins like one."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def load_converted(network: nn.Module, state: Mapping[str, Tensor], conversion: Conversion) -> None:
    """Copy the authors' weights into `network`; every entry of both sides must match.

    Raises:
        UsageError: an entry is missing, unknown or of another shape; it is named as in the authors' file.
    """
    ours = network.state_dict()
    used = {**conversion.names}
    missing = [name for name in ours if name not in used]
    extra = sorted(set(state) - {used[name] for name in ours if name in used} - conversion.unused)
    if missing:
        name = conversion.authors_name(missing[0])
        raise UsageError(f"the checkpoint lacks the entry {name!r} ({len(missing)} entries are missing)")
    if extra:
        raise UsageError(f"the checkpoint has an unknown entry {extra[0]!r} ({len(extra)} such entries)")
    for name, tensor in ours.items():
        theirs = state[used[name]]
        if theirs.shape != tensor.shape:
            shapes = f"{tuple(theirs.shape)}, expected {tuple(tensor.shape)}"
            raise UsageError(f"entry {used[name]!r} of the checkpoint has shape {shapes}")
    network.load_state_dict({name: state[used[name]] for name in ours})
