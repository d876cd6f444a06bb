"""What a training run loses when something breaks: at most the steps since its last checkpoint, and never silently."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.runs import die_in_step, fit, fit_words, run_apart, weights
from vos_zoo.data.datamodule import ClipDataset
from vos_zoo.model import VOSModel
from vos_zoo.training import checkpoint_files
from vos_zoo.training.checkpoint_files import SafeCheckpointIO, damage_of, newest_checkpoint
from vos_zoo.types import UsageError, VOSError

STEPS = 6
CLONE_NEWNS = 0x20000
"""Linux's flag for a process with mounts of its own."""
RUN = [
    "trainer.max_epochs=2",
    "data.batches_per_epoch=3",
    "checkpoint_every=1",
    "logger.name=none",
    "trainer.limit_val_batches=0",
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights at the end of a run in which nothing breaks."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert fit(folder, "run_name=a", *RUN) == 0
    state: dict[str, torch.Tensor] = weights(folder / "a")["state_dict"]
    return state


def fit_apart(folder: Path, before: Callable[[], object] | None, *words: str) -> tuple[int, str]:
    """`fit` in a process of its own, after a function that breaks something; exit code and stderr."""
    return run_apart(fit_words(folder, "run_name=a", *RUN, *words), folder, before)


def finish(folder: Path, unbroken: dict[str, torch.Tensor], *words: str) -> None:
    """Go on with the run of a folder; it must end with the bits of one that nothing happened to."""
    assert fit(folder, "run_name=a", *RUN, "--ckpt", "last", *words) == 0
    last = weights(folder / "a")
    assert last["global_step"] == STEPS
    for name, tensor in unbroken.items():
        assert torch.equal(tensor, last["state_dict"][name]), name


# These break things in the process that trains. Checkpoints are written once after steps 1 and 2, and twice after
# step 3, the last of its epoch.


def die_while_writing() -> None:
    real, written = torch.save, 0

    def save(checkpoint: Any, file: Any) -> None:
        nonlocal written
        written += 1
        real(checkpoint, file)
        if written == 3:
            file.flush()
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def die_between_renames() -> None:
    real, kept = checkpoint_files._keep, 0

    def keep(path: Path) -> None:
        nonlocal kept
        kept += 1
        real(path)
        if kept == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint_files._keep = keep


def limit_files(size: int) -> None:
    """Files of this process cannot grow beyond this many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def shrink_shared_memory(size: str) -> None:
    """Mount a small /dev/shm that only this process sees; needs the rights of root."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"]):
        subprocess.run(["mount", *words], check=True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its fifth step; tests go on with copies of it."""
    folder = tmp_path_factory.mktemp("killed")
    code, said = fit_apart(folder, partial(die_in_step, 5))
    assert code == -signal.SIGKILL, said
    return folder / "a"


@pytest.mark.parametrize(
    ("fault", "reached"),
    [(None, 4), (die_while_writing, 2), (die_between_renames, 2)],
    ids=["in a step", "in a checkpoint", "between two renames"],
)
def test_a_run_that_is_killed_loses_the_steps_since_its_last_checkpoint(
    tmp_path: Path, unbroken: dict[str, torch.Tensor], killed: Path, fault: Callable[[], None] | None, reached: int
) -> None:
    if fault is None:
        shutil.copytree(killed, tmp_path / "a")
    else:
        code, said = fit_apart(tmp_path, fault)
        assert code == -signal.SIGKILL, said
    checkpoints = tmp_path / "a" / "checkpoints"
    newest = newest_checkpoint(checkpoints, warn=pytest.fail)
    assert newest is not None and torch.load(newest, weights_only=True)["global_step"] == reached
    finish(tmp_path, unbroken)
    assert not list(checkpoints.glob(".*.tmp")), "what was half written is gone"


def break_file(path: Path) -> None:
    """Flip the bits of one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(
    tmp_path: Path, unbroken: dict[str, torch.Tensor], killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "a")
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    copy = shutil.copy(last, tmp_path / "copy.ckpt")
    break_file(last)
    assert damage_of(last) and damage_of(copy) is None
    with pytest.raises(UsageError, match="is damaged"):
        SafeCheckpointIO().load_checkpoint(last)
    assert fit(tmp_path, "run_name=a", *RUN, "--ckpt", str(last)) == 2
    assert "is damaged" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=r"last\.ckpt' is damaged \(.*\); trying the one before it"):
        finish(tmp_path, unbroken)


