"""The masks of a project as files: an overlay video, palette PNGs, COCO's run lengths."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo.files.atomic import atomic_file
from vos_zoo.types import LabelMap, UsageError
from vos_zoo.video.formats.coco import to_youtube_vis
from vos_zoo.video.formats.track_masks import TrackMasks
from vos_zoo.video.masks import davis_palette
from vos_zoo.video.source import FrameSource
from vos_zoo.video.writer import OverlayVideoWriter

Labels = Callable[[int], LabelMap | None]
"""Frame number -> label map, uint8 ``(H, W)``; None: nothing is known of the frame."""
EXPORTS = {"overlay": "overlay.mp4", "masks": "masks.zip", "coco": "coco.json"}
"""What can be exported -> end of the file's name."""


def palette_png(labels: LabelMap, transparent: bool = False) -> bytes:
    """A label map, uint8 ``(H, W)``, as a PNG in the DAVIS colours.

    Args:
        labels: the label map.
        transparent: whether the background is transparent, to be shown over the frame.
    """
    image = Image.fromarray(labels)
    image.putpalette(davis_palette())
    content = io.BytesIO()
    image.save(content, format="PNG", **({"transparency": 0} if transparent else {}))
    return content.getvalue()


def export_name(kind: str, video: str) -> str:
    """Name of the file of an export of a video.

    Raises:
        UsageError: `kind` is unknown.
    """
    if kind not in EXPORTS:
        raise UsageError(f"export {kind!r} is unknown; choose one of: {', '.join(EXPORTS)}")
    return f"{video}-{EXPORTS[kind]}"


def export(
    kind: str, source: FrameSource, length: int, labels: Labels, names: Mapping[int, str], path: Path
) -> Generator[int]:
    """Write one file, lazily and atomically.

    Args:
        kind: one of `EXPORTS`.
        source: the video; its frames are read once more for the overlay.
        length: number of its frames.
        labels: the masks.
        names: object id -> name.
        path: the file.

    Yields:
        The number of every frame that was taken.
    """
    if kind == "overlay":
        yield from _overlay(source, labels, path)
        return
    with atomic_file(path) as temporary:
        if kind == "masks":
            yield from _masks(source, length, labels, temporary)
        else:
            yield from _coco(source, length, labels, names, temporary)


def _overlay(source: FrameSource, labels: Labels, path: Path) -> Generator[int]:
    """All frames of the video; those of which nothing is known are shown as they are."""
    with OverlayVideoWriter(path, fps=source.fps, time=source.time) as writer:
        for number, frame in enumerate(source):
            found = labels(number)
            writer.write(number, frame, np.zeros(frame.shape[:2], dtype=np.uint8) if found is None else found)
            yield number


def _masks(source: FrameSource, length: int, labels: Labels, path: Path) -> Generator[int]:
    """A palette PNG for every frame of which something is known."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(length):
            found = labels(number)
            if found is not None:
                archive.writestr(f"{source.name}/{source.frame_name(number)}.png", palette_png(found))
            yield number


def _coco(source: FrameSource, length: int, labels: Labels, names: Mapping[int, str], path: Path) -> Generator[int]:
    """All frames and objects; the objects' names are the categories."""
    frames = tuple(source.frame_name(number) for number in range(length))
    tracks = TrackMasks(source.name, source.size, frames, {str(identity): {} for identity in names})
    for number in range(length):
        found = labels(number)
        if found is not None:
            for identity in names:
                tracks.add(str(identity), frames[number], found == identity)
        yield number
    content = to_youtube_vis([tracks], {str(identity): name for identity, name in names.items()})
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
