"""`vos-zoo fit`: from a configuration to a trained model, its checkpoints, scores and pictures."""

from __future__ import annotations

import json
import logging
import platform
import tempfile
import time
import warnings
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from vos_zoo import __version__
from vos_zoo.config import RunConfig, check_signatures, save_config, to_plain
from vos_zoo.core.averaging import MovingAverage
from vos_zoo.core.module import VOSModel
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation.report import write_text
from vos_zoo.evaluation.wandb_runs import goes_online
from vos_zoo.tasks.console import say
from vos_zoo.tasks.pictures import ValidationPictures
from vos_zoo.tasks.revision import git_revision
from vos_zoo.types import UsageError

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "numpy",
)


def run_fit(*, config: RunConfig, ckpt: str | None = None, command: str = "") -> int:
    """Train, and leave in the run folder: config.yaml, run.json, checkpoints/, logs/, pictures/ and model/.

    Args:
        config: the whole configuration.
        ckpt: checkpoint to resume from; "last" takes the newest one of this run (or of the newest run of the method).
        command: the command line, for the record.
    """
    _quieten()
    check_signatures(config)
    folder, resumed = _folders(config, ckpt)
    data = VOSDataModule(**to_plain(config.data))
    data.clips()
    if config.trainer.get("limit_val_batches", 1.0) != 0:
        data.videos("val")
    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = build_model(config)
    model.pictures = config.logger.images
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    _record(folder, command, resumed)
    trainer = _trainer(config, folder)
    say(f"{config.method}: {_size(model)}; training in {folder}" + (f", resuming {resumed}" if resumed else ""))
    started = time.monotonic()
    trainer.fit(model, data, ckpt_path=resumed)
    if trainer.is_global_zero:
        save_model(model, folder / "model")
        say(f"trained {trainer.global_step} steps in {time.monotonic() - started:.0f} s")
        _say_scores(trainer)
        say(f"model: {folder / 'model'}; checkpoints: {folder / 'checkpoints'}")
    return 0


def save_model(model: VOSModel, folder: Path) -> None:
    """Save a model so that its folder is there either whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".model.") as part:
        model.save_pretrained(Path(part) / "new")
        if folder.is_dir():
            folder.rename(Path(part) / "old")
        (Path(part) / "new").rename(folder)


def build_model(config: RunConfig) -> VOSModel:
    """A fresh model, or one that starts from the weights of an earlier stage (`init_from`)."""
    assert config.method is not None
    optim = {key: value for key, value in to_plain(config.optim).items() if key not in ("clip_norm", "ema")}
    model = VOSModel(config.method, dict(config.model), dict(config.track), optim)
    if config.init_from:
        start_from(model, config.init_from, list(optim["groups"]))
    return model


def start_from(model: VOSModel, source: str, groups: list[str]) -> None:
    """Copy the weights of an earlier stage; parts that it does not have must be among those trained now.

    Raises:
        UsageError: entries that do not fit, by name.
    """
    earlier = model.network.adopt(VOSModel.from_pretrained(source).network.state_dict())
    ours = model.network.state_dict()
    for name, tensor in earlier.items():
        if name not in ours or ours[name].shape != tensor.shape:
            found = "is not part of this model" if name not in ours else f"has shape {tuple(tensor.shape)}"
            raise UsageError(
                f"init_from {source!r}: entry {name!r} {found}; use the same model: settings in both stages"
            )
    missing = [name for name in ours if name not in earlier]
    untrained = [name for name in missing if not any(name == g or name.startswith(f"{g}.") or not g for g in groups)]
    if untrained:
        raise UsageError(f"init_from {source!r} lacks {untrained[0]!r}, and optim.groups does not train it")
    model.network.load_state_dict({**ours, **earlier})


def _trainer(config: RunConfig, folder: Path) -> pl.Trainer:
    options = dict(config.trainer)
    validates = options.get("limit_val_batches", 1.0) != 0
    checkpoints = folder / "checkpoints"
    callbacks: list[Callback] = [
        ModelCheckpoint(checkpoints, "last", every_n_train_steps=config.checkpoint_every, enable_version_counter=False),
        ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if validates:
        callbacks.append(
            ModelCheckpoint(checkpoints, "best", monitor="val/J&F", mode="max", enable_version_counter=False)
        )
        if config.logger.images:
            callbacks.append(ValidationPictures(folder / "pictures", config.logger.images))
    if config.optim.ema is not None:
        callbacks.append(MovingAverage(config.optim.ema))
    logger = make_logger(config, folder)
    if logger:
        callbacks.append(LearningRateMonitor("step"))
    if config.optim.clip_norm is not None:
        options.setdefault("gradient_clip_val", config.optim.clip_norm)
    return pl.Trainer(default_root_dir=folder, logger=logger, callbacks=callbacks, **options)


def make_logger(config: RunConfig, folder: Path) -> Logger | bool:
    """The logger the configuration names; wandb runs offline unless it has a key."""
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


def _folders(config: RunConfig, ckpt: str | None) -> tuple[Path, str | None]:
    """Run folder, and the checkpoint to resume."""
    runs = Path(config.output)
    if ckpt is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = runs / (config.run_name or f"{config.method}-{stamp}")
        if (folder / "checkpoints" / "last.ckpt").is_file():
            raise UsageError(
                f"run folder {str(folder)!r} holds a trained run; resume it with --ckpt last, or rename it"
            )
        return folder, None
    if ckpt != "last":
        path = Path(ckpt)
        known = path.parent.name == "checkpoints"
        return (path.parent.parent if known else runs / (config.run_name or path.stem)), str(path)
    candidates = [runs / config.run_name] if config.run_name else sorted(runs.glob(f"{config.method}-*"))
    found = [folder / "checkpoints" / "last.ckpt" for folder in candidates]
    found = [path for path in found if path.is_file()]
    if not found:
        raise UsageError(f"--ckpt last: no checkpoint of {config.run_name or config.method} under {str(runs)!r}")
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return newest.parent.parent, str(newest)


def _record(folder: Path, command: str, resumed: str | None) -> None:
    """Command line, git revision and package versions of every start, appended to run.json."""
    path = folder / "run.json"
    starts = json.loads(path.read_text()) if path.is_file() else []
    starts.append(
        {
            "time": datetime.now().isoformat(timespec="seconds"),
            "command": command,
            "resumed": resumed,
            "vos_zoo": __version__,
            "git": git_revision(),
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "packages": {name: version(name) for name in PACKAGES},
        }
    )
    write_text(path, json.dumps(starts, indent=2) + "\n")


def _quieten() -> None:
    """Lightning's banners and hints are not for our users."""
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


def _size(model: VOSModel) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"


def _say_scores(trainer: pl.Trainer) -> None:
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if "train/loss_epoch" in metrics:
        say(f"training loss (mean of the last epoch): {metrics['train/loss_epoch']:.4f}")
    if "val/J&F" in metrics:
        shown = "  ".join(f"{name} {100 * metrics[f'val/{name}']:.1f}" for name in ("J&F", "J", "F"))
        say(f"validation: {shown}")
