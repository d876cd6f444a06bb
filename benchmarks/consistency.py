"""What forward-backward consistency adds to the expected IoU: rank correlations with the true J, on open sequences.

    python benchmarks/consistency.py --root DAVIS --weights pcvos-small lwl-small --step 4

Each sequence is tracked forward from its first mask and backward from the last mask that was found. The numbers are
Spearman's rank correlations with the true J, over all frames and as the mean within the sequences, of the expected IoU,
of the agreement of both passes in the frame, of its minimum up to the frame, and of the mean of the expected IoU and
each of the two.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.calibrate import rank_correlation
from benchmarks.common import REPOSITORY, one_thread, record, sequences_parser
from vos_zoo.data.opening import open_dataset
from vos_zoo.evaluation.consistency import backward_agreement, lowest_so_far
from vos_zoo.metrics import region_similarity
from vos_zoo.model import VOSModel
from vos_zoo.types import LabelMap

RESULTS = REPOSITORY / "benchmarks" / "results" / "consistency.json"
Curves = dict[str, NDArray[np.float64]]


def measure(model: VOSModel, root: Path, step: int) -> dict[str, Any]:
    """Rank correlations over the sequences, and the time of the backward pass by that of the forward one."""
    curves: list[Curves] = []
    seconds = [0.0, 0.0]
    for sequence in open_dataset("davis", root, split="val", year=2016):
        frames = range(0, len(sequence), step)
        first = sequence.labels(0)
        assert first is not None
        started, masks, expected = time.process_time(), list[LabelMap](), list[float]()
        for result in model.track((sequence.frame(t) for t in frames), {0: first}):
            assert result.confidence is not None
            masks.append(result.label_map())
            expected.append(float(result.confidence.expected_iou[0]))
        turned = time.process_time()
        agreement = backward_agreement(
            model.track, lambda at, own=sequence, f=frames: own.frame(f[at]), masks.__getitem__, range(len(masks)), [1]
        )[1]
        seconds = [seconds[0] + turned - started, seconds[1] + time.process_time() - turned]
        true = [float(region_similarity(mask, sequence.labels(t))) for mask, t in zip(masks, frames, strict=True)]
        curves.append(_curves(np.array(expected), agreement, np.array(true)))
        means = {name: round(float(curve.mean()), 3) for name, curve in curves[-1].items()}
        print(sequence.name, means, flush=True)
    names = [name for name in curves[0] if name != "true"]
    joined = {name: np.concatenate([own[name] for own in curves]) for name in curves[0]}
    return {
        "step": step,
        "frames": len(joined["true"]),
        "over all frames": {name: round(rank_correlation(joined[name], joined["true"]), 3) for name in names},
        "within sequences": {
            name: _mean([rank_correlation(own[name], own["true"]) for own in curves]) for name in names
        },
        "time of the backward pass": round(seconds[1] / seconds[0], 2),
    }


def _mean(values: list[float]) -> float | None:
    """Their mean; None if one is not defined, as that of a constant is not."""
    return None if np.isnan(values).any() else round(float(np.mean(values)), 3)


def _curves(expected: NDArray[np.float64], agreement: NDArray[np.float64], true: NDArray[np.float64]) -> Curves:
    """What is compared, without the given frame; where there is no agreement, it is 0."""
    agreement, lowest = np.nan_to_num(agreement), np.nan_to_num(lowest_so_far(agreement))
    found = {
        "expected IoU": expected,
        "agreement": agreement,
        "minimum": lowest,
        "with agreement": (expected + agreement) / 2,
        "with minimum": (expected + lowest) / 2,
        "true": true,
    }
    return {name: curve[1:] for name, curve in found.items()}


def main() -> None:
    """Measure and record."""
    options = sequences_parser(__doc__).parse_args()
    one_thread()
    for name in options.weights:
        record(RESULTS, name, measure(VOSModel.from_pretrained(name), options.root, options.step))


if __name__ == "__main__":
    main()
