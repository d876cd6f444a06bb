"""`vos-zoo fit`: from a configuration to a trained model, its checkpoints, scores and images."""

from __future__ import annotations

import json
from pathlib import Path

import pytorch_lightning as pl
import torch

from vos_zoo.config.layers import RunConfig, check_signatures, save_config, to_plain
from vos_zoo.console import say
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.loader import loader_failure
from vos_zoo.files.atomic import write_text
from vos_zoo.model import VOSModel
from vos_zoo.nn.precision import allow_tf32
from vos_zoo.processes import check_run_name, is_first
from vos_zoo.tasks.evaluate import uses_gpu
from vos_zoo.training.checkpoint_files import newest_checkpoint
from vos_zoo.training.finished import SUMMARY_FILE, is_saved, reached_limit
from vos_zoo.training.monitoring import format_summary
from vos_zoo.training.run_folder import find_run, record_start, save_model
from vos_zoo.training.trainer import make_trainer, quieten
from vos_zoo.types import UsageError, VOSError


def run_fit(*, config: RunConfig, ckpt: str | None = None, command: str = "") -> int:
    """Train, and write to the run folder: config.yaml, run.json, checkpoints/, logs/, pictures/, model/, summary.json.

    A run that has reached its end is not changed.

    With several processes each trains on its own clips, and the first one writes files and messages.

    Args:
        config: the whole configuration.
        ckpt: checkpoint to resume from; "last" takes the newest undamaged one of this run (or of the method's newest
            run).
        command: the command line, for the record.
    """
    quieten()
    check_signatures(config)
    check_run_name(config.run_name, config.trainer)
    folder, resumed = find_run(config, ckpt)
    limit = reached_limit(resumed, config.trainer) if resumed else None
    if resumed and limit and is_saved(folder, resumed):
        say(f"nothing to do: {folder} has reached {limit}, raise it to continue training; model: {folder / 'model'}")
        return 0
    data = VOSDataModule.from_config(config.data)
    data.clips()
    if config.trainer.get("limit_val_batches", 1.0) != 0:
        data.videos("val")
    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = build_model(config)
    model.pictures = config.logger.images
    if config.compile:
        model.compile_parts()
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        save_config(config, folder / "config.yaml")
        device = torch.cuda.get_device_name() if uses_gpu(config) else "cpu"
        record_start(folder, command, resumed, device, _precision(config))
    allow_tf32(config.precision == "tf32")
    trainer, monitor = make_trainer(config, folder)
    say(f"{config.method}: {_size(model)}; training in {folder}" + (f", resuming {resumed}" if resumed else ""))
    say(_batch(config, trainer))
    _train(trainer, model, data, resumed, folder)
    if trainer.is_global_zero:
        if resumed and trainer.global_step == monitor.first_step:  # its end was reached before: the average is loaded
            model.load_state_dict(VOSModel.from_pretrained(resumed).state_dict())
        save_model(model, folder / "model")
        found = monitor.summary(trainer)
        write_text(folder / SUMMARY_FILE, json.dumps(found, indent=2) + "\n")
        say(format_summary(found))
        say(f"model: {folder / 'model'}; checkpoints: {folder / 'checkpoints'}")
    trainer.strategy.barrier()
    return 0


def _train(trainer: pl.Trainer, model: VOSModel, data: VOSDataModule, resumed: str | None, folder: Path) -> None:
    """Fit; errors say whether and how the run can be continued."""
    try:
        trainer.fit(model, data, ckpt_path=resumed, weights_only=True)
    except UsageError:
        raise
    except (VOSError, RuntimeError) as error:
        failure = error if isinstance(error, VOSError) else loader_failure(error)
        if failure is None:
            raise
        kept = newest_checkpoint(folder / "checkpoints")
        rest = (
            f"continue with --ckpt last ({str(kept)!r} is undamaged)"
            if kept
            else "no checkpoint has been written so far"
        )
        raise VOSError(f"{failure}; {rest}") from error


def build_model(config: RunConfig) -> VOSModel:
    """A new model, or one with the weights of an earlier stage (`init_from`)."""
    assert config.method is not None
    optim = {key: value for key, value in to_plain(config.optim).items() if key not in ("clip_norm", "ema")}
    model = VOSModel(config.method, dict(config.model), dict(config.track), optim)
    if config.init_from:
        start_from(model, config.init_from, list(optim["groups"]))
    return model


def start_from(model: VOSModel, source: str, groups: list[str]) -> None:
    """Copy the weights of an earlier stage; parts that they lack must be trained now.

    The origin and licence of the earlier weights are kept.

    Raises:
        UsageError: entries that do not fit, by name.
    """
    start = VOSModel.from_pretrained(source)
    earlier = model.network.adopt(start.network.state_dict())
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
    model.origin = {**start.origin, "trained": "further"} if start.origin else {}


def _precision(config: RunConfig) -> str:
    """The number format of the training, for its record."""
    return config.precision or str(config.trainer.get("precision") or "float32")


def _size(model: VOSModel) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"


def _batch(config: RunConfig, trainer: pl.Trainer) -> str:
    """The number of clips per step, as in the recipes."""
    parts = (trainer.world_size, config.data.batch_size, trainer.accumulate_grad_batches)
    total = parts[0] * parts[1] * parts[2]
    return f"{total} clips per step: {parts[0]} processes x {parts[1]} clips x {parts[2]} batches"
