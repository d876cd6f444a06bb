"""The loader: what breaks within an epoch is named, and survived on request."""

from __future__ import annotations

import errno
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.drawn_videos import WHOLE, frame_files, module
from vos_zoo.data import loader
from vos_zoo.data.clips.numbered import ClipDataset
from vos_zoo.data.clips.transforms import Clip
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.loader import ClipLoader
from vos_zoo.types import Batch, UsageError, VOSError

# -- faults


def broken_in_the_middle(root: Path, data: VOSDataModule) -> Path:
    """The first frame of a clip of the second batch, cut short after the data set has been looked through."""
    data.setup("fit")
    clips = data.clips()
    plan = clips.sampler.plan(2)  # type: ignore[union-attr, call-arg]
    video: Any = clips.sampler.datasets[0][plan.sequence]
    path: Path = video.frame_paths[plan.query[0]]
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_frame_that_breaks_within_an_epoch_stops_the_run_by_name(davis: Path, workers: int) -> None:
    data = module(davis, workers=workers)
    path = broken_in_the_middle(davis, data)
    taken = 0
    with pytest.raises(VOSError, match=rf"^frame .*{path.name}.*data\.skip_broken=true") as caught:
        for _ in data.train_dataloader():
            taken += 1
    assert "\n" not in str(caught.value)
    assert taken == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_with_skip_broken_another_clip_takes_its_place_and_the_file_is_named_once(davis: Path, workers: int) -> None:
    data = module(davis, workers=workers, skip_broken=True)
    before = [data.clips()[item] for item in range(8)]
    path = broken_in_the_middle(davis, data)
    loader = data.train_dataloader()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = list(loader)
        loader.sampler.given = 0
        again = list(loader)
    named = [str(w.message) for w in caught if "another clip was taken" in str(w.message)]
    assert len(named) == 1
    assert path.name in named[0]
    assert [b.names for b in batches] == [b.names for b in again]
    assert all(torch.equal(one.frames, two.frames) for one, two in zip(batches, again, strict=True))
    frames = torch.cat([batch.frames for batch in batches])
    assert len(frames) == 8
    same = [torch.equal(frames[item], torch.from_numpy(before[item].frames)) for item in range(8)]
    assert not same[2]
    assert sum(same) >= 4  # all that did not meet the file


def test_a_run_in_which_nothing_can_be_read_ends(davis: Path) -> None:
    data = module(davis, skip_broken=True)
    data.setup("fit")
    for path in frame_files(davis):
        path.write_bytes(b"")
    with pytest.raises(VOSError, match="100 clips in a row cannot be read"):
        next(iter(data.train_dataloader()))


def test_a_mask_that_breaks_within_an_epoch_is_named_too(davis: Path) -> None:
    data = module(davis, **WHOLE)
    data.setup("fit")
    for path in (davis / "Annotations").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(VOSError, match=r"^mask .*\.png: cannot be read.*data\.skip_broken"):
        next(iter(data.train_dataloader()))


class Dying(ClipDataset):
    """Ends its process in the middle of an epoch."""

    def make(self, item: int, chance: np.random.Generator) -> Clip:
        if item == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(item, chance)


def test_a_loader_process_that_dies_is_told_in_one_line(drawn: Path) -> None:
    data = module(drawn, workers=1)
    data.clips().__class__ = Dying
    with pytest.raises(VOSError, match=r"a loader process has died \(.*lower data\.workers") as caught:
        list(data.train_dataloader())
    assert "\n" not in str(caught.value) and "--ckpt" not in str(caught.value)


SHARED_MEMORY_IS_FULL = {
    "while a batch is written": "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\n"
    "RuntimeError: unable to write to file </torch_12_34>: No space left on device (28)\n",
    "while it is allocated": "unable to allocate shared memory(shm) for file </torch_1_2>: Resource unavailable (11)",
    "while it is filled": "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit.",
}


@pytest.mark.parametrize("how", list(SHARED_MEMORY_IS_FULL))
def test_shared_memory_that_is_too_small_is_told_with_its_cure(how: str) -> None:
    failure = loader.loader_failure(RuntimeError(SHARED_MEMORY_IS_FULL[how]))
    assert re.search(
        r"^shared memory, .* is too small \(/dev/shm holds [\d.e+]+ MiB: .*(\(28\)|\(11\)|Bus error)\): "
        r"set data\.workers=0, or enlarge it \(docker run --shm-size=8g\)$",
        str(failure),
    )


def test_shared_memory_without_room_for_a_lock_is_told_with_its_cure(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = module(drawn, workers=1)
    batches = data.train_dataloader()
    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", full)
    with pytest.raises(VOSError, match=r"No space left on device\): set data\.workers=0"):
        next(iter(batches))


def test_a_pipe_that_breaks_with_a_loader_process_is_told_as_its_death() -> None:
    class Process:
        pid = 77

        def __init__(self, alive: bool) -> None:
            self.is_alive = lambda: alive

    class Batches:
        def __init__(self, *alive: bool) -> None:
            self._workers = [Process(each) for each in alive]

        def __next__(self) -> Batch:
            raise EOFError("pipe")

    with pytest.raises(VOSError, match=r"has died \(process 77: EOFError\)"):
        loader._taken(Batches(True, False))  # type: ignore[arg-type]
    with pytest.raises(EOFError, match="pipe"):
        loader._taken(Batches(True, True))  # type: ignore[arg-type]


def test_other_failures_of_the_loader_pass_as_they_are(drawn: Path) -> None:
    class Failing(ClipDataset):
        def make(self, item: int, chance: np.random.Generator) -> Clip:
            raise RuntimeError("something else")

    data = module(drawn)
    data.clips().__class__ = Failing
    with pytest.raises(RuntimeError, match=r"^something else$"):
        list(data.train_dataloader())


@pytest.mark.parametrize("error", [RuntimeError, KeyError])
def test_an_error_in_a_loader_process_is_told_by_its_last_line(drawn: Path, error: type[Exception]) -> None:
    class Failing(ClipDataset):
        def make(self, item: int, chance: np.random.Generator) -> Clip:
            raise error("something else")

    data = module(drawn, workers=1)
    data.clips().__class__ = Failing
    with pytest.raises(VOSError, match=rf"^a loader process failed: {error.__name__}: '?something else'?$"):
        list(data.train_dataloader())


def test_batches_say_what_was_skipped_and_forget_nothing_on_the_way() -> None:
    batch = Batch(torch.zeros(1), torch.zeros(1), torch.ones(1, dtype=torch.bool), torch.zeros(1), skipped=["a"])
    assert batch.to("cpu").skipped == ["a"]


def test_training_batches_come_from_the_loader_that_reports(drawn: Path) -> None:
    assert isinstance(module(drawn).train_dataloader(), ClipLoader)


def test_the_keys_of_the_loader_are_checked(drawn: Path) -> None:
    with pytest.raises(UsageError, match=r"'data\.pack_short_side' is 0"):
        module(drawn, pack_short_side=0)
