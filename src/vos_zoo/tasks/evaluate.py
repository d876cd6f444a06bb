"""`vos-zoo validate` and `vos-zoo test`: a model, a data set, scores."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vos_zoo.config import RunConfig, check_keywords, to_plain
from vos_zoo.core.allocator import keep_large_blocks
from vos_zoo.core.module import VOSModel
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation import copy_first_mask, evaluate, format_table
from vos_zoo.tasks.console import say
from vos_zoo.tasks.records import record_run
from vos_zoo.types import UsageError, VideoDataset


def run_validate(*, config: RunConfig, weights: str, output: str | None = None) -> int:
    """Score the validation split: J, F, J&F; no masks are written. Exit code 1 if a video failed."""
    model, options = load_model(config, weights)
    videos = _videos(config, "val")
    report = evaluate(model, videos, output=output, write_masks=False, overlays=0, resume=False, track_options=options)
    say(format_table(report))
    return report.exit_code


def run_test(*, config: RunConfig, weights: str, output: str | None = None) -> int:
    """Run the test split: palette PNGs, scores per object, speed and peak memory; resumes; exit code 1 on failures.

    On generated videos the copy-the-first-mask baseline is scored, too.
    """
    model, options = load_model(config, weights)
    videos = _videos(config, "test")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(output) if output else Path(config.output) / f"test-{config.method}-{config.data.name}-{stamp}"
    report = evaluate(model, videos, output=folder, track_options=options, identity=str(weights))
    say(format_table(report))
    record_run(
        config=config, model=model, videos=videos, report=report, weights=weights, folder=folder, options=options
    )
    if report.jf is not None:
        baseline = evaluate(copy_first_mask, videos, write_masks=False, overlays=0, resume=False, progress=False)
        if baseline.jf is not None:
            say(
                f"J&F {100 * report.jf:.1f}; copying the first mask gives {100 * baseline.jf:.1f}: "
                f"{100 * (report.jf - baseline.jf):+.1f} points"
            )
    say(f"results: {folder}")
    return report.exit_code


def load_model(config: RunConfig, weights: str) -> tuple[VOSModel, dict[str, Any]]:
    """The model on the device the trainer's settings ask for, and the inference settings of this run."""
    model = VOSModel.from_pretrained(weights)
    if config.method is not None and model.method != config.method:
        raise UsageError(
            f"weights {weights!r} are of method {model.method!r}, not {config.method!r}; leave out --model"
        )
    options = dict(config.track)
    settings = {name: value for name, value in options.items() if name != "preset"}
    check_keywords(settings, model.network.settings_type, "track")
    model.track_settings(**options)
    return model.to(pick_device(config)), options


def pick_device(config: RunConfig) -> torch.device:
    """The device that `trainer.accelerator` means: a GPU for "auto" where there is one."""
    wanted = config.trainer.get("accelerator", "auto")
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("gpu", "cuda"):
        raise UsageError(f"trainer.accelerator is {wanted!r}, but no GPU is usable here; use auto or cpu")
    keep_large_blocks()
    return torch.device("cpu")


def _videos(config: RunConfig, split: str) -> VideoDataset:
    videos: VideoDataset = VOSDataModule(**to_plain(config.data)).videos(split)
    return videos
