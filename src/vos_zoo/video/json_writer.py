"""Streaming results into COCO run-length video JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vos_zoo.files.atomic import write_text
from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.types import Frame, LabelMap, VOSError
from vos_zoo.video.formats.coco import to_youtube_vis
from vos_zoo.video.formats.track_masks import TrackMasks
from vos_zoo.video.result_writer import ResultWriter


class JsonWriter(ResultWriter):
    """COCO run-length video JSON in YouTube-VIS's form; objects are held as runs until the file is written."""

    def __init__(self, path: str | Path, *, video: str, name: Callable[[int], str] = "{:05d}".format) -> None:
        """Prepare the file.

        Args:
            path: the file; its folder is created, an existing file is replaced when all frames are there.
            video: the video's name in the file.
            name: frame index -> file stem of the frame.
        """
        self.path, self.video, self.name = Path(path), video, name
        self._tracks: TrackMasks | None = None
        self._frames: list[str] = []

    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Add the objects of a label map, uint8 ``(H, W)``; `frame` is not needed."""
        if self._tracks is None:
            self._tracks = TrackMasks(self.video, (labels.shape[0], labels.shape[1]), ())
        self._frames.append(self.name(index))
        for identity in np.unique(labels):
            if MIN_ID <= identity <= MAX_ID:
                self._tracks.add(str(identity), self._frames[-1], labels == identity)

    def finish(self) -> None:
        """Write the file.

        Raises:
            VOSError: no frame was written, or the file cannot be written.
        """
        if self._tracks is None:
            raise VOSError(f"output {self.path}: there was no frame to write; check the source")
        self._tracks.frames = tuple(self._frames)
        self._tracks.objects = dict(sorted(self._tracks.objects.items(), key=lambda item: int(item[0])))
        try:
            write_text(self.path, json.dumps(to_youtube_vis([self._tracks])) + "\n")
        except OSError as error:
            raise VOSError(f"output {self.path}: cannot be written ({error.strerror}); choose another path") from error

    def discard(self) -> None:
        """Write nothing; an older file of the name is kept."""
