"""Objects that go through the network together, and what of a clip each of them has to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vos_zoo.engine.features import Features
from vos_zoo.engine.memory import Memory
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.engine.views import Canvases
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
        evidence: the method's evidence ``(T, n)``; None: it has none.
    """

    logits: Tensor
    scores: Tensor | None
    evidence: Tensor | None


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


def object_evidence(predicted: Sequence[Predicted], order: Sequence[int], count: int) -> Tensor | None:
    """The method's evidence of each of `count` objects, float32 ``(T, count)``, NaN for those that start in this clip.

    None where the method has none. The arguments are those of `object_scores`.
    """
    found = [part.evidence for part in predicted if part.evidence is not None]
    if not found or len(found) < len(predicted):
        return None
    known = in_order(found, order).float()
    result = known.new_full((len(known), count), torch.nan)
    result[:, : known.shape[1]] = known
    return result


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
