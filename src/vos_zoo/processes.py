"""Rank and number of the processes that torchrun, SLURM or Lightning started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vos_zoo.types import UsageError


def processes(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """World size and rank; (1, 0) for a single process."""
    if "WORLD_SIZE" in environ:
        return int(environ["WORLD_SIZE"]), int(environ.get("RANK", 0))
    if "SLURM_PROCID" in environ and environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(environ.get("SLURM_NTASKS", 1)), int(environ["SLURM_PROCID"])
    return 1, int(environ.get("LOCAL_RANK", 0))  # Lightning sets the rank of its own children first


def is_first(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process prints and writes files for all."""
    return processes(environ)[1] == 0


def fill_in_processes(options: dict[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Trainer options whose `devices` and `num_nodes` are set from torchrun; unchanged without it."""
    if "LOCAL_WORLD_SIZE" not in environ:
        return options
    local, world = int(environ["LOCAL_WORLD_SIZE"]), int(environ["WORLD_SIZE"])
    return {**options, "devices": local, "num_nodes": world // local}


def check_run_name(run_name: str | None, options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Check that several processes have a run name, since each would generate its own.

    Raises:
        UsageError: there is none.
    """
    several = options.get("devices", 1) not in (1, "1") or options.get("num_nodes", 1) != 1
    if run_name is None and (several or processes(environ)[0] > 1):
        raise UsageError("several processes train together and must write to one folder; give run_name=NAME")


def gather(value: Any) -> list[Any] | None:
    """The values of all processes, in order, in the first one (the others get None); starts the process group."""
    import torch.distributed as dist

    size, rank = processes()
    if size == 1:
        return [value]
    _connect(size, rank)
    values: list[Any] | None = [None] * size if rank == 0 else None
    dist.gather_object(value, values)
    return values


def agree(value: Any) -> Any:
    """The first process's value, in all processes."""
    import torch.distributed as dist

    size, rank = processes()
    if size == 1:
        return value
    _connect(size, rank)
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def _connect(size: int, rank: int) -> None:
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=rank, world_size=size)
