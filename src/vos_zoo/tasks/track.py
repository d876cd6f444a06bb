"""`vos-zoo track`: a video and what is to be followed -> masks or an overlay video."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

from tqdm import tqdm

from vos_zoo.config import RunConfig
from vos_zoo.core.hub import create_model
from vos_zoo.core.module import VOSModel
from vos_zoo.tasks.console import say
from vos_zoo.tasks.evaluate import load_model, pick_device
from vos_zoo.types import Box
from vos_zoo.video.prompts import parse_prompts
from vos_zoo.video.reader import open_video
from vos_zoo.video.writer import (
    VIDEO_SUFFIX,
    CombinedWriter,
    MaskFolderWriter,
    OverlayVideoWriter,
    open_writer,
    with_frames,
)


def run_track(
    *,
    config: RunConfig,
    source: str,
    weights: str | None,
    mask: str | None,
    boxes: Mapping[int, Box],
    mask_threshold: int | None = None,
    output: str,
    overlay: bool = False,
    every: int = 1,
    skip: bool = False,
) -> int:
    """Stream a video through a model.

    Args:
        config: method, its hyper-parameters and inference settings.
        source: video file, folder of frames, "camera" or "camera:N".
        weights: saved folder, checkpoint or hub id; None: the method with fresh weights (to try the plumbing).
        mask: first mask, or a folder of masks named as the frames.
        boxes: id -> box in the first frame.
        mask_threshold: the smallest grey level, 1..255, of the one object of masks with soft edges; None reads ids.
        output: "x.mp4" for an overlay video, else a folder of palette PNGs.
        overlay: also write an overlay video (overlay.mp4) into the folder.
        every: write every n-th frame only, from the first.
        skip: the frames that are not written are not looked at, either.
    """
    video = open_video(source)
    prompts = parse_prompts(
        [mask] if mask else [],
        boxes,
        size=video.size,
        names=video.names,
        length=video.length,
        mask_threshold=mask_threshold,
    )
    model, options = _model(config, weights)
    if every > 1:
        options |= {"wanted": range(0, sys.maxsize, every), "unwanted": "skip" if skip else "follow"}
    started, count = time.monotonic(), 0
    pairs = with_frames(partial(model.track, **options), video, prompts)
    pairs = chain([next(pairs)], pairs)  # what is wrong with the request shows here, before anything is written
    with _writer(video, output, overlay) as writer:
        for frame, result in tqdm(pairs, total=video.length, unit="frame", desc=video.name, file=sys.stderr):
            writer.write(result.index, frame, result.label_map())
            count += 1
        elapsed = time.monotonic() - started
    drawn = f"; first masks drawn by {model.boxes_drawn_by}" if model.boxes_drawn_by else ""
    say(f"{count} frames in {elapsed:.1f} s ({count / max(elapsed, 1e-9):.2f} per second): {output}{drawn}")
    return 0


def _model(config: RunConfig, weights: str | None) -> tuple[VOSModel, dict[str, Any]]:
    if weights is not None:
        return load_model(config, weights)
    assert config.method is not None
    sys.stderr.write(f"vos-zoo: no --weights given, {config.method} runs with untrained weights\n")
    model = create_model(config.method, track=config.track, **config.model)
    return model.to(pick_device(config)).eval(), {}


def _writer(video: Any, output: str, overlay: bool) -> Any:
    if not overlay or output.lower().endswith(VIDEO_SUFFIX):
        return open_writer(output, name=video.frame_name, fps=video.fps)
    masks = MaskFolderWriter(output, name=video.frame_name)
    return CombinedWriter([masks, OverlayVideoWriter(f"{output}/overlay.mp4", fps=video.fps)])
