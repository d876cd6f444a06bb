"""Learning-rate groups by parameter name, freezing of all other parameters, optimisers and their schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR

from vos_zoo.config.schema import OptimConfig
from vos_zoo.types import UsageError


def _prefix_of(name: str, groups: Mapping[str, float]) -> str | None:
    """The longest prefix that names a parameter (whole path components only), or None."""
    fitting = [p for p in groups if p == "" or name == p or name.startswith(f"{p}.")]
    return max(fitting, key=len, default=None)


def check_groups(network: nn.Module, groups: Mapping[str, float]) -> None:
    """Check that every prefix names a parameter.

    Raises:
        UsageError: a prefix names none; the message lists the network's parts.
    """
    names = [name for name, _ in network.named_parameters()]
    for prefix in groups:
        if not any(_prefix_of(name, {prefix: 1.0}) is not None for name in names):
            tops = sorted({name.split(".")[0] for name in names})
            raise UsageError(
                f"optim.groups: no parameter begins with {prefix!r}; the network's parts: {', '.join(tops)}"
            )


def freeze_unnamed(network: nn.Module, groups: Mapping[str, float]) -> None:
    """Require gradients of exactly the parameters that a group with a rate above zero names."""
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


def make_optimiser(groups: list[dict[str, Any]], settings: OptimConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over `groups`.

    Args:
        groups: see `parameter_groups`.
        settings: `optimiser` (None: "adamw" if there is a decay, else "adam"), `betas`, `weight_decay`.
    """
    kind = settings.optimiser or ("adamw" if settings.weight_decay else "adam")
    made = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    return made(groups, betas=(settings.betas[0], settings.betas[1]), weight_decay=settings.weight_decay)


def make_schedule(
    optimiser: torch.optim.Optimizer, settings: OptimConfig, lengths: Callable[[], Mapping[str, float]]
) -> tuple[LRScheduler, str]:
    """The schedule of the learning rates, and whether it is stepped after every "epoch" or optimiser "step".

    Args:
        optimiser: the optimiser.
        settings: `schedule`, `interval`, `milestones`, `gamma`, `power`.
        lengths: returns the number of epochs and optimiser steps of the whole run, by "epoch" and "step"; infinite if
            the run has no end. Called only for "poly".

    Raises:
        UsageError: "poly" in a run without an end.
    """
    interval = settings.interval or {"steps": "epoch", "poly": "step"}[settings.schedule]
    if settings.schedule == "steps":
        return MultiStepLR(optimiser, settings.milestones, settings.gamma), interval
    total, power = lengths()[interval], settings.power
    if not 0 < total < math.inf:
        raise UsageError("optim.schedule=poly falls to zero at the end of the run; set trainer.max_epochs or max_steps")
    return LambdaLR(optimiser, lambda i: (1 - min(i, total) / total) ** power), interval
