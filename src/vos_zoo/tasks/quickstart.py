"""`vos-zoo quickstart`: the shipped weights on the sample clip, a short training, scores, and a board; restartable.

Every part writes a folder of its own under OUTPUT, and a part whose result is there is not repeated:

    track/NAME    masks and overlay.mp4 of the sample clip
    sample.png    three moments of the clip, a line per model
    further       a shipped model trained further on generated videos
    test/NAME     scores on generated videos
    board         the leaderboard
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vos_zoo import samples
from vos_zoo.config.layers import RunConfig, load_config
from vos_zoo.console import say
from vos_zoo.evaluation.record import RECORD_FILE, read_record
from vos_zoo.hub.weights import CONFIG_FILE, LocalWeights, saved_settings, shipped_weights
from vos_zoo.registry import suggestion
from vos_zoo.tasks.evaluate import run_test
from vos_zoo.tasks.fit import run_fit
from vos_zoo.tasks.leaderboard import run_leaderboard
from vos_zoo.tasks.track import run_track
from vos_zoo.training.checkpoint_files import newest_checkpoint
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import read_mask
from vos_zoo.video.panels import overlay_panel, spread, write_picture

RECIPE, FURTHER = "finetune", "further"
"""The recipe of the training, and the name of its run."""
SHORT = (
    *("data.batch_size=4", "data.batches_per_epoch=10", "data.crop.size=[96,160]"),
    *("data.sampling.query_frames=2", "data.sampling.max_gap=1"),
    *("data.synthetic.train_videos=1", "data.synthetic.frames=4", "data.synthetic.max_objects=1"),
    *("data.jitter.reference_scale=0", "data.jitter.reference_centre=[0,0]"),
    *("data.jitter.query_scale=0", "data.jitter.query_centre=[0,0]"),
    *("data.augment.flip=0", "data.augment.rotation=0", "data.augment.log_scale=0", "data.augment.brightness=0"),
    *('optim.groups={"": 5.0e-4, backbone: 5.0e-5}', "optim.ema=null"),
    *("trainer.max_epochs=4", "trainer.limit_val_batches=0"),
)
"""What makes it short: a few frames of one object, which the network soon knows by heart."""
GENERATED = ("data.synthetic.test_videos=2", "data.synthetic.frames=6", "data.synthetic.size=[192,336]")
"""The generated videos that are scored."""
OVERLAY = "overlay.mp4"


def run_quickstart(*, output: str, train: str | None = None, command: str = "") -> int:
    """Track, draw, train, test and compare; see the module.

    Args:
        output: the folder that is written.
        train: the shipped weights to train further; None: those with the best score.
        command: the command line, for the record of the training.

    Raises:
        UsageError: no shipped weights are called `train`.
        VOSError: no weights are shipped with this installation.
    """
    folder, shipped = Path(output), shipped_weights()
    if not shipped:
        raise VOSError("no weights are shipped with this installation; install vos-zoo again")
    names, start = [local.known.name for local in shipped], _chosen(shipped, train)
    for local in shipped:
        _track(local, folder / "track" / local.known.name)
    picture = draw_sample(names, folder / "track", folder / "sample.png")
    losses = _train(start, folder, command)
    for local in shipped:
        _test(local, folder / "test" / local.known.name)
    run_leaderboard(
        source="runs", folders=[str(folder / "test")], across=["size"], project="vos-zoo", output=str(folder / "board")
    )
    say("\n".join(_closing(folder, names, picture, losses)))
    return 0


def _track(local: LocalWeights, folder: Path) -> None:
    """Track the sample clip."""
    if (folder / OVERLAY).is_file():
        return
    say(f"{local.known.name}: tracking the sample clip")
    clip, config = samples.clip(), load_config(local.method, trained=True)
    run_track(
        config=config,
        source=str(clip.video),
        weights=local.known.name,
        mask=str(clip.mask),
        boxes={},
        output=str(folder),
        overlay=True,
    )


def draw_sample(names: Sequence[str], tracked: Path, path: Path) -> Path:
    """Draw three moments of the sample clip, a line per model, as a PNG.

    Args:
        names: the models.
        tracked: folder of their folders of masks.
        path: the picture.

    Returns:
        `path`.
    """
    frames = samples.clip().frames()
    moments = spread(len(frames), 4)[1:]
    masks = {name: sorted((tracked / name).glob("*.png")) for name in names}
    write_picture(
        path,
        overlay_panel(
            [frames[t] for _ in names for t in moments],
            [read_mask(masks[name][t]) for name in names for t in moments],
            columns=len(moments),
            width=320,
            captions=[f"{name}, frame {t}" for name in names for t in moments],
        ),
    )
    return path


def _chosen(shipped: Sequence[LocalWeights], name: str | None) -> LocalWeights:
    """The weights called `name`; None: those with our best score on real videos."""
    if name is None:
        return max(shipped, key=lambda local: local.quality)
    found = next((local for local in shipped if local.known.name == name), None)
    if found is None:
        names = [local.known.name for local in shipped]
        raise UsageError(
            f"--train: no shipped weights {name!r}{suggestion(name, names)}; there are: {', '.join(names)}"
        )
    return found


def _train(start: LocalWeights, folder: Path, command: str) -> list[float]:
    """Train, or continue a training that was interrupted; returns the mean loss of every epoch."""
    name, run = start.known.name, folder / FURTHER
    config = load_config(
        start.method,
        data="synthetic",
        recipe=RECIPE,
        overrides=[*SHORT, f"init_from={name}", f"output={folder}", f"run_name={FURTHER}"],
        start=saved_settings(name),
    )
    if not (run / "model" / CONFIG_FILE).is_file():
        started = newest_checkpoint(run / "checkpoints") is not None
        run_fit(config=config, ckpt="last" if started else None, command=command)
    return list(epoch_losses(run / "logs"))


def epoch_losses(logs: Path) -> Iterator[float]:
    """Mean training loss of every epoch, in order, from the logs of all starts of a run."""
    for path in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with path.open(newline="", encoding="utf-8") as file:
            yield from (float(row["train/loss_epoch"]) for row in csv.DictReader(file) if row.get("train/loss_epoch"))


def _test(local: LocalWeights, folder: Path) -> None:
    """Score weights on the generated videos."""
    if (folder / RECORD_FILE).is_file():
        return
    config: RunConfig = load_config(local.method, data="synthetic", overrides=list(GENERATED), trained=True)
    run_test(config=config, weights=local.known.name, output=str(folder))


def _closing(folder: Path, names: Sequence[str], picture: Path, losses: Sequence[float]) -> Iterator[str]:
    """What was found, and where it is."""
    yield "\nJ&F on generated videos (real scores are in the cards, vos-zoo weights NAME):"
    for name in names:
        scores: Any = read_record(folder / "test" / name / RECORD_FILE).result.scores
        yield f"  {name:<14}{100 * scores['J&F']:6.1f}"
    yield f"loss by epoch of a training on one short video: {', '.join(f'{loss:.3f}' for loss in losses)}"
    yield f"overlays  {folder / 'track'}/NAME/{OVERLAY}"
    yield f"picture   {picture}"
    yield f"trained   {folder / FURTHER / 'model'}"
    yield f"board     {folder / 'board' / 'leaderboard.html'}"
