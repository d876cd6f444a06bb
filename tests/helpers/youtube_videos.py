"""Small videos in the manner of YouTube-VOS: late objects, ids with gaps, every fifth frame annotated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vos_zoo.types import Frame, FrameResult, LabelMap, VideoSequence
from vos_zoo.video.masks import write_mask

SIZE = (40, 64)


@dataclass
class Late(VideoSequence):
    """Squares that move by a pixel a frame; object `i` starts in frame `starts[i]`; every `every`-th frame has a truth.

    The frames' grey values tell the ids, so that a tracker of the tests can be right where it wants to be.
    """

    name: str = "abc"
    starts: Mapping[int, int] = field(default_factory=lambda: {7: 5, 2: 10})
    kinds: Mapping[int, str] = field(default_factory=lambda: {7: "person", 2: "jellyfish"})
    count: int = 23
    every: int = 5
    sampled: bool = False
    truth: bool = True

    def __post_init__(self) -> None:
        step = self.every if self.sampled else 1
        self.numbers = range(0, self.count, step)
        self.frame_names = tuple(f"{number:05d}" for number in self.numbers)
        self.object_ids = tuple(self.starts)
        first = min(self.starts.values())  # meta.json lists the annotated frames from the first mask on
        self.wanted_frames = tuple(t for t, n in enumerate(self.numbers) if n % self.every == 0 and n >= first)

    @property
    def categories(self) -> Mapping[int, str]:
        return self.kinds

    def all_labels(self, number: int) -> LabelMap:
        labels = np.zeros(SIZE, dtype=np.uint8)
        for row, (identity, start) in enumerate(self.starts.items()):
            if number >= start:
                labels[3 + 18 * row : 15 + 18 * row, 4 + number : 20 + number] = identity
        return labels

    def frame(self, index: int) -> Frame:
        return np.repeat(self.all_labels(self.numbers[index])[..., None] * np.uint8(20), 3, axis=2)

    def labels(self, index: int) -> LabelMap | None:
        number = self.numbers[index]
        if number % self.every or not (self.truth or number in self.starts.values()):
            return None
        return self.all_labels(number)

    def prompts(self) -> dict[int, LabelMap]:
        prompts: dict[int, LabelMap] = {}
        for identity, number in self.starts.items():
            labels, index = self.all_labels(number), list(self.numbers).index(number)
            before = prompts.get(index, np.zeros(SIZE, np.uint8))
            prompts[index] = before | np.where(labels == identity, labels, 0)
        return prompts

    @property
    def has_truth(self) -> bool:
        return self.truth


def write_meta(videos: Iterable[Late], folder: Path) -> None:
    """meta.json and Annotations of the videos, as the training set has them."""
    meta: dict[str, Any] = {}
    for video in videos:
        names = {t: video.frame_names[t] for t in video.wanted_frames or ()}
        meta[video.name] = {
            "objects": {
                str(identity): {
                    "category": video.kinds[identity],
                    "frames": [name for name in names.values() if int(name) >= start],
                }
                for identity, start in video.starts.items()
            }
        }
        for t, name in names.items():
            labels = video.labels(t)
            assert labels is not None
            write_mask(folder / "Annotations" / video.name / f"{name}.png", labels)
    (folder / "meta.json").write_text(json.dumps({"videos": meta}))


def lagging(frames: Iterable[Frame], prompts: Mapping[int, Any]) -> Iterator[FrameResult]:
    """Shows what was there in the frame before."""
    before: LabelMap | None = None
    ids: list[int] = []
    for index, frame in enumerate(frames):
        ids += [int(i) for i in np.unique(prompts[index]) if i and i not in ids] if index in prompts else []
        now = frame[..., 0] // 20
        shown = now if before is None else before
        planes = np.stack([shown == identity for identity in (0, *ids)]).astype(np.float32)
        yield FrameResult(index, tuple(ids), torch.from_numpy(planes))
        before = now
