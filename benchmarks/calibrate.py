"""Calibrates the expected IoU of shipped weights, and measures it on sequences that the calibration has not seen.

    python benchmarks/calibrate.py --root DAVIS --weights pcvos-small lwl-small --cache /tmp/signs

tracks every sequence once (what was measured of each frame, and its true J, is kept in CACHE/NAME.json), fits the map
of `vos_zoo.engine.confidence.Calibration` with one sequence left out at a time, prints the rank correlation of expected
and true J and the AUROC of lost frames (J < 0.3) over the sequences left out, and writes the map fitted to all of them
to src/vos_zoo/shipped/NAME/confidence.json and the numbers to benchmarks/results/confidence.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import REPOSITORY, one_thread, record
from vos_zoo.config.resources import shipped_folder
from vos_zoo.data.opening import open_dataset
from vos_zoo.engine.confidence import CONFIDENCE_FILE, SIGNS, Calibration
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.jaccard import region_similarity
from vos_zoo.model import VOSModel

RESULTS = REPOSITORY / "benchmarks" / "results" / "confidence.json"
LOST = 0.3
"""Frames with a smaller J are lost."""
STRENGTH = 0.3
"""How strongly a map is drawn to the soft IoU itself; with eight sequences a looser fit is worse on the ninth."""
Signs = dict[str, list[float]]
Vector = NDArray[np.float64]


def collect(name: str, root: Path, step: int) -> dict[str, Signs]:
    """Signs and true J ("J") of every tracked frame of every sequence, from their first masks."""
    model, found = VOSModel.from_pretrained(name), {}
    for sequence in open_dataset("davis", root, split="val", year=2016):
        signs: Signs = {key: [] for key in (*SIGNS, "J")}
        frames = range(0, len(sequence), step)
        first = sequence.labels(0)
        assert first is not None
        for result in model.track((sequence.frame(t) for t in frames), {0: first}):
            if result.index:
                truth = sequence.labels(frames[result.index])
                signs["J"].append(float(region_similarity(result.label_map(), truth)))
                for key in SIGNS:
                    signs[key].append(float(getattr(result.confidence, key)[0]))
        found[sequence.name] = signs
        print(f"{name} {sequence.name}: J {np.mean(signs['J']):.3f}", flush=True)
    return found


def fit(parts: list[Signs], strength: float = STRENGTH, steps: int = 4000) -> Calibration:
    """The map of these sequences: cross entropy with J as the target, weights at least 0, drawn to the soft IoU."""
    evidence = np.array([value for part in parts for value in part["evidence"]])
    mean, deviation = (0.0, 1.0) if np.isnan(evidence).all() else (np.nanmean(evidence), max(np.nanstd(evidence), 1e-6))
    scaler = Calibration(evidence=(float(mean), float(deviation)))
    x, j = np.concatenate([features(scaler, part) for part in parts]), np.concatenate([part["J"] for part in parts])
    x = np.column_stack([np.ones(len(x)), x])
    scale = np.maximum(x.std(axis=0), 1e-6)
    scale[0] = 1.0
    start = np.array([0.0, 1.0, 0.0, 0.0, 0.0]) * scale
    weights, z = start.copy(), x / scale
    rate = 1 / (0.25 * np.linalg.eigvalsh(z.T @ z / len(z))[-1] + 2 * strength)
    for _ in range(steps):
        gradient = z.T @ (_sigmoid(z @ weights) - j) / len(z) + 2 * strength * (weights - start)
        weights = weights - rate * gradient
        weights[1:] = weights[1:].clip(min=0)
    weights = weights / scale
    lost = threshold(_sigmoid(x @ weights), j < LOST)
    named = {name: round(float(weight), 4) for name, weight in zip(SIGNS, weights[1:], strict=True)}
    pair = (round(float(mean), 6), round(float(deviation), 6))
    return Calibration(named, round(float(weights[0]), 4), pair, lost, round(lost + 0.1, 2))


def features(calibration: Calibration, part: Signs) -> Vector:
    """What the weights multiply, ``(T, 4)``."""
    return calibration.features({name: torch.tensor(part[name]) for name in SIGNS}).double().numpy()


def threshold(expected: Vector, lost: NDArray[np.bool_]) -> float:
    """The threshold under which lost frames are found with the best F1; 0.4 if there are none."""
    if not lost.any():
        return 0.4

    def f1(value: float) -> float:
        said = expected < value
        return float(2 * (said & lost).sum() / max(said.sum() + lost.sum(), 1))

    return max((round(0.05 * number, 2) for number in range(2, 15)), key=f1)


def left_out(data: dict[str, Signs]) -> dict[str, Any]:
    """Numbers over all sequences, each with the map fitted to the others."""
    expected, true = [], []
    for name, part in data.items():
        calibration = fit([other for key, other in data.items() if key != name])
        expected.append(calibration.expected_iou({key: torch.tensor(part[key]) for key in SIGNS}).double().numpy())
        true.append(np.array(part["J"]))
    within = [rank_correlation(e, j) for e, j in zip(expected, true, strict=True)]
    e, j = np.concatenate(expected), np.concatenate(true)
    return {
        "frames": len(j),
        "lost": round(float((j < LOST).mean()), 4),
        "spearman": round(rank_correlation(e, j), 4),
        "spearman_within": round(float(np.mean(within)), 4),
        "auroc_lost": round(auroc(e, j < LOST), 4),
        "mean_error": round(float(np.abs(e - j).mean()), 4),
    }


def auroc(expected: Vector, lost: NDArray[np.bool_]) -> float:
    """Share of the pairs of a lost and another frame in which the lost one has the smaller expected IoU."""
    ranks, count = _ranks(expected), int(lost.sum())
    if not 0 < count < len(lost):
        return float("nan")
    return float(
        (ranks[~lost].sum() - (len(lost) - count) * (len(lost) - count + 1) / 2) / (count * (len(lost) - count))
    )


def rank_correlation(a: Vector, b: Vector) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Vector) -> Vector:
    """Ranks from 1, equal values share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - (counts - 1) / 2)[where]).astype(np.float64)


def _sigmoid(values: Vector) -> Vector:
    return 1 / (1 + np.exp(-values))


def main() -> None:
    """Calibrate and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="DAVIS 2016, or a part of it (not needed with a full cache)")
    parser.add_argument("--weights", nargs="+", required=True, help="names of shipped weights")
    parser.add_argument("--cache", type=Path, required=True, help="folder of what was tracked, NAME.json each")
    parser.add_argument("--step", type=int, default=1, help="track every n-th frame only")
    options = parser.parse_args()
    one_thread()
    options.cache.mkdir(parents=True, exist_ok=True)
    for name in options.weights:
        cache = options.cache / f"{name}.json"
        if not cache.is_file():
            cache.write_text(json.dumps(collect(name, options.root, options.step)))
        data = json.loads(cache.read_text())
        write_text(shipped_folder() / name / CONFIDENCE_FILE, fit(list(data.values())).to_json())
        record(RESULTS, name, left_out(data))


if __name__ == "__main__":
    main()
