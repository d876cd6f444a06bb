"""Results of a segmented clip: its frames one by one, with what is certain of each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vos_zoo.engine.confidence_meter import ConfidenceMeter
from vos_zoo.engine.features import ClipPlan
from vos_zoo.engine.groups import Judgement
from vos_zoo.engine.prompted import Given
from vos_zoo.engine.smoothing import Smoother
from vos_zoo.types import FrameResult


@dataclass(frozen=True)
class WaitingFrame:
    """A frame of an unfinished clip: float RGB ``(3, H, W)``, its number, whether its result is wanted."""

    image: Tensor
    time: int
    wanted: bool


@dataclass(frozen=True)
class Found:
    """What was found in a clip.

    Attributes:
        full: probabilities of the wanted frames at the video's size, ``(R, N+1, H, W)``.
        rows: the wanted ones among the decoded frames.
        judgement: the method's, of all decoded frames.
        newcomers: number of objects that exist from the last frame on.
    """

    full: Tensor
    rows: Sequence[int]
    judgement: Judgement
    newcomers: int


def frame_results(
    found: Found,
    clip: Sequence[WaitingFrame],
    plan: ClipPlan,
    objects: Sequence[int],
    given: Given | None,
    meter: ConfidenceMeter,
    smoother: Smoother,
) -> list[FrameResult]:
    """Results of the wanted frames of a clip, in order.

    Args:
        found: in the clip.
        clip: its frames.
        plan: which of them were decoded.
        objects: ids of all objects after the last frame.
        given: what was given in the last frame.
        meter, smoother: of the video; they follow its results.
    """
    results = []
    for row, own in zip(found.rows, found.full, strict=True):
        position = plan.decoded[row]
        count = len(objects) - (found.newcomers if position < len(clip) - 1 else 0)
        scores, evidence = found.judgement.at(row, count)
        certain: Sequence[int] = ()
        ids, own = tuple(objects[:count]), own[: count + 1]
        measured = own
        if given is not None and position == len(clip) - 1:
            meter.start(given.ids, given.masks)
            certain = given.from_masks
            measured = own if given.plain is None else given.plain
        confidence = meter.read(ids, measured, evidence, certain)
        own = smoother(ids, own, certain)
        results.append(FrameResult(clip[position].time, ids, own, scores, confidence))
    if given is not None and not clip[-1].wanted:
        meter.start(given.ids, given.masks)
    return results
