"""What is written of a clip where every object has a canvas and a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vos_zoo.engine.features import Features
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.methods._few_shot.search_region import SearchRegion
from vos_zoo.types import Batch

SIZE = (32, 48)


@dataclass(frozen=True)
class Diary:
    """Per object, the numbers of the frames it was given and learned from, and the mean of its mask in each."""

    pages: tuple[tuple[tuple[int, float], ...], ...] = ()

    @property
    def nbytes(self) -> int:
        return 0

    def drop(self, slots: Sequence[int]) -> Diary:
        return Diary(tuple(page for row, page in enumerate(self.pages) if row not in slots))

    def to(self, device: torch.device | str) -> Diary:
        return self

    def noted(self, features: Features, masks: Tensor, rows: Sequence[int]) -> Diary:
        """Pages with the frames of `features`, whose number is their colour; `masks` ``(len(rows), T, 1, h, w)``."""
        pixels = features.gather(features.pixels)
        assert pixels.shape[:2] == masks.shape[:2] == (len(rows), pixels.shape[1])
        pages = [*self.pages, *[()] * (max(rows) + 1 - len(self.pages))]
        for row, frames, own in zip(rows, pixels, masks, strict=True):
            notes = [(int(f.mean()), round(float(m.mean()), 3)) for f, m in zip(frames, own, strict=True)]
            pages[row] = (*pages[row], *notes)
        return Diary(tuple(pages))


class OwnClocks(WriteSchedule):
    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        return [position for position, age in enumerate(ages) if age % self.memory_every == 0]


class ClipTracker(TargetModel[Diary, Features, Tensor]):
    """One canvas per object, clips, and a write at every `interval`-th frame of an object's life."""

    def __init__(self, clip: int, interval: int) -> None:
        super().__init__()
        self.schedule = OwnClocks(clip_length=clip, memory_every=interval)
        self.weight = nn.Parameter(torch.zeros(()))
        self.eval()

    def encode(self, frames: Tensor) -> Features:
        return Features(frames)

    def new_memory(self, settings: TrackSettings | None = None) -> Diary:
        return Diary()

    def initialise(self, memory: Diary, features: Features, masks: Tensor, new: Sequence[int]) -> Diary:
        fresh = tuple(() if row in new else page for row, page in enumerate(memory.pages))
        return Diary(fresh).noted(features, masks, new)

    def read(self, memory: Diary, features: Features) -> Tensor:
        """Logits that tell frames and objects apart."""
        pixels, slope = features.gather(features.pixels), torch.linspace(-2, 2, features.pixels.shape[-1])
        return (pixels[:, :, :1] / 20 - 1 + slope).float()

    def decode(self, readout: Tensor, features: Features) -> Tensor:
        return readout

    def update(self, memory: Diary, features: Features, masks: Tensor, rows: Sequence[int] | None = None) -> Diary:
        return memory.noted(features, masks, range(len(memory.pages)) if rows is None else rows)

    def make_view(self, settings: TrackSettings) -> SearchRegion:
        return SearchRegion(SIZE, area_scale=100.0, group_size=settings.group_size)

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


def diary(
    model: ClipTracker, starts: Sequence[int], length: int, group_size: int
) -> list[tuple[tuple[int, float], ...]]:
    """What each object has in memory when frame `length` is read; object k+1 is given in frame `starts[k]`."""
    engine = Propagator(model, replace(model.track_settings(), group_size=group_size))
    for t in range(length):
        labels = np.zeros(SIZE, np.uint8)
        for k, start in enumerate(starts):
            if start == t:
                labels[4:12, 4 + 10 * k : 12 + 10 * k] = k + 1
        engine.push(np.full((*SIZE, 3), t, np.uint8), labels if labels.any() else None)
    engine.flush()
    pages: dict[int, Any] = {}
    for group in engine._groups:
        engine._write(group)
        pages.update(zip([engine.ids[slot] for slot in group.slots], group.memory.pages, strict=True))
    return [pages[k + 1] for k in range(len(starts))]


def test_each_object_learns_the_frames_that_are_due_by_its_own_clock() -> None:
    first, second, third = diary(ClipTracker(clip=4, interval=3), [0, 2, 2], 15, group_size=8)
    assert [frame for frame, _ in first] == [0, 3, 6, 9, 12]
    assert [frame for frame, _ in second] == [frame for frame, _ in third] == [2, 5, 8, 11, 14]


@given(
    starts=st.lists(st.integers(0, 8), min_size=1, max_size=4).map(lambda own: [0, *own]),
    clip=st.integers(1, 5),
    interval=st.integers(1, 6),
)
@settings(max_examples=25, deadline=None)
def test_what_an_object_learns_does_not_depend_on_those_it_shares_a_group_with(
    starts: list[int], clip: int, interval: int
) -> None:
    model = ClipTracker(clip, interval)
    apart = diary(model, starts, 14, group_size=1)
    assert [[frame for frame, _ in own] for own in apart] == [list(range(start, 14, interval)) for start in starts]
    for group_size in (2, 8):
        assert diary(model, starts, 14, group_size) == apart
