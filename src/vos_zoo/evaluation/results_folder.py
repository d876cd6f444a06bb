"""Check that an evaluation's output folder holds none of its inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vos_zoo.evaluation.protocols import readable
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.types import UsageError, VideoSequence


def check_results_folder(folder: Path | None, sequences: Sequence[VideoSequence]) -> None:
    """Check that results would neither replace frames or masks nor be written among them.

    Args:
        folder: holds masks/SEQUENCE, sequences, overlays and worst; it need not exist. None: nothing is written.
        sequences: the videos.

    Raises:
        UsageError: the folder is a file, the data set's own folder, or one of its folders of frames or masks, or holds
            these where the results would be written; both are named.
    """
    if folder is None or not os.path.exists(os.path.realpath(folder)):
        return
    if not folder.is_dir():
        raise UsageError(f"output {folder}: is a file; give a folder for the evaluation's results")
    videos = list(readable(sequences))
    parts = [folder, *(folder / part for part in ("masks", "sequences", "overlays", "worst"))]
    inputs = {path.parent for video in videos for path in video.files()}
    root = getattr(sequences, "root", None)
    refuse_overwriting(
        [*parts, *(folder / "masks" / video.name for video in videos)], [*inputs, *([root] if root else [])]
    )
