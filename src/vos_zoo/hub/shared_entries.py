"""Weights files of a model: its own, and files whose entries several models share (a frozen backbone)."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vos_zoo.downloads.fetching import file_digest
from vos_zoo.types import UsageError


def read_entries(weights: Path, shared: Mapping[str, Mapping[str, str]], wanted: Container[str]) -> dict[str, Tensor]:
    """The entries of a model, in the number formats of its files.

    Args:
        weights: the model's own safetensors file.
        shared: name of a file -> "prefix" of its entries in this model, and "sha256", its digest; it is
            next to the model's own file, or next to the model's folder. Entries that the model lacks are left out.
        wanted: names of the model's entries.

    Raises:
        UsageError: a shared file is missing or has another digest.
        OSError, SafetensorError: a file cannot be read.
    """
    state = dict(load_file(weights))
    for name, facts in shared.items():
        for entry, tensor in load_file(_shared_file(weights, name, facts["sha256"])).items():
            if f"{facts['prefix']}{entry}" in wanted:
                state[f"{facts['prefix']}{entry}"] = tensor
    return state


def _shared_file(weights: Path, name: str, sha256: str) -> Path:
    if Path(name).name != name:
        raise UsageError(f"{str(weights.parent)!r} shares entries with {name!r}; a shared file is a plain file name")
    path = next((place / name for place in weights.resolve().parents[:2] if (place / name).is_file()), None)
    if path is None:
        raise UsageError(f"{str(weights.parent)!r} lacks the file {name!r} next to it, which holds some of its weights")
    found = file_digest(path)
    if found != sha256:
        raise UsageError(f"{path}: SHA-256 is {found}, but the model next to it was saved with {sha256}; get that file")
    return path
