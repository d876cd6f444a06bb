"""Rank and number of the processes that torchrun, SLURM or Lightning started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from vos_zoo.types import UsageError

PATIENCE = timedelta(days=7)
"""How long a process waits for the others. One that ends is noticed at once; this bounds only how much longer the
videos of one process may take than those of another."""


def processes(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """World size and rank; (1, 0) for a single process."""
    if "WORLD_SIZE" in environ:
        return int(environ["WORLD_SIZE"]), int(environ.get("RANK", 0))
    if "SLURM_PROCID" in environ and environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(environ.get("SLURM_NTASKS", 1)), int(environ["SLURM_PROCID"])
    return 1, int(environ.get("LOCAL_RANK", 0))  # Lightning sets the rank of its own children first


def local_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Number of this process among those of its machine."""
    if "LOCAL_RANK" not in environ and "WORLD_SIZE" not in environ and processes(environ)[0] > 1:
        return int(environ.get("SLURM_LOCALID", 0))
    return int(environ.get("LOCAL_RANK", 0))


def device_number(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> int:
    """Number of the GPU on which this process evaluates.

    Args:
        options: the trainer's; `devices` lists the numbers of the machine's processes ([2, 3], "2,3"), or says how many
            there are (2, "2", "auto").
        environ: what torchrun or SLURM have set.

    Raises:
        UsageError: the list is shorter than the number of processes.
    """
    devices, place = options.get("devices", "auto"), local_rank(environ)
    if isinstance(devices, str) and "," in devices:
        devices = [int(number) for number in devices.split(",") if number.strip()]
    if isinstance(devices, str) or not isinstance(devices, Sequence):
        return place
    if place >= len(devices):
        raise UsageError(
            f"trainer.devices is {list(devices)}, but this machine has a process number {place}; list one for each"
        )
    return int(devices[place])


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
    """Start the process group; under SLURM the first node of the job is where the processes meet."""
    import torch.distributed as dist

    if dist.is_initialized():
        return
    if "SLURM_PROCID" in os.environ and "WORLD_SIZE" not in os.environ:
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = os.environ.get("SLURM_JOB_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
        os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
        os.environ.setdefault("MASTER_PORT", str(15000 + int(os.environ.get("SLURM_JOB_ID", "0")[-4:])))
    dist.init_process_group("gloo", rank=rank, world_size=size, timeout=PATIENCE)
