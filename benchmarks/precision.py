"""How far reduced precision moves the results of trained weights, against float32 on generated videos.

python benchmarks/precision.py --weights runs/train-demo-joint/model --precision bf16
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.model import VOSModel


def main() -> None:
    """Track each video twice; print the share of equal labels and the difference of probabilities."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16"))
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    one_thread()
    model = VOSModel.from_pretrained(options.weights).to(options.device)
    videos = SyntheticDataset(
        videos=options.videos, split="test", settings=SyntheticSettings(size=(128, 224), frames=24)
    )
    equal, differences = [], []
    for video in videos:
        exact = model.track(video.frames(), video.prompts())
        reduced = model.track(video.frames(), video.prompts(), precision=options.precision)
        for one, other in zip(exact, reduced, strict=True):
            equal.append(float((one.label_map() == other.label_map()).mean()))
            differences.append(float((one.probabilities - other.probabilities).abs().mean()))
    print(
        f"{options.precision} against float32: {100 * np.mean(equal):.2f} % of labels equal "
        f"(worst frame {100 * min(equal):.2f} %), mean difference of probabilities {np.mean(differences):.4f}"
    )


if __name__ == "__main__":
    main()
