"""Clips composed of photographs: cut-outs of masked pictures and videos move over other pictures, with exact masks.

Every clip is a pure function of (sources, seed, split, number), and every frame of it is drawn without the others. A
few masked pictures are enough (Khoreva et al., "Lucid Data Dreaming", IJCV 2019, go as far with one). Frames are uint8
RGB ``(H, W, 3)``, label maps uint8 ``(H, W)``; ids count from 1 in the order in which the objects start.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.generated import ComposedConfig, ComposedSettings
from vos_zoo.data.composed.render import Painter
from vos_zoo.data.composed.scene import ComposedScene, Cutting, draw_cutting, draw_scene
from vos_zoo.data.composed.sources import Sources
from vos_zoo.data.datasets.generated import GeneratedDataset, checked_frame, draw_starts
from vos_zoo.data.synthetic.scene_draws import Cast
from vos_zoo.types import Frame, LabelMap, UsageError, VideoSequence

COUNT_STEP = 4
"""Pixels of objects are counted on every so many rows and columns."""
_CACHED_FRAMES = 16
_MIN_VISIBLE = 0.35  # share of its own area an object must show in the frame where it starts
_ATTEMPTS = 12


class ComposedSequence(VideoSequence):
    """One composed clip; its frames are drawn when asked for and a bounded number of them is kept.

    Args:
        number: which clip of the split, from 0.
        sources: where cut-outs and backgrounds come from.
        settings: what the clips are like.
        split: its split; splits share no clip.
    """

    def __init__(self, number: int, sources: Sources, settings: ComposedSettings, split: str = "train") -> None:
        self.name = f"composed_{split}_{number:06d}"
        self.frame_names = tuple(f"{index:05d}" for index in range(settings.frames))
        self.settings = settings
        self._sources = sources
        self._entropy = (settings.seed, zlib.crc32(split.encode()), number)
        self._cache: OrderedDict[int, tuple[Frame, LabelMap]] = OrderedDict()

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB (H, W, 3)."""
        return self._drawn(index)[0].copy()

    def labels(self, index: int) -> LabelMap:
        """Label map of frame `index`, uint8 (H, W): of every pixel the object on top, exactly."""
        index = checked_frame(self, index)
        return self._cache[index][1].copy() if index in self._cache else self._painter.labels(index)

    def prompts(self) -> dict[int, LabelMap]:
        """The masks of the objects in the frames where they start; in every one only those that are new."""
        given: dict[int, LabelMap] = {}
        for start in sorted(set(self.starts)):
            new = [identity for identity, other in zip(self.object_ids, self.starts, strict=True) if other == start]
            labels = self.labels(start)
            given[start] = np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
        return given

    def has_labels(self, frames: Iterable[int]) -> bool:
        """Every frame has its exact masks."""
        return True

    @cached_property
    def object_ids(self) -> tuple[int, ...]:  # type: ignore[override]  # computed when first asked for
        """Ids of the objects, 1..N, ascending and in the order in which they start."""
        return tuple(range(1, len(self.starts) + 1))

    @property
    def starts(self) -> tuple[int, ...]:
        """First frame of every object, in the order of `object_ids`."""
        return self._staged[1]

    @property
    def scene(self) -> ComposedScene:
        """What is to be seen."""
        return self._staged[0]

    @property
    def cutting(self) -> Cutting:
        """What it is made of."""
        return self._staged[2]

    def pixel_counts(self) -> dict[int, NDArray[np.int64]]:
        """Visible pixels of every object: id -> int64 (T,). Counted once, on every fourth row and column.

        An object that counts is visible; one of a few pixels may be missed.
        """
        return self._counts

    @cached_property
    def _counts(self) -> dict[int, NDArray[np.int64]]:
        histograms = [
            np.bincount(self._painter.labels(time, COUNT_STEP).reshape(-1), minlength=len(self.starts) + 1)
            for time in range(len(self))
        ]
        table = np.stack(histograms).astype(np.int64) * COUNT_STEP**2
        return {identity: table[:, identity] for identity in self.object_ids}

    @cached_property
    def _painter(self) -> Painter:
        return Painter(self._sources, self.scene)

    @cached_property
    def _staged(self) -> tuple[ComposedScene, tuple[int, ...], Cutting]:
        """Scene, starts and cut-outs. Paths are drawn until every object shows enough of itself where it starts.

        Hidden objects come to the front, in front of what is not annotated; after some attempts the motion is that of
        difficulty 0. An object that still finds no room is left out.
        """
        s, rng = self.settings, self._rng(0)
        starts = draw_starts(rng, s)
        chances = {"look_alike": s.look_alike, "in_place": s.in_place, "video_share": s.video_share}
        cutting = draw_cutting(rng, self._sources, s.size, len(starts), **chances, difficulty=s.difficulty)
        starts = (0,) * len(cutting.in_place) + starts[len(cutting.in_place) :]
        for attempt in range(_ATTEMPTS):
            difficulty = s.difficulty if attempt < _ATTEMPTS // 2 else 0.0
            stage = Cast(s.size, s.frames, starts, difficulty, entrances=difficulty > 0)
            scene = draw_scene(self._rng(attempt + 1), self._sources, stage, cutting)
            hidden = self._hidden(scene, starts)
            if hidden:
                scene = _to_front(scene, hidden)
                hidden = self._hidden(scene, starts)
            if not hidden:
                break
        return (*_without(scene, starts, hidden), cutting)

    def _hidden(self, scene: ComposedScene, starts: tuple[int, ...]) -> set[int]:
        """Ids of the objects that show too little of themselves where they start."""
        painter, hidden = Painter(self._sources, scene), set()
        seen = {start: np.bincount(painter.labels(start, 2).reshape(-1), minlength=8) * 4 for start in set(starts)}
        own = {actor.label: painter.share(number) for number, actor in enumerate(scene.actors)}
        for identity, start in enumerate(starts, start=1):
            if seen[start][identity] < max(_MIN_VISIBLE * own.get(identity, 0.0), 40):
                hidden.add(identity)
        return hidden

    def __getstate__(self) -> dict[str, object]:
        """What a loader process needs: the numbers, neither frames nor the scene."""
        state = {key: value for key, value in self.__dict__.items() if key not in {"_staged", "_painter", "object_ids"}}
        return {**state, "_cache": OrderedDict()}

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((*self._entropy, stream))

    def _drawn(self, index: int) -> tuple[Frame, LabelMap]:
        index = checked_frame(self, index)
        if index not in self._cache:
            self._cache[index] = self._painter.picture(index)
        self._cache.move_to_end(index)
        while len(self._cache) > _CACHED_FRAMES:
            self._cache.popitem(last=False)
        return self._cache[index]


