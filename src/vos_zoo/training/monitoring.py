"""Monitoring of a training run, and the summary table at its end."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict, deque
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.profilers import Profiler

from vos_zoo.training.later import Later
from vos_zoo.types import Batch

_WAIT, _WORK = "train_dataloader_next", "run_training_batch"
_WINDOW = 50
_KEY = "insight"
"""Key of the monitor's state in a checkpoint."""


class StepClock(Profiler):
    """Measures seconds spent waiting for batches and processing them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._began: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """Start timing an action."""
        if action_name.endswith((_WAIT, _WORK)):
            self._began[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Stop timing an action."""
        began = self._began.pop(action_name, None)
        if began is not None:
            kind = _WAIT if action_name.endswith(_WAIT) else _WORK
            self.seconds[kind] += time.perf_counter() - began

    def take(self) -> tuple[float, float]:
        """Seconds of waiting and of processing since the last call."""
        taken = self.seconds[_WAIT], self.seconds[_WORK]
        self.seconds.clear()
        return taken


class RunMonitor(Callback):
    """Logs throughput, data-wait share and peak memory after every step, and collects the numbers of the final table.

    Its state is part of every checkpoint, so that the table covers the whole run, also if it was resumed.

    Args:
        clock: the trainer's profiler; None: times are not measured (another profiler is used).

    Attributes:
        first_step: optimiser steps before this start.
    """

    def __init__(self, clock: StepClock | None) -> None:
        self.clock = clock
        self.first_step = 0
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=_WINDOW)
        self._totals = [0.0, 0.0, 0.0]
        self._norms: list[float] = []
        self._coming: list[Later] = []
        self._device = torch.device("cpu")
        self._scores: dict[int, float] = {}
        self._losses: dict[str, float] = {}
        self._started, self._seconds, self._memory = time.monotonic(), 0.0, 0

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the state."""
        checkpoint[_KEY] = {
            "totals": list(self._totals),
            "norms": torch.tensor(self._arrived(), dtype=torch.float64),
            "scores": dict(self._scores),
            "losses": self._last_losses(trainer),
            "seconds": self._seconds + time.monotonic() - self._started,
            "memory": max(self._memory, peak_memory(self._device)),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the state; checkpoints of earlier versions have none."""
        self.first_step = int(checkpoint.get("global_step", 0))
        known = checkpoint.get(_KEY)
        if known is not None:
            self._totals, self._norms = list(known["totals"]), known["norms"].tolist()
            self._scores, self._losses = dict(known["scores"]), dict(known["losses"])
            self._seconds, self._memory = known["seconds"], known["memory"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting after building and loading."""
        self._started = time.monotonic()
        if self.clock is not None:
            self.clock.take()
        self._device = pl_module.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the means over the last steps."""
        norm = trainer.callback_metrics.get("train/grad_norm")
        if norm is not None:
            self._coming.append(Later(norm))
            self._arrived(leave=1)
        memory = peak_memory(self._device) / 2**30
        pl_module.log("train/peak_memory_gb", memory, on_step=True, batch_size=1)
        if self.clock is None:
            return
        step = (len(batch.frames) * trainer.world_size, *self.clock.take())
        self._recent.append(step)
        self._totals = [total + value for total, value in zip(self._totals, step, strict=True)]
        clips, wait, work = (sum(values) for values in zip(*self._recent, strict=True))
        pl_module.log("train/clips_per_second", clips / max(wait + work, 1e-9), on_step=True, batch_size=1)
        pl_module.log("train/data_wait", wait / max(wait + work, 1e-9), on_step=True, batch_size=1)

    def _arrived(self, leave: int = 0) -> list[float]:
        """The norms so far, without the newest `leave` of this start: they may not be there yet."""
        while len(self._coming) > leave:
            self._norms.append(float(self._coming.pop(0).read()))
        return self._norms

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record J&F over time."""
        score = trainer.callback_metrics.get("val/J&F")
        if score is not None and not trainer.sanity_checking:
            self._scores[trainer.global_step] = float(score)

    def _last_losses(self, trainer: pl.Trainer) -> dict[str, float]:
        """The losses as last logged, in this start or before it."""
        skipped = ("grad_norm", "clips_per_second", "data_wait", "peak_memory_gb")
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        terms = {name.removeprefix("train/"): value for name, value in metrics.items() if name.startswith("train/")}
        return {**self._losses, **{name: value for name, value in terms.items() if not name.startswith(skipped)}}

    def summary(self, trainer: pl.Trainer) -> dict[str, Any]:
        """The numbers of the run, over all its starts, by name; see `format_summary`."""
        clips, wait, work = self._totals
        norms = self._arrived()
        found: dict[str, Any] = {
            "steps": trainer.global_step,
            "steps since this start": trainer.global_step - self.first_step,
            "epochs": trainer.current_epoch,
            "seconds": self._seconds + time.monotonic() - self._started,
            "clips per second": clips / (wait + work) if wait + work else None,
            "data wait": wait / (wait + work) if wait + work else None,
            "peak memory (GiB)": max(self._memory, peak_memory(self._device)) / 2**30,
            "learning rates": {str(g["name"]): g["lr"] for o in trainer.optimizers for g in o.param_groups},
            "losses": self._last_losses(trainer),
            "gradient norm (median, largest)": [median(norms), max(norms)] if norms else None,
            "J&F by step": dict(self._scores),
        }
        if self._scores:
            step, score = max(self._scores.items(), key=lambda entry: entry[1])
            found["best J&F (step)"] = [score, step]
        return found


def peak_memory(device: torch.device) -> int:
    """Peak bytes: memory allocated by torch on a GPU, or else the resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def format_summary(found: dict[str, Any]) -> str:
    """The final table: one line per row, names on the left."""
    rows = [(name, _cell(value)) for name, value in found.items() if value not in (None, {})]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_cell(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
