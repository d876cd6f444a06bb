"""The Lightning trainer of a run: checkpoints, logger, images, weight averaging, monitoring."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.strategies import DDPStrategy

from vos_zoo.config.layers import RunConfig, to_plain
from vos_zoo.evaluation.wandb_runs import goes_online
from vos_zoo.processes import PATIENCE, fill_in_processes
from vos_zoo.training.averaging import MovingAverage
from vos_zoo.training.checkpoint_files import SafeCheckpointIO
from vos_zoo.training.images import ValidationImages
from vos_zoo.training.monitoring import RunMonitor, StepClock


def make_trainer(config: RunConfig, folder: Path) -> tuple[pl.Trainer, RunMonitor]:
    """The trainer, and the callback that summarises the run."""
    options: dict[str, Any] = fill_in_processes(dict(config.trainer))
    logger = make_logger(config, folder)
    clock = None if options.get("profiler") else StepClock()
    monitor = RunMonitor(clock)
    callbacks: list[Callback] = [monitor, *_checkpoints(config, folder / "checkpoints")]
    if config.trainer.get("limit_val_batches", 1.0) != 0 and config.logger.images:
        callbacks.append(ValidationImages(folder / "pictures", config.logger.images))
    if config.optim.ema is not None:
        callbacks.append(MovingAverage(config.optim.ema))
    if logger:
        callbacks.append(LearningRateMonitor("step"))
    if config.optim.clip_norm is not None:
        options.setdefault("gradient_clip_val", config.optim.clip_norm)
    options.setdefault("profiler", clock)
    options["plugins"] = [*(options.get("plugins") or []), SafeCheckpointIO()]
    trainer = pl.Trainer(default_root_dir=folder, logger=logger, callbacks=callbacks, **options)
    if isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._timeout = PATIENCE  # its default of 30 minutes is short for the videos of another process
    return trainer, monitor


class RunCheckpoint(ModelCheckpoint):
    """Keeps checkpoints in the folder of a run, and finds its best one also after the folder was moved or renamed."""

    @property
    def state_key(self) -> str:
        """Key of its state in a checkpoint; that of its base class."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state, with paths adapted to the current folder."""
        before, now = str(state_dict.get("dirpath", self.dirpath)), str(self.dirpath)
        super().load_state_dict({name: _moved(value, before, now) for name, value in state_dict.items()})


def _moved(value: Any, before: str, now: str) -> Any:
    """A value with its paths below `before` as paths below `now`."""
    if isinstance(value, dict):
        return {_moved(key, before, now): entry for key, entry in value.items()}
    return now + value.removeprefix(before) if isinstance(value, str) and value.startswith(before) else value


def _checkpoints(config: RunConfig, folder: Path) -> list[Callback]:
    """Callbacks that save the last checkpoint every few steps and epochs, and the best one after validations."""
    kept: dict[str, Any] = {"enable_version_counter": False}
    callbacks: list[Callback] = [
        RunCheckpoint(folder, "last", every_n_train_steps=config.checkpoint_every, **kept),
        RunCheckpoint(folder, "last", save_on_train_epoch_end=True, **kept),
    ]
    if config.trainer.get("limit_val_batches", 1.0) != 0:
        callbacks.append(RunCheckpoint(folder, "best", monitor="val/J&F", mode="max", **kept))
    return callbacks


def make_logger(config: RunConfig, folder: Path) -> Logger | bool:
    """The logger of the configuration; wandb runs offline unless it has a key."""
    if config.logger.name == "csv":
        return CSVLogger(folder, name="logs")
    if config.logger.name == "none":
        return False
    run: Logger = WandbLogger(
        project=config.logger.project,
        name=config.run_name or folder.name,
        save_dir=folder,
        offline=not goes_online(),
        config=to_plain(config),
    )
    return run


def quieten() -> None:
    """Suppress Lightning's banners and hints."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",
        "smaller than the logging interval",
        "exists and is not empty",
        "LeafSpec",
        "in eval mode",
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
