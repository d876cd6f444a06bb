"""Drawn pictures and videos that composed clips are cut from."""

from __future__ import annotations

import numpy as np

from vos_zoo.types import Frame, LabelMap, VideoSequence

COLOURS = np.array([[0, 0, 0], [250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20], [250, 20, 250]], np.uint8)


class DrawnVideo(VideoSequence):
    """Frames and label maps held in memory."""

    def __init__(self, name: str, frames: list[Frame], labels: list[LabelMap]) -> None:
        self.name, self._frames, self._labels = name, frames, labels
        self.frame_names = tuple(f"{index:05d}" for index in range(len(frames)))
        self.object_ids = tuple(int(identity) for identity in np.unique(labels) if identity)

    def frame(self, index: int) -> Frame:
        return self._frames[index]

    def labels(self, index: int) -> LabelMap:
        return self._labels[index]

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self.labels(0)}


def blobs(seed: int, objects: int = 2, size: tuple[int, int] = (80, 110)) -> tuple[Frame, LabelMap]:
    """A picture of textured ellipses in strong colours on grey noise, and its label map."""
    random = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for identity in range(1, objects + 1):
        middle = (size[1] * (identity - 0.5) / objects, size[0] * random.uniform(0.4, 0.6))
        radii = size[1] / objects * random.uniform(0.32, 0.42), size[0] * random.uniform(0.28, 0.36)
        labels[((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 < 1] = identity
    frame = random.integers(90, 160, (*size, 1), dtype=np.uint8).repeat(3, 2)
    colours = COLOURS[1 + random.permutation(5)]
    for identity in range(1, objects + 1):
        frame[labels == identity] = colours[identity - 1]
    return frame, labels


def video(seed: int, length: int) -> DrawnVideo:
    pairs = [blobs(seed) for _ in range(length)]
    moved = [(np.roll(f, 2 * k, 1), np.roll(m, 2 * k, 1)) for k, (f, m) in enumerate(pairs)]
    return DrawnVideo(f"video{seed}", [f for f, _ in moved], [m for _, m in moved])