def _to_front(scene: ComposedScene, hidden: set[int]) -> ComposedScene:
    """The scene with the hidden objects in front, and what is not annotated at the back."""
    order = sorted(scene.actors, key=lambda actor: (actor.label > 0) + (actor.label in hidden))
    return replace(scene, actors=tuple(order))


def _without(scene: ComposedScene, starts: tuple[int, ...], hidden: set[int]) -> tuple[ComposedScene, tuple[int, ...]]:
    """The scene without the hidden objects, the others renumbered; at least one stays."""
    kept = [identity for identity in range(1, len(starts) + 1) if identity not in hidden] or [1]
    names = {identity: number for number, identity in enumerate(kept, start=1)}
    ground = replace(scene.ground, labels={k: names[v] for k, v in scene.ground.labels.items() if v in names})
    actors = tuple(replace(actor, label=names.get(actor.label, 0)) for actor in scene.actors)
    return replace(scene, ground=ground, actors=actors), tuple(starts[identity - 1] for identity in kept)


class ComposedDataset(GeneratedDataset[ComposedSequence]):
    """A data set of composed clips, drawn by their numbers.

    Args:
        sources: where cut-outs and backgrounds come from.
        videos: how many clips.
        split: any name; splits share no clip.
        settings: what the clips are like.
    """

    def __init__(
        self,
        sources: Sources,
        videos: int = ComposedConfig.train_videos,
        split: str = "train",
        settings: ComposedSettings | None = None,
    ) -> None:
        if videos < 1:
            raise UsageError(f"data.composed: {videos} videos of {split}; there must be at least 1")
        super().__init__(videos, "clip")
        self.name, self.split, self.sources = "composed", split, sources
        self.settings = settings or ComposedSettings()
        self.video_length = self.settings.frames

    def make(self, index: int) -> ComposedSequence:
        """Clip `index`, from 0 on."""
        return ComposedSequence(index, self.sources, self.settings, self.split)
