"""A writer of results that works beside the tracker."""

from __future__ import annotations

from vos_zoo.threads import Behind
from vos_zoo.types import Frame, LabelMap
from vos_zoo.video.result_writer import ResultWriter


class BackgroundWriter(ResultWriter):
    """Hands results to another writer in a thread, in order; what was handed over is written, also if a run fails.

    Args:
        writer: does the work; its errors are raised by a later call.
        depth: results that wait at most.
    """

    def __init__(self, writer: ResultWriter, depth: int = 8) -> None:
        self._writer = writer
        self._behind: Behind[tuple[int, Frame, LabelMap]] = Behind(lambda result: writer.write(*result), depth)

    def write(self, index: int, frame: Frame, labels: LabelMap) -> None:
        """Write frame `index`, uint8 ``(H, W, 3)``, and its labels, uint8 ``(H, W)``, later; both must not change."""
        self._behind.put((index, frame, labels))

    def finish(self) -> None:
        """Wait for all results, then finish the writer; if one failed, its output is discarded."""
        try:
            self._behind.close()
        except BaseException:
            self._writer.discard()
            raise
        self._writer.finish()

    def discard(self) -> None:
        """Wait for all results, then discard: masks that were handed over are kept."""
        try:
            self._behind.close()
        finally:
            self._writer.discard()
