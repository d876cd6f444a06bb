"""J&F of shipped weights with each kind of `track.smooth`, on the sequences of a folder like DAVIS 2016.

Every sequence is tracked once; the results are then smoothed in each way, which is what tracking with it gives.

    python benchmarks/smoothing.py --root DAVIS --weights pcvos-small --step 2
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import REPOSITORY, one_thread, record, sequences_parser
from vos_zoo.data.opening import open_dataset
from vos_zoo.engine.smoothing import Smoother
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.metrics.scoring import score_frame
from vos_zoo.model import VOSModel
from vos_zoo.types import FrameResult

KINDS: tuple[tuple[str, ...], ...] = ((), ("specks",), ("nearest",), ("holes",), ("nearest", "holes"))
RESULTS = REPOSITORY / "benchmarks" / "results" / "smoothing.json"


def measure(name: str, root: Path, step: int) -> dict[str, float]:
    """Mean J&F over the sequences, without their first frames, of each kind."""
    model = VOSModel.from_pretrained(name)
    scores: dict[str, list[float]] = {"+".join(kind) or "off": [] for kind in KINDS}
    for sequence in open_dataset("davis", root, split="val", year=2016):
        frames = range(0, len(sequence), step)
        own: dict[str, list[float]] = {kind: [] for kind in scores}
        smoothers = [Smoother(TrackSettings(smooth=kind)) for kind in KINDS]
        first = sequence.labels(0)
        assert first is not None
        for result in model.track((sequence.frame(t) for t in frames), {0: first}):
            truth = sequence.labels(frames[result.index])
            assert truth is not None
            for kind, smoother in zip(own, smoothers, strict=True):
                given = result.ids if result.index == 0 else ()
                changed = smoother(result.ids, result.probabilities, given)
                if result.index:
                    labels = FrameResult(result.index, result.ids, changed).label_map()
                    own[kind].append(float(np.mean(score_frame(labels, truth, (1,))[1])))
        for kind, values in own.items():
            scores[kind].append(float(np.mean(values)))
        print(sequence.name, {kind: round(100 * values[-1], 2) for kind, values in scores.items()}, flush=True)
    return {kind: round(100 * float(np.mean(values)), 2) for kind, values in scores.items()}


def main() -> None:
    """Measure and record."""
    options = sequences_parser(__doc__).parse_args()
    one_thread()
    for name in options.weights:
        record(RESULTS, name, {"step": options.step, "J&F": measure(name, options.root, options.step)})


if __name__ == "__main__":
    main()
