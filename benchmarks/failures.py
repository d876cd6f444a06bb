"""Three drawn videos on which trackers fail, and what a model makes of them: the picture in its model card.

    python benchmarks/failures.py --weights runs/train-demo-joint/model --output model_cards/assets/joint-failures.png

Look-alikes that pass each other; an object that leaves on the left and comes back on the right; a small and a thin
object. The first mask is given; predictions stand above the truth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.metrics import region_similarity
from vos_zoo.model import VOSModel
from vos_zoo.types import Frame, LabelMap
from vos_zoo.video.panels import overlay_panel

HEIGHT, WIDTH, FRAMES = 128, 224, 13
SHOWN = (0, 3, 6, 9, 12)
Scene = list[tuple[Frame, LabelMap]]


def draw(shapes: list[tuple[np.ndarray, tuple[int, int, int]]]) -> tuple[Frame, LabelMap]:
    """A frame with shapes (a bool map and a colour each, later ones in front), and its label map."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ground = np.stack([95 + 30 * np.sin(columns / 17), 105 + 25 * np.cos(rows / 13), 90 + 0.2 * columns], axis=-1)
    frame, labels = ground.astype(np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (inside, colour) in enumerate(shapes, start=1):
        stripes = 12 * ((rows + columns) // 5 % 2)
        frame[inside] = (np.array(colour) + stripes[inside][:, None]).clip(0, 255)
        labels[inside] = number
    return frame, labels


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Bool map of a disc."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def look_alikes(t: int) -> tuple[Frame, LabelMap]:
    """Two equal discs pass each other, and touch on the way."""
    red = (200, 70, 50)
    return draw([(disc(40 + 11 * t, 55, 17), red), (disc(184 - 11 * t, 78, 17), red)])


def gone_and_back(t: int) -> tuple[Frame, LabelMap]:
    """A disc leaves on the left; three frames later it enters on the right."""
    x = 44 - 13 * t if t < 6 else 244 - 11 * (t - 7)
    return draw([(disc(x, 50 if t < 6 else 86, 18), (60, 90, 210))])


def small_and_thin(t: int) -> tuple[Frame, LabelMap]:
    """A disc of nine pixels across and a rod of three pixels' width."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rod = (abs(columns - 150 - 3 * t - (rows - 64) / 4) <= 1.5) & (abs(rows - 64) <= 38)
    return draw([(disc(40 + 4 * t, 40 + 3 * t, 4.5), (230, 210, 60)), (rod, (240, 240, 240))])


SCENES = {"look-alikes": look_alikes, "gone and back": gone_and_back, "small and thin": small_and_thin}


def follow(model: VOSModel, scene: Scene) -> list[LabelMap]:
    """Label maps of all frames, from the first one's true mask."""
    results = model.track([frame for frame, _ in scene], {0: scene[0][1]})
    return [result.label_map() for result in results]


def main() -> None:
    """Track every scene and write one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="a model folder")
    parser.add_argument("--output", required=True, type=Path, help="the picture, a PNG")
    options = parser.parse_args()
    one_thread()
    model = VOSModel.from_pretrained(options.weights).eval()
    strips = []
    for name, scene_at in SCENES.items():
        scene = [scene_at(t) for t in range(FRAMES)]
        found = follow(model, scene)
        values = [
            float(np.mean([region_similarity(found[t] == k, truth == k) for k in range(1, scene[0][1].max() + 1)]))
            for t, (_, truth) in enumerate(scene)
        ]
        strips.append(
            overlay_panel(
                [scene[t][0] for t in SHOWN],
                [found[t] for t in SHOWN],
                [scene[t][1] for t in SHOWN],
                columns=len(SHOWN),
                width=168,
                title=name,
                captions=[f"frame {t}, J {100 * values[t]:.0f}" for t in SHOWN],
            )
        )
        print(f"{name}: J of frames 1 to {FRAMES - 1}: {100 * float(np.mean(values[1:])):.1f}")
    Image.fromarray(np.concatenate(strips)).quantize(96).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
