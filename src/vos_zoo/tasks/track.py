"""`vos-zoo track`: a video and prompts -> masks or an overlay video."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from tqdm import tqdm

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.create import create_model
from vos_zoo.model import VOSModel
from vos_zoo.tasks.evaluate import load_model, pick_device
from vos_zoo.threads import ahead
from vos_zoo.types import Box, Frame, FrameResult, Prompt, UsageError, VOSError
from vos_zoo.video.background import BackgroundWriter
from vos_zoo.video.confidence_report import ConfidenceReport
from vos_zoo.video.opencv_source import CameraSource
from vos_zoo.video.prompts import parse_prompts
from vos_zoo.video.reader import open_video
from vos_zoo.video.result_writer import ResultWriter
from vos_zoo.video.source import FrameSource
from vos_zoo.video.writer import (
    JSON_SUFFIX,
    VIDEO_SUFFIX,
    CombinedWriter,
    MaskFolderWriter,
    OverlayVideoWriter,
    Track,
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
    report: bool = False,
    every: int = 1,
    skip: bool = False,
) -> int:
    """Stream a video through a model.

    Args:
        config: method, its hyper-parameters and inference settings.
        source: video file, folder of frames, "camera" or "camera:N".
        weights: saved folder, checkpoint or hub id; None: untrained weights (to try the command).
        mask: first mask, or a folder of masks named as the frames.
        boxes: id -> box in the first frame.
        mask_threshold: the smallest grey level, 1..255, of the one object of masks with soft edges; None reads ids.
        output: "x.mp4" for an overlay video, "x.json" for COCO run-length JSON, else a folder of palette PNGs.
        overlay: also write an overlay video (overlay.mp4) into the folder.
        report: also write the confidence of every object as a table and a chart, and on overlays.
        every: write every n-th frame only, from the first.
        skip: do not process the frames that are not written.
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
        options |= {"output_frames": range(0, sys.maxsize, every), "skip_others": skip}
    started, count = time.monotonic(), 0
    frames = _Readable(video)
    pairs = _results(partial(model.track, **options), frames, prompts)
    first = next(pairs, None)  # usage errors are raised here, before anything is written
    if first is None:
        raise frames.error or VOSError(f"{source}: has no frames")
    progress = partial(tqdm, total=video.length, unit="frame", desc=video.name, file=sys.stderr)
    table = ConfidenceReport()
    writing = BackgroundWriter(_writer(video, output, overlay, every, table))
    with closing(pairs), _stopped_by_ctrl_c(video), writing as writer:
        for frame, result in progress(chain([first], pairs)):
            if report:
                table.add(video.frame_name(result.index), result)
            writer.write(result.index, frame, result.label_map())
            count += 1
        elapsed = time.monotonic() - started
    if report:
        table.write(output)
    drawn = f"; first masks predicted by {model.boxes_drawn_by}" if model.boxes_drawn_by else ""
    say(f"{count} frames in {elapsed:.1f} s ({count / max(elapsed, 1e-9):.2f} per second): {output}{drawn}")
    if frames.error is not None:
        raise VOSError(f"{frames.error}; the results of the frames before it are kept")
    return 0


@contextmanager
def _stopped_by_ctrl_c(video: FrameSource) -> Iterator[None]:
    """Ctrl-C ends a camera's stream and keeps the results; a second one interrupts."""
    if not isinstance(video, CameraSource) or threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        video.stop()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


Pairs: TypeAlias = Generator[tuple[Frame, FrameResult], None, None]
"""Frames with their results."""


class _Readable:
    """The frames of a video up to the first unreadable one, whose error is raised at the end."""

    def __init__(self, video: FrameSource) -> None:
        self.video = video
        self.error: VOSError | None = None

    def __iter__(self) -> Iterator[Frame]:
        live = isinstance(self.video, CameraSource)  # a frame of a camera is read when it is needed, not before
        try:
            yield from self.video if live else ahead(self.video)
        except VOSError as error:
            self.error = error


def _results(track: Track, frames: _Readable, prompts: Mapping[int, Prompt]) -> Pairs:
    """Frames with their results; a broken video that ends before a prompt is not an error of the prompt."""
    try:
        yield from with_frames(track, frames, prompts)
    except UsageError:
        if frames.error is None:
            raise


def _model(config: RunConfig, weights: str | None) -> tuple[VOSModel, dict[str, Any]]:
    if weights is not None:
        return load_model(config, weights)
    assert config.method is not None
    sys.stderr.write(f"vos-zoo: no --weights given, {config.method} runs with untrained weights\n")
    model = create_model(config.method, track=config.track, **config.model)
    return model.to(pick_device(config)).eval(), {}


def _writer(video: FrameSource, output: str, overlay: bool, every: int, table: ConfidenceReport) -> ResultWriter:
    rate = None if video.fps is None else video.fps / every
    if not overlay or output.lower().endswith(VIDEO_SUFFIX):
        return open_writer(
            output, name=video.frame_name, fps=rate, time=video.time, caption=table.caption, video=video.name
        )
    if output.lower().endswith(JSON_SUFFIX):
        raise UsageError(f"--overlay: goes with a folder of masks, not with {output}; leave it out")
    masks = MaskFolderWriter(output, name=video.frame_name)
    drawn = OverlayVideoWriter(f"{output}/overlay.mp4", fps=rate, time=video.time, caption=table.caption)
    return CombinedWriter([masks, drawn])