def test_a_run_whose_checkpoints_are_all_damaged_says_so(
    tmp_path: Path, killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "a")
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "a" / "checkpoints" / name).write_bytes(b"PK\x03\x04")
    with pytest.warns(UserWarning, match="is damaged"):
        assert fit(tmp_path, "run_name=a", *RUN, "--ckpt", "last") == 2
    assert "every checkpoint in" in capsys.readouterr().err


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(
    tmp_path: Path, unbroken: dict[str, torch.Tensor], killed: Path
) -> None:
    shutil.copytree(killed, tmp_path / "a")
    checkpoints = tmp_path / "a" / "checkpoints"
    size = (checkpoints / "last.ckpt").stat().st_size
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={int(2.5 * size)}", "tmpfs", str(small)], capture_output=True
    )
    # without the right to mount, files of the process that trains may not grow beyond half a checkpoint instead
    limit = partial(limit_files, size // 2) if mounted.returncode else None
    try:
        shutil.copytree(tmp_path / "a", small / "a")
        code, errors = run_apart(fit_words(small, "run_name=a", *RUN, "--ckpt", "last"), tmp_path, limit)
        said = errors.strip().splitlines()[-1]
        assert code == 1, said
        assert "cannot write checkpoint" in said and "continue with --ckpt last" in said
        reason = os.strerror(errno.EFBIG if mounted.returncode else errno.ENOSPC)
        assert reason in said
        newest = newest_checkpoint(small / "a" / "checkpoints", warn=pytest.fail)
        assert newest is not None and torch.load(newest, weights_only=True)["global_step"] == 4
        shutil.rmtree(tmp_path / "a")
        shutil.copytree(small / "a", tmp_path / "a")
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(small)], check=True)
    finish(tmp_path, unbroken)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_no_number_stops_with_the_clips_and_the_checkpoint_before(
    tmp_path: Path,
    unbroken: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    real = VOSModel.training_step

    def step(self: VOSModel, batch: Any, index: int) -> torch.Tensor:
        if self.global_step == 4 and broken == "loss":
            batch.frames[:, 1] = torch.nan
        loss = real(self, batch, index)
        if self.global_step == 4 and broken == "gradient":
            loss.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(VOSModel, "training_step", step)
        assert fit(tmp_path, "run_name=a", *RUN) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"training stopped at step 4: the {'loss' if broken == 'loss' else 'norm of the gradient'} is nan" in said
    assert said.count("synthetic_train_") == 2 and "continue with --ckpt last" in said
    assert weights(tmp_path / "a")["global_step"] == 4
    finish(tmp_path, unbroken)


def test_a_loader_process_that_dies_stops_the_run_with_a_cure(
    tmp_path: Path,
    unbroken: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = ClipDataset.__getitem__
    parent = os.getpid()

    def clip(self: ClipDataset, index: int) -> Any:
        if index >= 8 and os.getpid() != parent:
            time.sleep(1.0)  # until the checkpoint of the steps before is written
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "__getitem__", clip)
        assert fit(tmp_path, "run_name=a", *RUN, "data.workers=1") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a loader process has died" in said and "data.workers" in said
    assert f"continue with --ckpt last ('{tmp_path / 'a' / 'checkpoints' / 'last.ckpt'}' is undamaged)" in said
    assert weights(tmp_path / "a")["global_step"] >= 2
    finish(tmp_path, unbroken, "data.workers=0")


@pytest.mark.parametrize("size", ["4k", "64k"], ids=["no room for a lock", "no room for a batch"])
def test_a_shared_memory_that_is_too_small_is_told_with_its_cure_and_no_other_advice(tmp_path: Path, size: str) -> None:
    allowed = ("unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm")
    if shutil.which("unshare") is None or subprocess.run(allowed, capture_output=True).returncode:
        pytest.skip("a small /dev/shm can only be mounted by root")
    code, errors = fit_apart(tmp_path, partial(shrink_shared_memory, size), "data.workers=1")
    said = next(line for line in errors.splitlines() if line.startswith("vos-zoo: "))
    assert code == 1 and re.search(r"too small \(/dev/shm holds 0\.\d+ MiB: .*No space left", said), said
    assert "set data.workers=0, or enlarge it (docker run --shm-size=8g)" in said
    assert said.endswith("; no checkpoint has been written so far")


def test_a_run_that_stops_before_its_first_checkpoint_does_not_advise_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(self: VOSModel, batch: Any, index: int) -> torch.Tensor:
        raise VOSError("stopped here")

    monkeypatch.setattr(VOSModel, "training_step", step)
    assert fit(tmp_path, "run_name=a", *RUN) == 1
    said = capsys.readouterr().err
    assert "stopped here; no checkpoint has been written so far" in said and "--ckpt" not in said


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    files = SafeCheckpointIO()
    files.save_checkpoint({"weight": torch.ones(3)}, path)

    def fail(checkpoint: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(VOSError, match=r"cannot write checkpoint '.*last\.ckpt': No space left on device$"):
        files.save_checkpoint({"weight": torch.zeros(3)}, path)
    assert torch.equal(files.load_checkpoint(path)["weight"], torch.ones(3))
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]
