"""Learning-rate groups by parameter name, and freezing of everything no group names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from vos_zoo.types import UsageError


def _prefix_of(name: str, groups: Mapping[str, float]) -> str | None:
    """The longest prefix that names a parameter (whole path components only), or None."""
    fitting = [p for p in groups if p == "" or name == p or name.startswith(f"{p}.")]
    return max(fitting, key=len, default=None)


def check_groups(network: nn.Module, groups: Mapping[str, float]) -> None:
    """Refuse prefixes that name no parameter.

    Raises:
        UsageError: there is one; the message lists the network's parts.
    """
    names = [name for name, _ in network.named_parameters()]
    for prefix in groups:
        if not any(_prefix_of(name, {prefix: 1.0}) is not None for name in names):
            tops = sorted({name.split(".")[0] for name in names})
            raise UsageError(f"optim.groups: no parameter is named {prefix!r}; the network's parts: {', '.join(tops)}")


def freeze_unnamed(network: nn.Module, groups: Mapping[str, float]) -> None:
    """Let gradients reach exactly the parameters that some group names with a rate above zero."""
    for name, parameter in network.named_parameters():
        owner = _prefix_of(name, groups)
        parameter.requires_grad_(owner is not None and groups[owner] > 0)


def parameter_groups(network: nn.Module, groups: Mapping[str, float]) -> list[dict[str, Any]]:
    """Optimiser groups, one per prefix with trainable parameters, in the order given; each with its "name" and "lr"."""
    members: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in groups}
    for name, parameter in network.named_parameters():
        prefix = _prefix_of(name, groups)
        if prefix is not None and parameter.requires_grad:
            members[prefix].append(parameter)
    found = [
        {"params": parameters, "lr": float(groups[prefix]), "name": prefix or "all"}
        for prefix, parameters in members.items()
        if parameters
    ]
    if not found:
        raise UsageError("nothing to train: optim.groups gives no parameter a learning rate above zero")
    return found
