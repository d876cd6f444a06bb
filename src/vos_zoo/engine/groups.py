"""Objects that go through the network together, and what of a clip each of them has to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vos_zoo.engine.evidence import Evidence, computed
from vos_zoo.engine.features import Features
from vos_zoo.engine.memory import Memory
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.engine.views import Canvases
from vos_zoo.nn.precision import full_precision
from vos_zoo.tensors import joined, seen


@dataclass(frozen=True)
class Due:
    """A write of a clip that was read: its positions in the clip, the rows of the group that learn them (None: all)."""

    positions: list[int]
    rows: list[int] | None


@dataclass(eq=False)
class Group:
    """Objects that go through the network together: their slots, their memory, and writes that still wait.

    Attributes:
        pending: features, masks ``(B, T, K, h, w)`` and rows of each write that waits.
        canvases, features: of the clip that is being segmented.
    """

    slots: list[int]
    memory: Memory
    pending: list[tuple[Features, Tensor, list[int] | None]] = field(default_factory=list)
    canvases: Canvases | None = None
    features: Features | None = None

    def drop(self, slots: Sequence[int]) -> None:
        """Forget the objects `slots`, of this group or others; the remaining slots are re-indexed."""
        self.memory = self.memory.drop([self.slots.index(slot) for slot in slots if slot in self.slots])
        self.slots = [slot - sum(s < slot for s in slots) for slot in self.slots if slot not in slots]


def assign_groups(
    groups: list[Group], slots: Sequence[int], limit: int | None, new_memory: Callable[[], Memory]
) -> list[tuple[Group, list[int]]]:
    """Group of every slot; new ones join the last group, or a group that is appended where it is full.

    Args:
        groups: of the video; changed.
        slots: known and new ones.
        limit: objects of a group at most; None: one group.
        new_memory: the memory of a new group.
    """
    assigned: dict[int, list[int]] = {}
    for slot in slots:
        home = next((g for g, group in enumerate(groups) if slot in group.slots), None)
        if home is None:
            if not groups or (limit is not None and len(groups[-1].slots) >= limit):
                groups.append(Group([], new_memory()))
            home = len(groups) - 1
            groups[home].slots.append(slot)
        assigned.setdefault(home, []).append(slot)
    return [(groups[home], members) for home, members in assigned.items()]


@dataclass(frozen=True)
class Predicted:
    """A group's prediction on the merge plane.

    Attributes:
        logits: ``(T, n, H', W')``.
        scores: logits ``(T, n)`` of being in sight; None: the method does not say.
        evidence: the method's evidence; None: it has none.
        lift_scores: ``(B, T, K)`` of the group's canvases -> ``(T, n)``, see `View.lift_scores`.
    """

    logits: Tensor
    scores: Tensor | None
    evidence: Evidence | None
    lift_scores: Callable[[Tensor], Tensor]


@dataclass
class Clock:
    """When each object (by slot) was given, and when it was last written, as numbers of frames."""

    started: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    def start(self, slot: int, time: int) -> None:
        """An object starts or restarts; a new one gets the next slot."""
        if slot == len(self.started):
            self.started.append(time)
            self.written.append(time)
        self.started[slot] = self.written[slot] = time

    def drop(self, slots: Sequence[int]) -> None:
        """Forget objects."""
        for values in (self.started, self.written):
            values[:] = [value for slot, value in enumerate(values) if slot not in slots]

    def due(
        self,
        slots: Sequence[int],
        times: Sequence[int],
        together: bool,
        prompted: bool,
        schedule: WriteSchedule,
        settings: TrackSettings,
        learnt: Sequence[int] = (),
    ) -> list[Due]:
        """What a group writes of a clip, by the clock of each object; objects due at the same positions write together.

        Args:
            slots: the group's objects.
            times: number of each frame of the clip.
            together: objects share a canvas, and all of them follow the newest one's clock.
            prompted: whether something is given in the last frame.
            schedule: the method's.
            settings: of this video.
            learnt: objects that learn a mask given in the last frame, and nothing else of the clip.
        """
        older = [slot for slot in slots if self.started[slot] < times[-1] and (together or slot not in learnt)]
        rows: dict[tuple[int, ...], list[int]] = {}
        for slot in [max(older, key=self.started.__getitem__)] if together and older else older:
            ages = [time - self.started[slot] for time in times]
            since = [time - self.written[slot] for time in times]
            own = schedule.frames_to_write(ages, since, prompted, settings)
            if own:
                for other in slots if together else [slot]:
                    self.written[other] = times[own[-1]]
                    rows.setdefault(tuple(own), []).append(slots.index(other))
        return [Due(list(at), None if len(who) == len(slots) else who) for at, who in rows.items()]


def in_order(parts: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Parts ``(T, n, ...)`` of groups whose slots are `order`, joined and sorted by slot."""
    return seen(joined(parts, dim=1), [order.index(slot) for slot in range(len(order))], dim=1)


