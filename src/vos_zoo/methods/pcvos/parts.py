"""PCVOS's write schedule, merge rule and clip planning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.features import ClipPlan
from vos_zoo.engine.merge import MergeRule, aggregate
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.methods.pcvos.clips import Reach, plan_frames
from vos_zoo.methods.pcvos.features import PCVOSFeatures
from vos_zoo.methods.pcvos.settings import PCVOSTrackSettings
from vos_zoo.nn.precision import full_precision


@dataclass(frozen=True)
class PCVOSSchedule(WriteSchedule):
    """Clips of L frames at run time, of N in training (`clip_length`); the frame of a prompt is remembered.

    Attributes:
        train_memory: what is remembered of a clip in training, its "last" frame or "all" of them.
    """

    write_on_prompt: bool = True
    train_memory: str = "last"

    def frames_per_call(self, settings: TrackSettings | None) -> int:
        """L at run time, N in training."""
        return settings.clip_length if isinstance(settings, PCVOSTrackSettings) else self.clip_length

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        """Frames at least an interval away from the last remembered one; in training as it was built."""
        if not isinstance(settings, PCVOSTrackSettings):
            return list(range(len(ages))) if self.train_memory == "all" else [len(ages) - 1]
        due, origin = [], 0
        for position, distance in enumerate(since):
            if distance - origin >= settings.interval:
                due.append(position)
                origin = distance
        return due


@dataclass(frozen=True)
class PCVOSMerge(MergeRule):
    """Soft aggregation of probabilities; given masks are laid over the prediction."""

    given_masks: Literal["merged", "overlaid"] = "overlaid"

    def merge(self, logits: Tensor) -> Tensor:
        """Soft aggregation of probabilities, ``(T, N, H, W)`` -> ``(T, N+1, H, W)``."""
        return aggregate(logits.sigmoid()).softmax(dim=-3)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """Merged probabilities of the objects, with gradients: they are remembered as they are."""
        return merged_odds(logits, valid).softmax(dim=-3)[..., 1:, :, :]

    def overlay(self, probabilities: Tensor, masks: Tensor, slots: Sequence[int]) -> Tensor:
        """Given masks over the prediction, aggregated again (docs/methods/pcvos.md, "Inference")."""
        covered = (masks > 0.5).any(dim=0)
        objects = probabilities[1:].masked_fill(covered, 0)
        objects[list(slots)] = masks.to(objects.dtype)
        return aggregate(objects).softmax(dim=-3)


def merged_odds(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Aggregated log-odds ``(B, T, K+1, h, w)`` of logits ``(B, T, K, h, w)``; `valid` ``(B, K)`` as in a batch."""
    return aggregate(full_precision(logits).sigmoid(), None if valid is None else valid[:, None])


@dataclass(frozen=True)
class PCVOSClips(ClipPlanner[PCVOSFeatures, Tensor]):
    """Skips frames that no needed one depends on.

    Attributes:
        reach: of the refinement; None: there is none.
    """

    reach: Reach | None

    def plan(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        """Without the frames that no needed one depends on, through refinement or progressive matching."""
        assert isinstance(settings, PCVOSTrackSettings)
        segment = settings.segment if settings.progressive and settings.top_k is not None else None
        return ClipPlan(length, plan_frames(length, needed, self.reach, segment), tuple(needed))

    def retain(self, features: PCVOSFeatures, readout: Tensor, decoded: Decoded) -> PCVOSFeatures:
        """Only what the value encoder and the memory need."""
        return features.without("f4", "f8", "local")
