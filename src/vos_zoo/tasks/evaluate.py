"""`vos-zoo validate` and `vos-zoo test`: a model, a data set, scores."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vos_zoo.config.layers import RunConfig, check_keywords
from vos_zoo.console import say
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation import (
    EvaluationReport,
    check_submission,
    copy_first_mask,
    evaluate,
    format_table,
    protocol_of,
    write_archive,
    write_gallery,
)
from vos_zoo.metrics.streaming import NO_TRUTH
from vos_zoo.model import VOSModel
from vos_zoo.nn.cpu.allocator import keep_large_blocks
from vos_zoo.processes import agree, device_number
from vos_zoo.tasks.distributed import evaluate_together
from vos_zoo.tasks.final_scores import score_run
from vos_zoo.tasks.records import record_run
from vos_zoo.types import UsageError, VideoDataset


def run_validate(*, config: RunConfig, weights: str, output: str | None = None) -> int:
    """Evaluate on the validation split: J, F, J&F, and the protocol's numbers. Exit code 1 if a video failed."""
    model, options = load_model(config, weights)
    videos = _videos(config, "val")
    protocol = protocol_of(config.data.name, config.data.year)
    silent: dict[str, Any] = {"write_masks": False, "overlays": 0, "resume": False}
    report = evaluate_together(model, videos, output=output, track_options=options, protocol=protocol, **silent)
    if report is None:  # another process reports
        return 0
    say(format_table(report))
    return report.exit_code


def run_test(*, config: RunConfig, weights: str, output: str | None = None) -> int:
    """Evaluate on the test split by the data set's protocol; resumes; exit code 1 on failures.

    Writes palette PNGs, scores per object and sequence, speed and peak memory, and a report with the worst objects;
    if ground truth is not public, also the server's archive. If it is, the copy baseline is scored, too.
    """
    model, options = load_model(config, weights)
    videos = _videos(config, "test")
    protocol = protocol_of(config.data.name, config.data.year)
    stamp = agree(datetime.now().strftime("%Y%m%d-%H%M%S"))
    folder = Path(output) if output else Path(config.output) / f"test-{config.method}-{config.data.name}-{stamp}"
    report = evaluate_together(
        model, videos, output=folder, track_options=options, identity=str(weights), protocol=protocol
    )
    if report is None:  # another process reports
        return 0
    say(format_table(report))
    final = score_run(config, report, videos, folder)
    record_run(
        config=config,
        model=model,
        videos=videos,
        report=report,
        weights=weights,
        folder=folder,
        options=options,
        final=final,
    )
    if report.jf is not None and final is None:
        baseline = evaluate(
            copy_first_mask, videos, write_masks=False, overlays=0, resume=False, progress=False, protocol=protocol
        )
        if baseline.jf is not None:
            say(
                f"J&F {100 * report.jf:.1f}; copying the first mask gives {100 * baseline.jf:.1f}: "
                f"{100 * (report.jf - baseline.jf):+.1f} points"
            )
        title = f"{config.method} on {videos.name}"
        write_gallery(report, videos, folder / "masks", folder / "report.html", title=title)
        say(f"report with the worst objects: {folder / 'report.html'}")
    sent = _archive(report, videos, folder)
    say(f"results: {folder}")
    return report.exit_code or sent


def _archive(report: EvaluationReport, videos: VideoDataset, folder: Path) -> int:
    """Write and validate the archive if a server holds the ground truth; exit code 1 if it must not be submitted."""
    form = report.protocol.form
    if not form.server or not any(sequence.note == NO_TRUTH for sequence in report.sequences):
        return 0
    if report.failures:
        say("no archive for the server: it would be incomplete; run the same command again")
        return 0
    path = write_archive(folder / "masks", videos, form, folder / "submission.zip")
    checked = check_submission(path, videos, form)
    say(f"{checked}\narchive for {form.server}: {path}")
    return 0 if checked.sound else 1


def run_check_submission(*, config: RunConfig, source: str) -> int:
    """Validate an archive (or the folder of its masks) for a test split; exit code 1 if it has fatal faults."""
    form = protocol_of(config.data.name, config.data.year).form
    checked = check_submission(source, _videos(config, "test"), form, server=bool(form.server))
    say(str(checked))
    return 0 if checked.sound else 1


def load_model(config: RunConfig, weights: str) -> tuple[VOSModel, dict[str, Any]]:
    """The model on the device of the trainer's settings, and the inference settings of this run."""
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
    """The device of `trainer.accelerator` and `trainer.devices`; "auto" is a GPU if there is one."""
    if uses_gpu(config):
        number = device_number(config.trainer)
        if number >= torch.cuda.device_count():
            raise UsageError(f"this process needs GPU {number}, but there are {torch.cuda.device_count()}")
        return torch.device("cuda", number)
    keep_large_blocks()
    return torch.device("cpu")


def uses_gpu(config: RunConfig) -> bool:
    """Whether `trainer.accelerator` is a GPU, or "auto" where there is one; "cpu" does not look for one.

    Raises:
        UsageError: it is a GPU, and there is none.
    """
    wanted = config.trainer.get("accelerator", "auto")
    found = wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if wanted in ("gpu", "cuda") and not found:
        raise UsageError(f"trainer.accelerator is {wanted!r}, but no GPU is usable here; use auto or cpu")
    return found


def _videos(config: RunConfig, split: str) -> VideoDataset:
    videos: VideoDataset = VOSDataModule.from_config(config.data).videos(split)
    return videos
