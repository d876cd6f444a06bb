"""The built-in data set: endless procedural videos of textured, deforming objects, with exact masks.

Every video is a pure function of (seed, split, number), and every frame of it can be drawn without the others. Nothing
is downloaded or stored. Frames are uint8 RGB ``(H, W, 3)``, label maps uint8 ``(H, W)``; ids count from 1 in the order
in which the objects start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vos_zoo.config.settings.generated import SyntheticConfig, SyntheticSettings
from vos_zoo.data.datasets.generated import GeneratedDataset, checked_frame, draw_starts
from vos_zoo.data.synthetic.render import render, render_labels
from vos_zoo.data.synthetic.scene import SyntheticScene, draw_scene, starting_area, with_layers
from vos_zoo.data.synthetic.scene_draws import Cast
from vos_zoo.types import Frame, LabelMap, UsageError, VideoSequence, VOSError

SPLITS = ("train", "val", "test")
_CHUNK = 4  # frames drawn together: few, so that the canvas stays in the cache of a core
_CACHED_FRAMES = 32
_COUNTED_FRAMES = 8
_LEAST_VISIBLE = 0.35  # share of its own area an object must show in the frame where it starts
_ATTEMPTS = 40


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class SyntheticSequence(VideoSequence):
    """One procedural video; its frames are drawn when asked for and a bounded number of them is kept.

    Args:
        number: which video of the split, from 0.
        settings: what the videos are like.
        split: "train", "val" or "test"; splits share no video.
        device: where `frame` and `labels` are drawn (bytes are reproducible per kind of device).

    Attributes:
        starts: first frame of every object, in the order of `object_ids`.
    """

    def __init__(
        self,
        number: int,
        settings: SyntheticSettings | None = None,
        *,
        split: str = "train",
        device: torch.device | str = "cpu",
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"synthetic split {split!r}: choose one of {', '.join(SPLITS)}")
        if not _is_whole(number) or number < 0:
            raise UsageError(f"synthetic video {number}: videos are numbered from 0")
        self.settings = settings or SyntheticSettings()
        self.name = f"synthetic_{split}_{number:05d}"
        self.frame_names = tuple(f"{index:05d}" for index in range(self.settings.frames))
        self.device = device
        self._entropy = (self.settings.seed, SPLITS.index(split), number)
        self.starts = draw_starts(self._rng(0), self.settings)
        self.object_ids = tuple(range(1, len(self.starts) + 1))
        self._cache: OrderedDict[int, tuple[Frame, LabelMap]] = OrderedDict()

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB (H, W, 3)."""
        return self._drawn(index)[0].copy()

    def labels(self, index: int) -> LabelMap:
        """Label map of frame `index`, uint8 (H, W): the topmost object at every pixel."""
        index = checked_frame(self, index)
        if index in self._cache:
            return self._cache[index][1].copy()
        return self._label_map(index)

    def prompts(self) -> dict[int, LabelMap]:
        """The masks of the objects in the frames where they start; in every one only those that are new."""
        given: dict[int, LabelMap] = {}
        for start in sorted(set(self.starts)):
            new = [number for number, other in zip(self.object_ids, self.starts, strict=True) if other == start]
            labels = self.labels(start)
            given[start] = np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
        return given

    def pixel_counts(self) -> dict[int, NDArray[np.int64]]:
        """Visible pixels of every object: id -> int64 (T,). Counted once, without drawing the images."""
        return self._counts

    @cached_property
    def _counts(self) -> dict[int, NDArray[np.int64]]:
        histograms = []
        for start in range(0, len(self), _COUNTED_FRAMES):
            frames = np.arange(start, min(start + _COUNTED_FRAMES, len(self)))
            for labels in render_labels(self.scene, frames, self.device).cpu().numpy():
                histograms.append(np.bincount(labels.reshape(-1), minlength=len(self.starts) + 1))
        table = np.stack(histograms).astype(np.int64)
        return {identity: table[:, identity] for identity in self.object_ids}

    def has_labels(self, frames: Iterable[int]) -> bool:
        """Every frame has its exact masks."""
        return True

    def tensors(
        self, start: int = 0, stop: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """The frames start..stop-1 at once, without the cache.

        Args:
            start, stop: first frame and the one after the last (None: the whole video).
            device: where to draw and leave them (None: the device of the sequence).

        Returns:
            Frames, uint8 RGB (T, H, W, 3), and label maps, uint8 (T, H, W).

        Raises:
            UsageError: there are no such frames.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start < stop <= len(self):
            raise UsageError(f"{self.name}: frames {start}..{stop} asked for, but it has frames 0..{len(self)}")
        device = self.device if device is None else device
        step = _CHUNK if torch.device(device).type == "cpu" else 16 * _CHUNK
        edges = [*range(start, stop, step), stop]
        parts = [render(self.scene, np.arange(a, b), device) for a, b in pairwise(edges)]
        frames, labels = zip(*parts, strict=True)
        return torch.cat(frames), torch.cat(labels)

    @cached_property
    def scene(self) -> SyntheticScene:
        """The scene; created when first needed.

        Scenes are drawn until every object is visible enough where it starts. Occluders are removed first:
        un-annotated objects are dropped, hidden objects move to the front.

        Raises:
            VOSError: the objects do not fit (in 700 random settings down to 16x16 three scenes were enough).
        """
        height, width = self.settings.size
        for attempt in range(_ATTEMPTS):
            usual = attempt < _ATTEMPTS // 2
            difficulty = self.settings.difficulty if usual else 0.0
            cast = Cast((int(height), int(width)), self.settings.frames, self.starts, difficulty, entrances=usual)
            scene = draw_scene(self._rng(attempt + 1), cast)
            for repaired in (scene, _hidden_to_front(scene, self.starts)):
                if not _hidden(repaired, self.starts):
                    return repaired
        raise VOSError(
            f"{self.name}: no room to show {len(self.starts)} objects in {height}x{width} pixels; "
            "enlarge synthetic size or lower max_objects"
        )

    def __getstate__(self) -> dict[str, object]:
        """State for a worker process: the settings, neither drawn frames nor the scene."""
        state = {key: value for key, value in self.__dict__.items() if key != "scene"}
        return {**state, "_cache": OrderedDict()}

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((*self._entropy, stream))

    def _label_map(self, index: int) -> LabelMap:
        labels = render_labels(self.scene, np.array([index]), self.device)[0]
        return np.asarray(labels.cpu().numpy())

    def _drawn(self, index: int) -> tuple[Frame, LabelMap]:
        """A frame and its label map from the cache; a few frames ahead are drawn for sequential access."""
        index = checked_frame(self, index)
        if index not in self._cache:
            ahead = _CHUNK if index == 0 or index - 1 in self._cache else 1
            frames, labels = self.tensors(index, min(index + ahead, len(self)))
            pairs = zip(frames.cpu().numpy(), labels.cpu().numpy(), strict=True)
            for k, (frame, label_map) in enumerate(pairs, start=index):
                self._cache[k] = (frame, label_map)
                self._cache.move_to_end(k)
            while len(self._cache) > _CACHED_FRAMES:
                self._cache.popitem(last=False)
        return self._cache[index]


def _hidden(scene: SyntheticScene, starts: tuple[int, ...]) -> set[int]:
    """Ids of the objects that are not visible enough where they start."""
    moments: NDArray[np.int64] = np.unique(np.asarray(starts, dtype=np.int64))
    labels = render_labels(scene, moments).numpy()
    hidden = set()
    for number, start in enumerate(starts, start=1):
        seen = int((labels[np.searchsorted(moments, start)] == number).sum())
        own = max(starting_area(layer) for layer in scene.layers if layer.label == number)
        if seen < max(_LEAST_VISIBLE * own, 8):
            hidden.add(number)
    return hidden


def _hidden_to_front(scene: SyntheticScene, starts: tuple[int, ...]) -> SyntheticScene:
    """The scene with the hidden objects on top of all others, without un-annotated things in front of everything."""
    hidden = _hidden(scene, starts)
    back = [layer for layer in scene.layers if layer.label not in hidden]
    while back and back[-1].label == 0:
        back.pop()
    return with_layers(scene, [*back, *(layer for layer in scene.layers if layer.label in hidden)])


class SyntheticDataset(GeneratedDataset[SyntheticSequence]):
    """A data set of procedural videos.

    Args:
        videos: how many, at least 1.
        split: "train", "val" or "test"; splits share no video.
        settings: what the videos are like (None: the defaults).
        device: where frames are drawn.

    Raises:
        UsageError: unknown split, or no videos.
    """

    def __init__(
        self,
        videos: int = SyntheticConfig.train_videos,
        split: str = "train",
        settings: SyntheticSettings | None = None,
        device: torch.device | str = SyntheticConfig.device,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"synthetic split {split!r}: choose one of {', '.join(SPLITS)}")
        if not _is_whole(videos) or videos < 1:
            raise UsageError(f"synthetic videos {videos}: a data set needs at least 1 video")
        super().__init__(videos, "video")
        self.name = "synthetic"
        self.split = split
        self.settings = settings or SyntheticSettings()
        self.device = device

    def make(self, index: int) -> SyntheticSequence:
        """Video `index`, from 0 on."""
        return SyntheticSequence(index, self.settings, split=self.split, device=self.device)
