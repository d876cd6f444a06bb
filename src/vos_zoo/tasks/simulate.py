"""`vos-zoo simulate`: what corrections are worth, by who chooses the frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.evaluation.simulation import LEVELS, CorrectedVideo, annotation_curve, area, mean_curve
from vos_zoo.files.atomic import write_text
from vos_zoo.session.session import Session
from vos_zoo.tasks.evaluate import load_model
from vos_zoo.types import Frame, UsageError
from vos_zoo.video.curve_chart import curve_chart
from vos_zoo.video.panels import write_picture


def run_simulate(
    *,
    config: RunConfig,
    weights: str,
    policies: Sequence[str],
    step: int = 1,
    draws: int = 4,
    output: str | None = None,
) -> int:
    """Print J&F after each number of corrected frames per video, and the area under it, for each policy.

    Args:
        config: data set (its test split) and inference settings.
        weights: what `VOSModel.from_pretrained` takes.
        policies: of `vos_zoo.evaluation.simulation.choose`.
        step: use every n-th frame of the videos only.
        draws: "random" is the mean of so many.
        output: folder for curves.json and the chart curves.png; None: printed only.
    """
    if step < 1 or draws < 1:
        raise UsageError(f"--step is {step} and --draws {draws}; both must be at least 1")
    model, options = load_model(config, weights)

    def start(frame: Callable[[int], Frame], length: int) -> Session:
        return model.session(frame, length=length, **options)

    found: dict[str, list[dict[int, float]]] = {policy: [] for policy in policies}
    for sequence in tqdm(VOSDataModule.from_config(config.data).videos("test"), unit="video"):
        try:
            video = CorrectedVideo(sequence, start, step)
        except UsageError as error:
            say(f"left out: {error}")
            continue
        for policy, curves_of_videos in found.items():
            curves_of_videos.append(annotation_curve(video, policy, draws=draws))
    count = max((len(own) for own in found.values()), default=0)
    if not count:
        raise UsageError(f"data set {config.data.name!r} has no video that can be corrected; give another")
    curves = {policy: mean_curve(own) for policy, own in found.items()}
    say(f"{'policy':10}" + "".join(f"{level:>8}" for level in LEVELS) + f"{'area':>8}")
    for policy, curve in curves.items():
        cells = [*curve.values(), area(curve)]
        say(f"{policy:10}" + "".join(f"{100 * value:8.1f}" for value in cells))
    if output is not None:
        folder = Path(output)
        numbers = {
            policy: {"J&F": {str(n): round(v, 4) for n, v in curve.items()}, "area": round(area(curve), 4)}
            for policy, curve in curves.items()
        }
        record = {"weights": weights, "data": config.data.name, "step": step, "videos": count, "curves": numbers}
        write_text(folder / "curves.json", json.dumps(record, indent=2) + "\n")
        write_picture(folder / "curves.png", curve_chart(curves, "corrected frames per video", "J&F"))
        say(f"results: {folder}")
    return 0