@dataclass(frozen=True)
class FrameEvidence:
    """The method's evidence of the objects in one frame.

    Attributes:
        parts: of each group.
        lifts: `Predicted.lift_scores` of each group.
        order: slots of the groups.
    """

    parts: tuple[Evidence, ...]
    lifts: tuple[Callable[[Tensor], Tensor], ...]
    order: tuple[int, ...]

    def goes_with(self, other: FrameEvidence) -> bool:
        """Whether both can be computed at once."""
        if self.order != other.order or len(self.parts) != len(other.parts):
            return False
        return all(map(Evidence.goes_with, self.parts, other.parts))


@dataclass(frozen=True)
class Judgement:
    """What a method itself says of the objects in the decoded frames of a clip.

    Attributes:
        scores: probability of each being in sight, ``(T, N)``; None: it does not say.
        evidence: of each frame; None: it has none.
    """

    scores: Tensor | None = None
    evidence: list[FrameEvidence] | None = None

    def at(self, frame: int, count: int) -> tuple[Tensor | None, FrameEvidence | None]:
        """Scores ``(count,)`` and evidence of the first `count` objects in a frame."""
        scores = None if self.scores is None else self.scores[frame, :count]
        return scores, None if self.evidence is None else self.evidence[frame]


def judged(
    predicted: Sequence[Predicted], order: Sequence[int], count: int, frames: int, given: Sequence[int]
) -> Judgement:
    """What the method says of `count` objects in `frames` decoded frames; see `object_scores`."""
    scores = object_scores(predicted, order, count, given)
    return Judgement(scores, object_evidence(predicted, order, frames))


def object_evidence(predicted: Sequence[Predicted], order: Sequence[int], frames: int) -> list[FrameEvidence] | None:
    """The method's evidence in each of `frames` decoded frames; None where it has none.

    Args:
        predicted: of each group.
        order: slots of the groups.
        frames: number of them.
    """
    parts = [part.evidence for part in predicted if part.evidence is not None]
    if not parts or len(parts) < len(predicted):
        return None
    lifts = tuple(part.lift_scores for part in predicted)
    return [FrameEvidence(tuple(part.at(t) for part in parts), lifts, tuple(order)) for t in range(frames)]


def evidence_values(frames: Sequence[FrameEvidence], count: int) -> Tensor:
    """The evidence of each of `count` objects, float32 ``(F, count)``, NaN for those that start in these frames.

    Args:
        frames: that go with each other.
        count: objects alive.
    """
    found = []
    for group in range(len(frames[0].parts)):
        values = full_precision(computed([frame.parts[group] for frame in frames]))
        found.append(joined([frame.lifts[group](values[:, t : t + 1]) for t, frame in enumerate(frames)]))
    known = in_order(found, frames[0].order)[:, :count].float()
    missing = count - known.shape[1]
    return torch.nn.functional.pad(known, (0, missing), value=torch.nan) if missing else known


def object_scores(
    predicted: Sequence[Predicted], order: Sequence[int], count: int, given: Sequence[int]
) -> Tensor | None:
    """Probability of each of `count` objects being in sight, ``(T, count)``; None where the method does not say.

    Args:
        predicted: of each group.
        order: slots of the groups; objects with higher slots start in the last frame.
        count: objects alive in the last frame.
        given: slots of the objects that are given in the last frame: they are in sight.
    """
    scores = [part.scores for part in predicted if part.scores is not None]
    if not scores or len(scores) < len(predicted):
        return None
    known = in_order(scores, order).sigmoid().float()
    result = known.new_ones(len(known), count)
    result[:, : known.shape[1]] = known
    result[-1, list(given)] = 1
    return result
