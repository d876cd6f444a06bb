"""CPU time of J and F against a straightforward full-frame implementation, on the real DAVIS pack.

    python benchmarks/metrics.py [--data FOLDER] [--repeat N]

Truth: every mask of `<data>/davis16_480p_part` (`VOS_ZOO_DATA`). Prediction: the truth, dilated by a disk of radius 5
in even frames and eroded by one of radius 3 in odd frames. Both implementations run in this process on the same arrays;
the clock is the process time (user + system, all threads). Exits with 1 if a value differs or the ratio is above 1/4.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vos_zoo.metrics import boundary_accuracy, region_similarity
from vos_zoo.video.masks import read_binary_mask

LARGEST_RATIO = 0.25
Scores = tuple[np.ndarray, np.ndarray]


def disk(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def contour(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower-right neighbour, over the whole frame."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def full_frame_jaccard(prediction: np.ndarray, truth: np.ndarray) -> float:
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def full_frame_boundary(prediction: np.ndarray, truth: np.ndarray) -> float:
    kernel = disk(int(np.ceil(0.008 * np.linalg.norm(truth.shape))))
    predicted, true = contour(prediction), contour(truth)
    n_predicted, n_true = np.count_nonzero(predicted), np.count_nonzero(true)
    if not n_predicted or not n_true:
        return float(n_predicted == n_true)
    precision = np.count_nonzero(predicted & (cv2.dilate(true.astype(np.uint8), kernel) > 0)) / n_predicted
    recall = np.count_nonzero(true & (cv2.dilate(predicted.astype(np.uint8), kernel) > 0)) / n_true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def straightforward(prediction: np.ndarray, truth: np.ndarray) -> Scores:
    pairs = list(zip(prediction, truth, strict=True))
    return np.array([full_frame_jaccard(*pair) for pair in pairs]), np.array([full_frame_boundary(*p) for p in pairs])


def ours(prediction: np.ndarray, truth: np.ndarray) -> Scores:
    return np.asarray(region_similarity(prediction, truth)), np.asarray(boundary_accuracy(prediction, truth))


def load(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and truth per sequence, bool ``(T, H, W)``."""
    sequences = {}
    for folder in sorted((data / "davis16_480p_part" / "Annotations" / "480p").iterdir()):
        truth = np.stack([read_binary_mask(path) for path in sorted(folder.glob("*.png"))])
        changed = [
            cv2.erode(mask, disk(3)) if index % 2 else cv2.dilate(mask, disk(5)) for index, mask in enumerate(truth)
        ]
        sequences[folder.name] = np.stack(changed).astype(bool), truth.astype(bool)
    return sequences


def cpu_seconds(function: Callable[..., Scores], pair: tuple[np.ndarray, np.ndarray], repeat: int) -> float:
    """Process time of one call, mean over `repeat` calls after one that warms up."""
    function(*pair)
    start = time.process_time()
    for _ in range(repeat):
        function(*pair)
    return (time.process_time() - start) / repeat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("VOS_ZOO_DATA", default)))
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'sequence':<16}{'frames':>7}{'full frame s':>14}{'vos-zoo s':>11}{'ratio':>8}{'J':>9}{'F':>9}")
    slow_total, fast_total, frames = 0.0, 0.0, 0
    for name, pair in load(arguments.data).items():
        expected, found = straightforward(*pair), ours(*pair)
        if not all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True)):
            print(f"{name}: the values differ", file=sys.stderr)
            return 1
        slow, fast = (cpu_seconds(function, pair, arguments.repeat) for function in (straightforward, ours))
        slow_total, fast_total, frames = slow_total + slow, fast_total + fast, frames + len(pair[1])
        j, f = (values.mean() for values in found)
        print(f"{name:<16}{len(pair[1]):>7}{slow:>14.3f}{fast:>11.3f}{fast / slow:>8.3f}{j:>9.4f}{f:>9.4f}")
    ratio = fast_total / slow_total
    print(f"{'total':<16}{frames:>7}{slow_total:>14.3f}{fast_total:>11.3f}{ratio:>8.3f}  (must be <= {LARGEST_RATIO})")
    print(
        f"values are equal; {1000 * fast_total / frames:.2f} ms per frame instead of {1000 * slow_total / frames:.2f}"
    )
    return 0 if ratio <= LARGEST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
