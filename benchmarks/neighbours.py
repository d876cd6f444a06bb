"""Masks by nearest neighbours of an ImageNet encoder's features, without any training: what a trained model must beat.

    python benchmarks/neighbours.py --root DAVIS16 --output benchmarks/results/neighbours.json

Every pixel at stride 16 takes the mean mask of its most similar pixels in the first frame and in the last few frames
(label propagation as in self-supervised tracking: Jabri et al., NeurIPS 2020). Scores by the DAVIS rule.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.data.opening import open_dataset
from vos_zoo.evaluation.baselines import copy_first_mask
from vos_zoo.nn.backbones import build_backbone
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import Frame, FrameResult, Prompt

TEMPERATURE = 0.07


class NeighbourTracker:
    """Follows the objects of the first frame by nearest neighbours.

    Args:
        short_edge: frames are resized so that the shorter side has this length.
        frames: so many last frames are remembered beside the first.
        neighbours: so many most similar pixels count.
    """

    def __init__(self, short_edge: int, frames: int, neighbours: int) -> None:
        self.encoder = build_backbone("timm:tf_efficientnet_lite0", "imagenet", stages=3).eval()
        self.short_edge, self.frames, self.neighbours = short_edge, frames, neighbours

    @torch.no_grad()
    def track(self, frames: Iterable[Frame], prompts: Mapping[int, Prompt]) -> Iterator[FrameResult]:
        """Frames and a label map in frame 0 to one result per frame."""
        memory: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.frames)
        for index, frame in enumerate(frames):
            keys = self._keys(frame)
            if index == 0:
                labels = torch.from_numpy(np.asarray(prompts[0]))
                ids = tuple(int(i) for i in labels.unique() if i)
                shares = torch.stack([(labels == i).float() for i in (0, *ids)])
                masks = F.adaptive_avg_pool2d(shares, keys.shape[-2:])
                first = (keys, masks)
            else:
                masks = self._read([first, *memory], keys)
                memory.append((keys, masks))
                shares = F.interpolate(masks[None], frame.shape[:2], mode="bilinear")[0]
            yield FrameResult(index, ids, shares)

    def _keys(self, frame: Frame) -> Tensor:
        """Unit vectors of the stride-16 features, ``(C, h, w)``."""
        scale = self.short_edge / min(frame.shape[:2])
        size = [16 * round(side * scale / 16) for side in frame.shape[:2]]
        picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
        picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
        return F.normalize(self.encoder(picture)[2][0], dim=0)

    def _read(self, memory: list[tuple[Tensor, Tensor]], keys: Tensor) -> Tensor:
        """Masks ``(N + 1, h, w)`` for the pixels of a frame."""
        stored = torch.cat([key.flatten(1) for key, _ in memory], dim=1)
        values = torch.cat([mask.flatten(1) for _, mask in memory], dim=1)
        similar, where = (keys.flatten(1).T @ stored).topk(self.neighbours, dim=1)
        weights = (similar / TEMPERATURE).softmax(dim=1)
        return (values[:, where] * weights).sum(dim=2).view(-1, *keys.shape[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="DAVIS 2016 folder")
    parser.add_argument("--short-edge", type=int, default=480)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tracker = NeighbourTracker(options.short_edge, options.frames, options.neighbours)
    table = {}
    for sequence in open_dataset("davis", options.root, split="val", year=2016):
        row = {}
        for name, track in (("neighbours", tracker.track), ("copy", copy_first_mask)):
            scores, _ = track_and_score(track, sequence)
            assert scores is not None
            (result,) = scores.objects
            j, f = float(np.mean(result.J)), float(np.mean(result.F))
            row[name] = {"J": j, "F": f, "J&F": (j + f) / 2}
        table[sequence.name] = row
        print(f"{sequence.name:20s}", *(f"{name} {100 * row[name]['J&F']:5.1f}" for name in row), flush=True)
    for name in ("neighbours", "copy"):
        means = {key: float(np.mean([row[name][key] for row in table.values()])) for key in ("J", "F", "J&F")}
        print(name, {key: round(100 * value, 1) for key, value in means.items()})
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        settings = {key: getattr(options, key) for key in ("short_edge", "frames", "neighbours")}
        options.output.write_text(json.dumps({"settings": settings, "sequences": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
