"""Tracked label maps of a video, one palette PNG per frame on disk, with the run that each one came from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vos_zoo.types import LabelMap
from vos_zoo.video.masks import read_mask, write_mask


class ResultStore:
    """Label maps of tracked frames; memory grows by one number per frame.

    Args:
        folder: where the PNGs are kept; made empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: dict[int, int] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def put(self, frame: int, labels: LabelMap, run: int) -> None:
        """Keep the label map of a frame, uint8 ``(H, W)``, that came from run number `run`."""
        write_mask(self._file(frame), labels)
        self._runs[frame] = run

    def get(self, frame: int, known: Iterable[int]) -> LabelMap | None:
        """The label map of a frame, uint8 ``(H, W)``, with the objects of `known` alone; None: not tracked."""
        if frame not in self._runs:
            return None
        labels = np.array(read_mask(self._file(frame)))
        return np.where(np.isin(labels, list(known)), labels, np.uint8(0))

    @property
    def runs(self) -> Mapping[int, int]:
        """Tracked frame -> the run that its label map came from."""
        return self._runs

    def _file(self, frame: int) -> Path:
        return self.folder / f"{frame:08d}.png"
