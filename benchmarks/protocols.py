"""CPU time of every protocol of `vos-zoo score` against a straightforward version of its measures, at 480p.

    python benchmarks/protocols.py [--reference FOLDER] [--videos N] [--frames N] [--prediction morph]

The golden videos (`<reference>/protocols/common_*.npz`, `VOS_ZOO_REFERENCE`) are scaled to 480 rows by nearest
neighbour. The straightforward version does what the official programs do: every object of every frame as a mask of
the whole frame, contours over the whole frame, dilation with a disk. Both run in this process, on one core, on the same
arrays, and both can be spread over videos in the same way, so that the ratio of their times is that of all cores. The
values must agree to 1e-9. Exits with 1 if one differs or a ratio is below 3.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.metrics import contour, disk
from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.lvos import ObjectRange, score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.vost import score_vost

SMALLEST_RATIO = 3.0
Video = tuple[np.ndarray, np.ndarray, dict[int, int]]
"""Prediction and truth, uint8 ``(T, H, W)``, and the frame in which each object appears (LVOS's meta file has it)."""
Numbers = dict[str, float]


# -- the straightforward version -------------------------------------------------------------------------------------


def region(prediction: np.ndarray, truth: np.ndarray) -> float:
    union = np.sum(prediction | truth)
    return float(np.sum(prediction & truth) / union) if union else 1.0


def boundary(prediction: np.ndarray, truth: np.ndarray, radius: int | None = None) -> float:
    radius = math.ceil(0.008 * math.hypot(*truth.shape)) if radius is None else radius
    predicted, true = contour(prediction), contour(truth)
    n_predicted, n_true = np.sum(predicted), np.sum(true)
    if not n_predicted or not n_true:
        return float(n_predicted == n_true)
    kernel = disk(radius)
    precision = np.sum(predicted * (cv2.dilate(true.astype(np.uint8), kernel) > 0)) / n_predicted
    recall = np.sum(true * (cv2.dilate(predicted.astype(np.uint8), kernel) > 0)) / n_true
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def ids_of(labels: np.ndarray) -> list[int]:
    return [int(one) for one in np.unique(labels) if one not in (0, 255)]


def first_frames(truth: np.ndarray) -> dict[int, int]:
    """Every object, and the frame in which it appears."""
    return {one: next(t for t, labels in enumerate(truth) if (labels == one).any()) for one in ids_of(truth[:-3])}


def masks_of(video: Video, identity: int, frames: slice) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(p == identity, t == identity) for p, t in zip(video[0][frames], video[1][frames], strict=True)]


def davis(videos: list[Video], frames: slice = slice(1, -1)) -> Numbers:
    j, f = [], []
    for video in videos:
        for identity in ids_of(video[1] if frames.stop is None else video[1][:-1]):
            pairs = masks_of(video, identity, frames)
            j.append(np.mean([region(*pair) for pair in pairs]))
            f.append(np.mean([boundary(*pair) for pair in pairs]))
    return {"J-Mean": float(np.mean(j)), "F-Mean": float(np.mean(f))}


def visor(videos: list[Video]) -> Numbers:
    return davis(videos, slice(1, None))


def sav(videos: list[Video]) -> Numbers:
    j, f = [], []
    for video in videos:
        for identity in ids_of(video[1][1:-1]):
            pairs = masks_of(video, identity, slice(1, -1))
            first = next(number for number, pair in enumerate(pairs) if pair[0].any() or pair[1].any())
            j.append(np.mean([region(*pair) for pair in pairs[first:]]))
            f.append(np.mean([boundary(*pair) for pair in pairs[first:]]))
    return {"J": float(np.mean(j)), "F": float(np.mean(f))}


def vost(videos: list[Video]) -> Numbers:
    j, last = [], []
    for video in videos:
        for identity in ids_of(video[1][:-1]):
            values = [region(*pair) for pair in masks_of(video, identity, slice(1, -1))]
            j.append(np.mean(values))
            last.append(np.mean(values[int(0.75 * len(values)) :]))
    return {"J-Mean": float(np.mean(j)), "J_last-Mean": float(np.mean(last))}


def lvos(videos: list[Video]) -> Numbers:
    j, f, v = [], [], []
    for video in videos:
        for identity, first in video[2].items():
            pairs = masks_of(video, identity, slice(first + 1, -1))
            regions, edges = [region(*pair) for pair in pairs], [boundary(*pair) for pair in pairs]
            j.append(np.mean(regions))
            f.append(np.mean(edges))
            v.append(np.std((np.array(regions) + np.array(edges)) / 2))
    return {"J-Mean": float(np.mean(j)), "F-Mean": float(np.mean(f)), "V-Mean": float(np.mean(v))}


