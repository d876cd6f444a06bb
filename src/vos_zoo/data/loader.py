"""The loader of training batches: numbered clips, counted batches, and error messages of loader processes."""

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
from vos_zoo.types import Batch, VideoDataset, VOSError

SHARED_MEMORY = "/dev/shm"
"""Linux's shared memory, through which loader processes return batches."""
_SHARED_SIGNS = ("shared memory", "</torch_", "shm_open", "Bus error")


def _ranks() -> tuple[int, int]:
    """World size and rank."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0


class ClipNumbers(DistributedSampler[int]):
    """Numbers of the clips of an epoch: of batch n, process r of R takes clips (n * R + r) * batch_size onwards.

    There is no shuffling, because clip numbers are already random draws, and no state: an epoch is the next `batches`
    batches after those trained so far. So a resumed run, also in the middle of an epoch, gets the same
    batches as an uninterrupted one. (A `DistributedSampler`, so that Lightning does not replace it.)

    Args:
        clips: the data set.
        batch_size: clips per batch and process.
        batches: batches per epoch.
        trained: returns the number of trained batches; None outside a run, where returned batches are counted.

    Attributes:
        given: number of batches that the loader has returned.
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
    """Numbers of the videos of this process: every video once, and the same count in each process.

    Every process must take part in what the processes do together in a validation. One with fewer videos than the
    others gets a spare: numbers from ``len(videos)`` on, see `vos_zoo.data.spare.WithSpares`.
    """

    def __init__(self, videos: VideoDataset) -> None:
        world, rank = _ranks()
        super().__init__(videos, num_replicas=world, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.numbers = range(rank, -(-len(videos) // world) * world, world)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        return iter(self.numbers)


class ClipLoader(DataLoader[Any]):
    """A loader that counts returned batches, and can be reset to a count.

    Inside a Lightning run the trainer's count is used (that of the weights); the loader's is for loops
    without a trainer.
    """

    sampler: ClipNumbers

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a generator, so that a batch is counted when taken
        """The batches of an epoch; skipped files are reported once each.

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
        """Skipped files that were reported."""
        return set()

    def state_dict(self) -> dict[str, int]:
        """The number of returned batches."""
        return {"given": self.sampler.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after a number of batches."""
        self.sampler.given = int(state["given"])


def loader_failure(error: BaseException) -> VOSError | None:
    """The failure of a loader process, with its cause and a fix; None for other errors.

    Args:
        error: the exception of the loader or of torch's signal handler.
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
        f"shared memory, through which loader processes return batches, is too small ({SHARED_MEMORY}"
        f"{_size_of(SHARED_MEMORY)}: {reason}): set data.workers=0, or enlarge it (docker run --shm-size=8g)"
    )


def _size_of(folder: str) -> str:
    try:
        total = shutil.disk_usage(folder).total
    except OSError:
        return ""
    return f" holds {total / 2**20:.3g} MiB"


def _died(reason: str) -> str:
    cure = "usually memory is full: lower data.workers or data.batch_size"
    return f"a loader process has died ({reason}); {cure}"


def _started(start: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
    """Start the loader's processes and return the batches.

    Raises:
        VOSError: there is no space for their shared locks.
    """
    try:
        return start()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise VOSError(_too_small(error.strerror or str(error))) from error


def _taken(batches: Iterator[Batch]) -> Batch | None:
    """The next batch, or None at the end; failures of a loader process are one-line errors.

    Raises:
        VOSError: a file cannot be read, or a loader process has failed or died.
    """
    try:
        return next(batches, None)
    except VOSError as error:  # torch prepends the traceback of the process
        raise VOSError(str(error).strip().splitlines()[-1].partition("VOSError: ")[2] or str(error)) from error
    except Exception as error:
        failure = loader_failure(error) or _silent_death(batches, error)
        if failure is None:
            raise
        raise failure from error


def _silent_death(batches: Iterator[Batch], error: Exception) -> VOSError | None:
    """The error for a broken pipe to a loader process that has died, which torch detects only later."""
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

    Clips use their own generators; this is for third-party code that uses the global ones.
    """
    import cv2

    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    cv2.setNumThreads(0)
