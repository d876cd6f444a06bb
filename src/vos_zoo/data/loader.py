"""The loader of training batches: numbered clips, counted batches, and the causes of what fails in its processes."""

from __future__ import annotations

import errno
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler

from vos_zoo.data.clips.numbered import NumberedClips
from vos_zoo.types import Batch, VOSError

SHARED_MEMORY = "/dev/shm"
"""Where Linux keeps the memory that processes share; batches come from loader processes through it."""
_SHARED_SIGNS = ("shared memory", "</torch_", "shm_open", "Bus error")


def _ranks() -> tuple[int, int]:
    """Number of processes that train together, and which of them this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0


class ClipNumbers(DistributedSampler[int]):
    """Numbers of the clips of an epoch: of batch n, process r of R takes clips (n * R + r) * batch_size onwards.

    There is no shuffling, because clip numbers already are random draws, and no state: an epoch is the next `batches`
    batches behind those trained so far. So a run that is resumed, in the middle of an epoch or not, sees the very
    batches it would have seen. (A `DistributedSampler`, so that Lightning leaves it in place.)

    Args:
        clips: the data set.
        batch_size: clips per batch and process.
        batches: batches per epoch.
        trained: says how many batches have been trained; None outside a run, where those given out are counted.

    Attributes:
        given: number of batches the loader has given out.
    """

    def __init__(self, clips: NumberedClips, batch_size: int, batches: int, trained: Callable[[], int | None]) -> None:
        world, rank = _ranks()
        super().__init__(clips, num_replicas=world, rank=rank, shuffle=False)
        self.batch_size, self.batches, self.trained = batch_size, batches, trained
        self.given = 0

    def __len__(self) -> int:
        return self.batch_size * self.batches

    def __iter__(self) -> Iterator[int]:
        """Clip numbers, batch after batch."""
        trained = self.trained()
        first = self.given if trained is None else trained
        for batch in range(first, first + self.batches):
            start = (batch * self.num_replicas + self.rank) * self.batch_size
            yield from range(start, start + self.batch_size)


class VideoNumbers(DistributedSampler[int]):
    """Numbers of the videos of this process: every video once, none twice (unlike the base class, which pads)."""

    def __init__(self, videos: Any) -> None:
        world, rank = _ranks()
        super().__init__(videos, num_replicas=world, rank=rank, shuffle=False)
        self.numbers = range(rank, len(videos), world)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        return iter(self.numbers)


class ClipLoader(DataLoader[Any]):
    """A loader that counts the batches it has given out, and can be set back to such a count.

    Inside a Lightning run the trainer's own count wins (it is what the weights have seen); the loader's serves loops
    without a trainer.
    """

    sampler: ClipNumbers

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a generator, so that a batch is counted when taken
        """The batches of an epoch; files that were skipped are reported once each, by name.

        Raises:
            VOSError: a file cannot be read, or a loader process has died.
        """
        batches = _started(super().__iter__)
        while (batch := _taken(batches)) is not None:
            for reason in batch.skipped:
                if reason not in self.reported:
                    warnings.warn(f"another clip was taken: {reason}", stacklevel=2)
                self.reported.add(reason)
            self.sampler.given += 1
            yield batch

    @cached_property
    def reported(self) -> set[str]:
        """What has been reported as skipped."""
        return set()

    def state_dict(self) -> dict[str, int]:
        """The number of batches given out."""
        return {"given": self.sampler.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on behind so many batches."""
        self.sampler.given = int(state["given"])


def loader_failure(error: BaseException) -> VOSError | None:
    """What has happened to a loader process, with its cause and a cure; None for an error of another kind.

    Args:
        error: what the loader, or torch's handler of signals, has raised.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    if any(sign in str(error) for sign in _SHARED_SIGNS):
        return VOSError(_too_small(lines[-1] if "Bus error" not in lines[0] else "Bus error"))
    if "in DataLoader worker process" in lines[0]:  # raised there; torch puts the traceback in between
        return VOSError(f"a loader process failed: {lines[-1]}")
    if "DataLoader worker" in lines[0]:
        return VOSError(_died(lines[0]))
    return None


def _too_small(reason: str) -> str:
    return (
        f"shared memory, through which loader processes hand over batches, is too small ({SHARED_MEMORY}"
        f"{_size_of(SHARED_MEMORY)}: {reason}): set data.workers=0, or enlarge it (docker run --shm-size=8g)"
    )


def _size_of(folder: str) -> str:
    try:
        total = shutil.disk_usage(folder).total
    except OSError:
        return ""
    return f" holds {total / 2**20:.3g} MiB"


def _died(reason: str) -> str:
    cure = "mostly the memory is full: lower data.workers or data.batch_size"
    return f"a loader process has died ({reason}); {cure}"


def _started(start: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
    """The batches, once the loader's processes have been started.

    Raises:
        VOSError: there is no room for the locks that they share.
    """
    try:
        return start()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise VOSError(_too_small(error.strerror or str(error))) from error


def _taken(batches: Iterator[Batch]) -> Batch | None:
    """The next batch, or None at the end; what breaks in a loader process is told in one line.

    Raises:
        VOSError: a file cannot be read, or a loader process has failed or died.
    """
    try:
        return next(batches, None)
    except VOSError as error:  # torch puts the traceback of the process in front
        raise VOSError(str(error).strip().splitlines()[-1].partition("VOSError: ")[2] or str(error)) from error
    except Exception as error:
        failure = loader_failure(error) or _silent_death(batches, error)
        if failure is None:
            raise
        raise failure from error


def _silent_death(batches: Iterator[Batch], error: Exception) -> VOSError | None:
    """Why a pipe to a loader process has broken, if that process has died: torch learns of it a moment later."""
    processes = getattr(batches, "_workers", [])
    if not processes or not isinstance(error, RuntimeError | EOFError | OSError):
        return None
    try:
        time.sleep(0.5)
    except RuntimeError as late:  # raised by torch where the signal arrives
        return loader_failure(late)
    dead = [str(process.pid) for process in processes if not process.is_alive()]
    return VOSError(_died(f"process {', '.join(dead)}: {type(error).__name__}")) if dead else None


def seed_worker(worker: int) -> None:
    """Seed the global generators of a loader process and keep OpenCV to one thread.

    The clips draw from their own generators; this is for code of others that uses the global ones.
    """
    import cv2

    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    cv2.setNumThreads(0)
