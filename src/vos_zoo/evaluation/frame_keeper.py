"""Selection of a video's worst frames while its results stream in."""

from __future__ import annotations

from vos_zoo.types import LabelMap


class FrameKeeper:
    """Keeps the predictions of a few frames for images: chosen ones, and those with the lowest scores.

    Neighbouring frames are similar, so of every `spacing` frames only the worst one is kept.
    """

    def __init__(self, chosen: set[int], worst: int, spacing: int = 1) -> None:
        """Keep the frames `chosen` and up to `worst` frames with low scores, one of every `spacing` frames."""
        self.chosen: dict[int, LabelMap] = {}
        self._wanted, self._worst_count, self._spacing = chosen, worst, spacing
        self._blocks: dict[int, tuple[float, int, LabelMap]] = {}  # block number -> its worst frame

    def add(self, index: int, labels: LabelMap, score: float | None) -> None:
        """Consider frame `index` with its label map, uint8 ``(H, W)``, and its score (None: not scored)."""
        if index in self._wanted:
            self.chosen[index] = labels
        if score is None:
            return
        block = index // self._spacing
        if block not in self._blocks or score < self._blocks[block][0]:
            self._blocks[block] = (score, index, labels)
        if len(self._blocks) > self._worst_count:
            del self._blocks[max(self._blocks, key=lambda number: self._blocks[number][:2])]

    def worst(self) -> list[tuple[int, float, LabelMap]]:
        """(frame, score, label map) of the worst frames, worst first, ties in order of time."""
        kept = sorted(self._blocks.values(), key=lambda entry: entry[:2])
        return [(index, score, labels) for score, index, labels in kept]