def mosev2(videos: list[Video]) -> Numbers:
    found: dict[str, list[float]] = {"J": [], "F_new": [], "F": []}
    for video in videos:
        size = video[1][0].shape
        usual = math.ceil(0.008 * math.hypot(*size))
        for identity in ids_of(video[1][:-1]):
            values: dict[str, list[float]] = {name: [] for name in found}
            for prediction, truth in masks_of(video, identity, slice(1, -1)):
                area = np.sum(truth)
                own = min(math.ceil(0.1 * (math.sqrt(area) if area else math.hypot(*size))), usual)
                union = np.sum(prediction | truth)
                values["J"].append((np.sum(prediction & truth) + 1) / (union + 1) if union else 1.0)
                values["F_new"].append(boundary(prediction, truth, own))
                values["F"].append(boundary(prediction, truth, usual))
            for name, series in values.items():
                found[name].append(float(np.mean(series)))
    return {name: float(np.mean(series)) for name, series in found.items()}


# -- ours ------------------------------------------------------------------------------------------------------------


def as_videos(videos: list[Video], form: str = "{:05d}", step: int = 1, start: int = 0) -> list[MaskVideo]:
    found = []
    for number, (prediction, truth, _) in enumerate(videos):
        names = tuple(form.format(start + step * index) for index in range(len(truth)))
        index = {name: place for place, name in enumerate(names)}
        found.append(
            MaskVideo(
                f"v{number}", names, lambda n, t=truth, i=index: t[i[n]], lambda n, p=prediction, i=index: p[i[n]]
            )
        )
    return found


def our_lvos(videos: list[Video]) -> Numbers:
    ranges = {
        f"v{number}": {
            one: ObjectRange(1 + 5 * first, 1 + 5 * len(truth), len(truth) - first) for one, first in starts.items()
        }
        for number, (_, truth, starts) in enumerate(videos)
    }
    return score_lvos(as_videos(videos, "{:08d}", 5, 1), ranges, ()).scores


PROTOCOLS: dict[str, tuple[Callable[[list[Video]], Numbers], Callable[[list[Video]], Numbers]]] = {
    "davis17": (davis, lambda videos: score_davis(as_videos(videos)).scores),
    "visor": (visor, lambda videos: score_visor(as_videos(videos)).scores),
    "sav, vos_benchmark": (sav, lambda videos: score_sa_v(as_videos(videos)).scores),
    "vost": (vost, lambda videos: score_vost(as_videos(videos)).scores),
    "lvos": (lvos, our_lvos),
    "mosev2": (mosev2, lambda videos: score_mosev2(as_videos(videos)).scores),
}


def load(folder: Path, prediction: str, count: int | None, frames: int | None) -> list[Video]:
    """The golden videos scaled to 480 rows."""
    videos = []
    for path in sorted(folder.glob("common_*.npz"))[:count]:
        with np.load(path) as archive:
            pair = archive[f"pred_{prediction}"][:frames], archive["gt"][:frames]
        size = (round(480 * pair[1].shape[2] / pair[1].shape[1]), 480)
        scaled = [np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in maps]) for maps in pair]
        videos.append((scaled[0], scaled[1], first_frames(scaled[1])))
    return videos


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "reference"
    parser.add_argument("--reference", type=Path, default=Path(os.environ.get("VOS_ZOO_REFERENCE", default)))
    parser.add_argument("--prediction", default="morph", choices=("shift", "morph", "drop", "swap"))
    parser.add_argument("--videos", type=int)
    parser.add_argument("--frames", type=int)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    videos = load(arguments.reference / "protocols", arguments.prediction, arguments.videos, arguments.frames)
    print(f"{len(videos)} videos, {sum(len(video[1]) for video in videos)} frames of 480 rows")
    print(f"{'protocol':<20}{'straightforward s':>19}{'vos-zoo s':>11}{'ratio':>8}")
    sound = bool(videos)
    for name, functions in PROTOCOLS.items():
        results, seconds = [], []
        for function in functions:
            start = time.process_time()
            results.append(function(videos))
            seconds.append(time.process_time() - start)
        expected, found = results
        wrong = [key for key, value in expected.items() if abs(value - found[key]) > 1e-9]
        ratio = seconds[0] / seconds[1]
        print(f"{name:<20}{seconds[0]:>19.2f}{seconds[1]:>11.2f}{ratio:>8.1f}")
        for key in wrong:
            print(f"{name}: {key} is {found[key]:.12f}, straightforward {expected[key]:.12f}", file=sys.stderr)
        sound = sound and not wrong and ratio >= SMALLEST_RATIO
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
