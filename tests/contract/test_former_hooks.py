"""Methods of other packages whose hooks are attributes and methods of their own, as the contract had it at first."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import moving_squares, training_batch
from tests.helpers.toy_model import ToyModel
from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded, as_decoded
from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.former_hooks import adapt_former_hooks
from vos_zoo.engine.merge import MergeRule, aggregate
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import TargetModel, TrackSettings, unroll


@dataclass(frozen=True)
class Marked(Features):
    """Features with a mark that is kept of a clip."""

    mark: Tensor | None = None


class Former(ToyModel):
    """Every hook of the first contract."""

    schedule = TargetModel.schedule
    given_masks = "overlaid"
    clip_length = 2
    write_on_prompt = True

    def encode(self, frames: Tensor) -> Marked:
        seen = ToyModel.encode(self, frames)
        return Marked(frames, seen.f4, frames, frames, frames, mark=frames)

    def frames_per_call(self, settings: TrackSettings | None) -> int:
        return 3 if settings is None else self.clip_length

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        return age % 3 == 0

    def merge(self, logits: Tensor) -> Tensor:
        return aggregate(logits.sigmoid()).softmax(dim=-3)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        return logits.sigmoid()

    def overlay(self, probabilities: Tensor, masks: Tensor, slots: Sequence[int]) -> Tensor:
        objects = 0.5 * probabilities[1:]
        objects[list(slots)] = masks
        return aggregate(objects).softmax(dim=-3)

    def plan_clip(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        return ClipPlan(length, tuple(needed), tuple(needed))

    def retain(self, features: Any, readout: Any) -> Any:
        return replace(features, mark=None)

    def readout_extras(self, readout: Tensor) -> dict[str, Tensor]:
        return {"mean": readout.mean(dim=(2, 3, 4, 5))}

    def update(self, memory: Any, features: Any, masks: Tensor, rows: Sequence[int] | None = None) -> Any:
        assert features.mark is None, "the clip's features were not retained by the model's rule"
        return ToyModel.update(self, memory, features, masks, rows)


class _Schedule(WriteSchedule):
    def frames_per_call(self, settings: TrackSettings | None) -> int:
        return 3 if settings is None else 2

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        return age % 3 == 0


class _Merge(MergeRule):
    merge = Former.merge
    merge_training = Former.merge_training
    overlay = Former.overlay


class _Clips(ClipPlanner[Marked, Tensor]):
    def plan(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        return ClipPlan(length, tuple(needed), tuple(needed))

    def retain(self, features: Marked, readout: Tensor, decoded: Decoded) -> Marked:
        return replace(features, mark=None)


class Present(ToyModel):
    """The same as parts."""

    schedule = _Schedule(clip_length=2, write_on_prompt=True)
    merging = _Merge("overlaid")
    clips = _Clips()
    encode = Former.encode
    update = Former.update

    def decode(self, readout: Tensor, features: Any) -> Decoded:
        return Decoded(super().decode(readout, features), extras={"mean": readout.mean(dim=(2, 3, 4, 5))})


@pytest.fixture
def both() -> tuple[ToyModel, ToyModel]:
    """The method with hooks of its own, adapted, and the same with parts."""
    torch.manual_seed(0)
    former, present = Former().eval(), Present().eval()
    for parameter in former.parameters():
        torch.nn.init.normal_(parameter, 0, 0.4)
    present.load_state_dict(former.state_dict())
    with pytest.warns(DeprecationWarning) as caught:
        adapt_former_hooks(former)
    said = [str(record.message) for record in caught]
    assert [part in text for part, text in zip(("`schedule`", "`merging`", "`clips`"), said, strict=True)] == [True] * 3
    assert "is_due" in said[0] and "overlay" in said[1] and "plan_clip" in said[2]
    return former, present


def test_a_video_is_the_same_with_hooks_of_the_model_and_with_parts(both: tuple[ToyModel, ToyModel]) -> None:
    video, found = moving_squares(9), []
    for model in both:
        engine = Propagator(model, model.track_settings(None, short_edge=None))
        prompts = {0: video.only(1), 5: video.only(2, frame=5)}
        results = [r for t, frame in enumerate(video.frames) for r in engine.push(frame, prompts.get(t), t != 3)]
        found.append(results + engine.flush())
    assert [r.index for r in found[0]] == [0, 1, 2, 4, 5, 6, 7, 8]
    for former, present in zip(*found, strict=True):
        assert former.ids == present.ids and torch.equal(former.probabilities, present.probabilities)


def test_a_training_step_is_the_same_with_hooks_of_the_model_and_with_parts(both: tuple[ToyModel, ToyModel]) -> None:
    batch = training_batch("lwl", queries=5)
    former, present = (unroll(model, batch) for model in both)
    assert torch.equal(former.logits, present.logits)
    assert former.extras.keys() == present.extras.keys() == {"mean"}
    assert torch.equal(former.extras["mean"], present.extras["mean"])


def test_a_copy_of_an_adapted_model_asks_itself(both: tuple[ToyModel, ToyModel]) -> None:
    former, _ = both
    copied = copy.deepcopy(former)
    copied.clip_length = 7
    settings = former.track_settings()
    assert copied.schedule.frames_per_call(settings) == 7 and former.schedule.frames_per_call(settings) == 2
    with torch.no_grad():
        copied.head.weight.zero_()
        features = copied.encode(torch.rand(1, 1, 3, 32, 32))
        readout = torch.rand(1, 1, 2, 6, 8, 8)
        assert as_decoded(copied.decode(readout, features)).logits.std() < 1e-6
        assert as_decoded(former.decode(readout, features)).logits.std() > 1e-3
