"""A video that several threads read: one at a time, for a sequence need not expect more than one."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from vos_zoo.types import Frame, LabelMap, VideoSequence


class SharedSequence(VideoSequence):
    """Frames and masks of another sequence.

    Args:
        sequence: it is not read by others meanwhile.
    """

    def __init__(self, sequence: VideoSequence) -> None:
        self._sequence, self._lock = sequence, threading.Lock()
        self.name, self.frame_names = sequence.name, sequence.frame_names
        self.object_ids, self.wanted_frames = sequence.object_ids, sequence.wanted_frames

    def __len__(self) -> int:
        return len(self._sequence)

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``."""
        with self._lock:
            return self._sequence.frame(index)

    def labels(self, index: int) -> LabelMap | None:
        """Label map of frame `index`, uint8 ``(H, W)``, or None if there is no annotation."""
        with self._lock:
            return self._sequence.labels(index)

    def prompts(self) -> dict[int, LabelMap]:
        """The given masks: frame index -> label map of the objects that start there."""
        with self._lock:
            return self._sequence.prompts()

    @property
    def categories(self) -> Mapping[int, str]:
        """Category per object id."""
        with self._lock:
            return self._sequence.categories
