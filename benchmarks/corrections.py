"""What one correction gains: J&F of the frames that are not given, before and after the middle frame is corrected.

    python benchmarks/corrections.py --data DAVIS --weights joint-small lwl-small llb-small pcvos-small \
        --sequences dog libby --frames 20

The first mask is given and the video tracked forward. Then the true mask of the middle frame is given, and what is
stale is run again: forward, then backward, too. All scores are means over the same frames: all but the given ones and
the last. `--restart` also measures the object that starts anew from the correction.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import list_files
from vos_zoo.metrics import boundary_accuracy, region_similarity
from vos_zoo.model import VOSModel
from vos_zoo.session.session import Session
from vos_zoo.types import Frame, LabelMap
from vos_zoo.video.masks import read_mask


def sequence(data: Path, name: str, count: int) -> tuple[list[Frame], list[LabelMap]]:
    """`count` evenly spread frames of a sequence of DAVIS, and their masks."""
    files = list_files(data / "JPEGImages" / "480p" / name)
    picked = sorted({round(t) for t in np.linspace(0, len(files) - 1, min(count, len(files)))})
    frames = [read_frame(files[t]) for t in picked]
    folder = data / "Annotations" / "480p" / name
    labels = [read_mask(folder / f"{files[t].stem}.png", size=frames[0].shape[:2]) for t in picked]
    return frames, [(mask > 0).astype(np.uint8) for mask in labels]


def score(session: Session, labels: list[LabelMap], frames: list[int]) -> float:
    """Mean J&F of the one object over some frames."""
    values = []
    for frame in frames:
        result = session.result(frame)
        found = np.zeros_like(labels[frame], bool) if result is None else result.labels == 1
        truth = labels[frame] == 1
        values.append((region_similarity(found, truth) + boundary_accuracy(found, truth)) / 2)
    return 100 * float(np.mean(values))


def measure(model: VOSModel, frames: list[Frame], labels: list[LabelMap], restart: bool) -> dict[str, float]:
    """J&F before and after one correction, and when the object restarts instead."""
    middle = len(frames) // 2
    scored = [t for t in range(1, len(frames) - 1) if t != middle]
    session = model.session(frames)
    session.give(0, labels[0])
    session.run()
    found = {"before": score(session, labels, scored)}
    session.give(middle, labels[middle])
    session.run(direction=1)
    found["forward only"] = score(session, labels, scored)
    session.run()
    found["after"] = score(session, labels, scored)
    if restart:
        session.undo()
        session.give(middle, labels[middle], restart=True)
        session.run()
        found["restarted"] = score(session, labels, scored)
    return found


def main() -> None:
    """Print a table per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, type=Path, help="a folder of DAVIS (JPEGImages/480p, Annotations/480p)"
    )
    parser.add_argument("--weights", required=True, nargs="+", help="names of weights, or model folders")
    parser.add_argument("--sequences", nargs="+", help="names of sequences; default: all in the folder")
    parser.add_argument("--frames", type=int, default=20, help="frames per sequence, evenly spread")
    parser.add_argument("--restart", action="store_true", help="also measure restarting the object")
    options = parser.parse_args()
    one_thread()
    names = options.sequences or sorted(path.name for path in (options.data / "JPEGImages" / "480p").iterdir())
    for weights in options.weights:
        model, rows, started = VOSModel.from_pretrained(weights), [], time.monotonic()
        for name in names:
            with torch.no_grad():
                rows.append(measure(model, *sequence(options.data, name, options.frames), options.restart))
            print(f"{weights:12} {name:16} " + "  ".join(f"{k} {v:5.1f}" for k, v in rows[-1].items()), flush=True)
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        print(
            f"{weights:12} {'mean':16} "
            + "  ".join(f"{k} {v:5.1f}" for k, v in means.items())
            + f"  gain {means['after'] - means['before']:+.1f}  ({time.monotonic() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
