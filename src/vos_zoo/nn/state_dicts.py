"""Finding the weights in checkpoints of other programs: containers around a state dict, wrappers in its entry names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

AVERAGED_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema")
"""Keys under which files keep averaged weights; these are what authors evaluate, so they are tried first."""
STATE_KEYS = (*AVERAGED_KEYS, "network", "model", "state_dict", "net", "module", "params", "weights")
"""Keys under which files keep their weights, in the order in which they are tried."""
INSERTED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What torch.compile, FSDP and activation checkpointing insert into entry names."""
OWNERS = ("module.", "model.", "network.", "net.", "state_dict.")
"""Prefixes of all entries or none: DataParallel, DistributedDataParallel and AveragedModel call the network
`module`, trainer classes keep it in an attribute of one of the other names."""
_COUNTER = "n_averaged"
"""What AveragedModel saves beside the network."""


def find_state_dict(content: Any, depth: int = 4) -> dict[str, Tensor]:
    """The state dict in the content of a checkpoint, without the wrappers of its entry names.

    Args:
        content: what the file holds: a state dict, or containers around it (``{"state_dict": {...}, "epoch": 3}``), of
            which the first of `STATE_KEYS` that holds tensors is taken.
        depth: maximum nesting of containers.

    Returns:
        Entry name -> tensor, detached; empty where there is none.
    """
    if not isinstance(content, Mapping):
        return {}
    for key in STATE_KEYS if depth else ():
        inside = find_state_dict(content.get(key), depth - 1)
        if inside:
            return inside
    return unwrap_names({str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)})


def unwrap_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as the network alone would save it, whatever wrapped the network when it was saved.

    Names are kept if two entries would get the same one.
    """
    names = {name: ".".join(part for part in name.split(".") if part not in INSERTED) for name in state}
    while owner := _owner(names.values()):
        names = {name: plain.removeprefix(owner) for name, plain in names.items() if plain != _COUNTER}
    if len(set(names.values())) < len(names) or not all(names.values()):
        return dict(state)
    return {plain: state[name] for name, plain in names.items()}


def _owner(names: Iterable[str]) -> str:
    """The prefix of `OWNERS` that all names begin with, or an empty string."""
    entries = [name for name in names if name != _COUNTER]
    return next((owner for owner in OWNERS if entries and all(name.startswith(owner) for name in entries)), "")
