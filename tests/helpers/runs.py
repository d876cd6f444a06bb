"""Small training runs from the command line, in this process or in one of their own that may die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.helpers.contract_settings import BY_METHOD
from vos_zoo.cli import main
from vos_zoo.model import VOSModel

SMALL_DATA = [
    "data.batch_size=2",
    "data.synthetic.size=[48,80]",
    "data.synthetic.frames=12",
    "data.synthetic.train_videos=3",
    "data.synthetic.val_videos=1",
    "data.synthetic.test_videos=1",
    "data.sampling.query_frames=2",
    "data.workers=0",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
]
TINY = [
    "model.backbone=timm:resnet10t",
    "model.feature_channels=16",
    "model.label_channels=4",
    "model.label_widths=[4,4,8]",
    "model.decoder_width=4",
    "track.size=[32,64]",
    "data.crop.size=[32,64]",
    *SMALL_DATA,
]
TIMEOUT = 300
"""Seconds after which a process of its own is killed and its test fails."""

# A server that has imported the libraries: the processes of the tests are forked from it, which takes no time.
_processes = get_context("forkserver")
_processes.set_forkserver_preload(["vos_zoo.tasks.fit", "vos_zoo.data.datamodule", "vos_zoo.training.trainer"])


def small(method: str) -> list[str]:
    """Overrides that make a method small: those of the contract suite."""
    settings = BY_METHOD[method]
    words = [f"model.{name}={json.dumps(value)}" for name, value in settings.model.items()]
    words += [f"track.{name}={json.dumps(value)}" for name, value in settings.track.items()]
    return [*words, f"data.crop.size={list(settings.canvas)}", *SMALL_DATA]


def fit_words(output: Path, *overrides: str) -> list[str]:
    """The command that trains LWL, tiny, on generated videos."""
    return ["fit", "--model", "lwl", "--recipe", "quickstart", *TINY, f"output={output}", *overrides]


def fit(output: Path, *overrides: str) -> int:
    """Train LWL, tiny, on generated videos; the command's exit code."""
    return main(fit_words(output, *overrides))


def chain(folder: Path, *stages: Any, **common: Any) -> list[str]:
    """The command that trains these stages of LWL, tiny, on generated videos."""
    file = folder / "chain.yaml"
    file.write_text(yaml.safe_dump({"stages": list(stages), **common}))
    short = ["logger.name=none", "trainer.limit_val_batches=0", "trainer.max_epochs=2", "checkpoint_every=1"]
    return ["fit", "--model", "lwl", "--config", str(file), *TINY, *short, f"output={folder}"]


def weights(run: Path) -> dict[str, Any]:
    """The last checkpoint of a run."""
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def run_apart(words: list[str], folder: Path, before: Callable[[], object] | None = None) -> tuple[int, str]:
    """Run a command in a process of its own.

    Args:
        words: the command.
        folder: where the process's stderr is kept.
        before: what that process calls first, a function of a module; it may break something.

    Returns:
        Its exit code, negative for the signal that ended it, and its stderr.
    """
    errors = folder / "stderr.txt"
    process = _processes.Process(target=_run_here, args=(words, errors, before, torch.get_num_threads()))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"no end after {TIMEOUT} s: {errors.read_text()[-2000:]}")
    assert process.exitcode is not None
    return process.exitcode, errors.read_text()


def call_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns in a process of its own, which has another seed for the hashes of texts."""
    with _processes.Pool(1) as pool:
        return pool.apply(function, arguments)


def torchrun(processes: int, module: str, folder: Path) -> str:
    """What `processes` processes of a module print under torchrun on the CPU; the module is given a folder."""
    words = ["--standalone", "--nproc-per-node", str(processes), "-m", module, str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _run_here(words: list[str], errors: Path, before: Callable[[], object] | None, threads: int) -> None:
    torch.set_num_threads(threads)
    with errors.open("w") as file, open(os.devnull, "w") as nowhere:
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stderr(file), contextlib.redirect_stdout(nowhere):
            if before is not None:
                before()
            code = main(words)
    sys.exit(code)


def die_in_step(number: int) -> None:
    """From now on, this process kills itself in its `number`-th step of optimisation."""
    real, taken = VOSModel.on_before_optimizer_step, 0

    def step(self: VOSModel, optimizer: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, optimizer)

    VOSModel.on_before_optimizer_step = step  # type: ignore[method-assign]
