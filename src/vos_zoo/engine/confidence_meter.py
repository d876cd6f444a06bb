"""The confidence of a video's results, in their order; on a GPU it is measured for many frames at once, when needed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vos_zoo.engine.confidence import STRIDE, Calibration, mask_areas, signs, sums
from vos_zoo.engine.groups import FrameEvidence, evidence_values
from vos_zoo.tensors import ordinary_tensors, stacked
from vos_zoo.types import Confidence

QUEUE = 32
"""Frames that wait on a GPU at most; on a CPU a launch costs little, and none waits."""
QUEUE_BYTES = 128 << 20
"""Bytes that wait at most."""
_MAX_BATCHES = 64


class _Later(Confidence):
    """The confidence of a result that is still waiting; the first look at it computes it."""

    def __init__(self, settle: Callable[[], None]) -> None:
        object.__setattr__(self, "_settle", settle)

    def __getattr__(self, name: str) -> Any:
        if name in {own.name for own in fields(Confidence)} and type(self) is _Later:
            self._settle()
        return object.__getattribute__(self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and files hold the values."""
        self._settle()
        return object.__reduce_ex__(self, protocol)

    def become(self, values: dict[str, Tensor]) -> None:
        """The values are known: from now on it is a plain `Confidence`."""
        vars(self).clear()
        vars(self).update(values)
        object.__setattr__(self, "__class__", Confidence)


@dataclass(frozen=True)
class _Frame:
    """A result that waits.

    Attributes:
        ids: of its objects.
        seen: its probabilities on the grid, ``(N+1, h, w)``.
        areas: where each object was given, scalars.
        evidence: the method's.
        certain: rows of the objects whose masks are given in it.
        result: what is looked at later, if it still exists.
    """

    ids: tuple[int, ...]
    seen: Tensor
    areas: tuple[Tensor, ...]
    evidence: FrameEvidence | None
    certain: list[int]
    result: weakref.ref[_Later]

    def goes_with(self, other: _Frame) -> bool:
        """Whether both can be measured at once."""
        same = self.ids == other.ids and self.seen.shape == other.seen.shape
        same = same and all(a is b for a, b in zip(self.areas, other.areas, strict=True))
        if not same or self.evidence is None or other.evidence is None:
            return same and self.evidence is other.evidence
        return self.evidence.goes_with(other.evidence)


class ConfidenceMeter:
    """Measures the results of one video in their order; keeps two numbers per object.

    On a GPU frames wait until there are `QUEUE` of them and are then measured together, without a wait of the host;
    what depends on the frames before is computed on the host, when a result is looked at. Threads may look at results.

    Args:
        calibration: the model's; None: the general one.

    Attributes:
        areas: object id -> area where it was given, a float32 scalar.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self.calibration = calibration or Calibration()
        self.areas: dict[int, Tensor] = {}
        self._lost: dict[int, Tensor] = {}
        self._queue: list[_Frame] = []
        self._left: list[Callable[[ConfidenceMeter], object]] = []
        self._lock = threading.RLock()

    @property
    def lost(self) -> dict[int, Tensor]:
        """Object id -> whether it was lost in the last result, a bool scalar."""
        self.settle()
        return self._lost

    @lost.setter
    def lost(self, lost: dict[int, Tensor]) -> None:
        """Continue from another state; what waits is computed from the old one."""
        self.settle()
        self._lost = lost

    def start(self, ids: Sequence[int], masks: Tensor) -> None:
        """Objects are given, by masks ``(n, H, W)``, 0..1."""
        self.areas.update(zip(ids, mask_areas(masks), strict=True))
        fresh = {identity: torch.tensor(False) for identity in ids}
        self._afterwards(lambda meter: meter._lost.update(fresh))

    def drop(self, ids: Sequence[int]) -> None:
        """Forget objects."""
        for identity in ids:
            del self.areas[identity]
        gone = tuple(ids)
        self._afterwards(lambda meter: [meter._lost.pop(identity) for identity in gone])

    def read(
        self, ids: Sequence[int], probabilities: Tensor, evidence: FrameEvidence | None, given: Sequence[int] = ()
    ) -> Confidence:
        """The confidence of the next result.

        Args:
            ids: of its objects.
            probabilities: ``(N+1, H, W)``.
            evidence: the method's, or None.
            given: ids of the objects whose masks are given in this frame: they are certain.
        """
        result, seen, waits = _Later(self.settle), probabilities[:, ::STRIDE, ::STRIDE], probabilities.is_cuda
        frame = _Frame(
            tuple(ids),
            seen.clone() if waits else seen,
            tuple(self.areas[i] for i in ids),
            evidence,
            [list(ids).index(identity) for identity in given],
            weakref.ref(result),
        )
        with self._lock:
            if self._queue and not self._queue[-1].goes_with(frame):
                self._measure()
            self._queue.append(frame)
            if len(self._queue) >= QUEUE or len(self._queue) * frame.seen.nbytes >= QUEUE_BYTES:
                self._measure()
            if not waits or len(self._left) >= _MAX_BATCHES:
                self.settle()
        return result

    @ordinary_tensors()
    def settle(self) -> None:
        """Compute what waits."""
        with self._lock:
            self._measure()
            left, self._left = self._left, []
            for work in left:
                work(self)

    def _afterwards(self, work: Callable[[ConfidenceMeter], object]) -> None:
        """Do something when everything before it is done."""
        with self._lock:
            self._measure()
            if self._left:
                self._left.append(work)
            else:
                work(self)

    def _measure(self) -> None:
        """Measure the frames of the queue together; their flags come later."""
        frames, self._queue = self._queue, []
        if not frames:
            return
        found, objects = sums(stacked([frame.seen for frame in frames])), len(frames[0].ids)
        areas = torch.stack(frames[0].areas) if objects else found.new_zeros(0)
        evidence = [frame.evidence for frame in frames if frame.evidence is not None]
        own = evidence_values(evidence, objects) if evidence else found.new_full(found.shape[1:], torch.nan)
        measured = torch.cat([found, own[None], areas.expand_as(own)[None]])
        self._left.append(partial(ConfidenceMeter._finish, frames=frames, measured=measured))

    def _finish(self, frames: Sequence[_Frame], measured: Tensor) -> None:
        """The results of frames of the same objects from what was measured in them, ``(7, F, N)``; the host waits."""
        *found, evidence, areas = measured.cpu()
        values = signs(torch.stack(found), areas, evidence)
        expected, ids = self.calibration.expected_iou(values), frames[0].ids
        before = torch.stack([self._lost[i].cpu() for i in ids]) if ids else torch.zeros(0, dtype=torch.bool)
        for row, frame in enumerate(frames):
            own = expected[row].index_fill(0, torch.tensor(frame.certain, dtype=torch.int64), 1.0)
            lost = own < torch.where(before, self.calibration.found, self.calibration.lost)
            flags = {"expected_iou": own, "lost": lost, "reappeared": before & ~lost}
            result = frame.result()
            if result is not None:
                result.become({**{name: value[row] for name, value in values.items()}, **flags})
            before = lost
        self._lost.update(zip(ids, before, strict=True))
