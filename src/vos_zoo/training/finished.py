"""Whether a training run has reached the end that its configuration sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.callbacks import Timer

from vos_zoo.hub.weights import CONFIG_FILE
from vos_zoo.training.checkpoint_files import newest_checkpoint

SUMMARY_FILE = "summary.json"


def reached_limit(checkpoint: str | Path, options: Mapping[str, Any]) -> str | None:
    """Which limit of the trainer a checkpoint has reached, as "trainer.max_epochs=70"; None if training can continue.

    Args:
        checkpoint: a checkpoint of a run.
        options: the `trainer` part of the configuration.
    """
    content = _read(checkpoint)
    if content is None:  # loading it reports what is wrong
        return None
    epochs = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    most = {"max_epochs": options.get("max_epochs"), "max_steps": options.get("max_steps")}
    done = {"max_epochs": epochs, "max_steps": content["global_step"]}
    for name, limit in most.items():
        if limit is not None and 0 <= limit <= done[name]:
            return f"trainer.{name}={limit}"
    timed = content.get("callbacks", {}).get(Timer.__qualname__)
    if options.get("max_time") is not None and timed is not None:
        timer = Timer(options["max_time"])
        timer.load_state_dict(timed)
        left = timer.time_remaining()
        return f"trainer.max_time={options['max_time']}" if left is not None and left <= 0 else None
    return None


def trained_steps(checkpoint: str | Path) -> int:
    """Optimiser steps taken before a checkpoint."""
    content = _read(checkpoint)
    return 0 if content is None else int(content["global_step"])


def is_saved(folder: Path, checkpoint: str | Path) -> bool:
    """Whether the model and the summary in a run's folder are those of a checkpoint."""
    try:
        steps = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (folder / "model" / CONFIG_FILE).is_file() and steps == trained_steps(checkpoint)


def has_ended(folder: Path, options: Mapping[str, Any]) -> bool:
    """Whether a run with a model has ended: its newest checkpoint has, and the model was saved from it.

    Also True if the checkpoints were removed.
    """
    newest = newest_checkpoint(folder / "checkpoints")
    return newest is None or (reached_limit(newest, options) is not None and is_saved(folder, newest))


def _read(checkpoint: str | Path) -> dict[str, Any] | None:
    """The content of a checkpoint of Lightning, its tensors left on disk; None if it is not one."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        known = "global_step" in content and "epoch_progress" in content["loops"]["fit_loop"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError):
        return None
    return content if known else None
