"""Evidence of a method: how clearly it sees each object, computed for many frames at once; and what several share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.nn.precision import full_precision, in_full_precision
from vos_zoo.tensors import constant, joined, seen

_MARGIN = 1e4  # of objects that fill the whole frame, which have nothing to be told from
CHUNK_BYTES = 256 << 20
"""Bytes of similarities that are compared at a time."""


@dataclass(frozen=True)
class Evidence:
    """A method's evidence for a clip, which is computed when somebody asks for it, together with that of other clips.

    Attributes:
        compute: a function of the module, without state: ``(*frames, *shared)`` -> ``(B, T, K)``. It runs in full
            precision.
        frames: what differs from frame to frame, ``(B, T, ...)`` each; nobody may write into it later.
        shared: what all frames have in common: tensors and plain values.
    """

    compute: Callable[..., Tensor]
    frames: tuple[Tensor, ...]
    shared: tuple[Any, ...] = ()

    def at(self, frame: int) -> Evidence:
        """The evidence of one frame."""
        return replace(self, frames=tuple(tensor[:, frame : frame + 1] for tensor in self.frames))

    def goes_with(self, other: Evidence) -> bool:
        """Whether both can be computed at once."""
        mine, others = ([tensor.shape for tensor in own.frames] for own in (self, other))
        if self.compute is not other.compute or mine != others or len(self.shared) != len(other.shared):
            return False
        return all(
            a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))
            for a, b in zip(self.shared, other.shared, strict=True)
        )


def computed(parts: Sequence[Evidence]) -> Tensor:
    """The values ``(B, F, K)`` of F frames that go with each other."""
    first = parts[0]
    frames = [joined(tensors, dim=1) for tensors in zip(*(part.frames for part in parts), strict=True)]
    with in_full_precision(frames[0]):
        return first.compute(*frames, *first.shared)


def itself(values: Tensor) -> Tensor:
    """Evidence ``(B, T, K)`` that is computed already."""
    return values


def as_evidence(found: Tensor | Evidence | None) -> Evidence | None:
    """What `TargetModel.evidence` returns; a tensor is computed already."""
    return Evidence(itself, (found,)) if isinstance(found, Tensor) else found


def cover(masks: Tensor, stride: int, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Tensor:
    """Share of each cell that masks ``(..., h, w)`` cover: float32 ``(..., P)``, P = h w / stride^2.

    Args:
        masks: 0..1.
        stride: side of a cell.
        margins: empty margin left, right, above and below.
    """
    left, right, top, bottom = margins
    images = full_precision(masks).flatten(0, -3)
    if (left, top) != (right, bottom):
        images, left, top = F.pad(images, margins), 0, 0
    pooled = F.avg_pool2d(images, stride, padding=(top, left))
    return pooled.flatten(-2).unflatten(0, masks.shape[:-2])


def matching_margin(
    queries: Tensor, given: Tensor, found: Tensor, similarities: Callable[[Tensor], Tensor] = itself
) -> Tensor:
    """Similarity of a mask's positions to the given object, minus that to what surrounded it; mean over the mask.

    Args:
        queries: every position of new frames, ``(F, Q, ...)``.
        given: share of each position that an object covers where it was given, ``(K, P)``.
        found: the same of the new masks, ``(F, K, Q)``.
        similarities: of such positions with every position of the given frame, ``(f, Q, P)``; what is added to a whole
            row has no effect. By default `queries` are these.

    Returns:
        float32 ``(F, K)``; negative where the mask looks more like the given frame's surroundings.
    """
    given, found = full_precision(given), full_precision(found)
    inside = given >= given.amax(dim=1, keepdim=True).clamp(min=1e-6, max=0.5)
    hidden = [part[:, None] for part in (~inside, inside)]
    step = max(CHUNK_BYTES // (4 * given.numel() * queries.shape[1]), 1)
    margins = []
    for part in queries.split(step):
        scores = full_precision(similarities(part))[:, None]
        lowest = torch.finfo(scores.dtype).min
        best = [scores.masked_fill(own, lowest).amax(dim=-1) for own in hidden]
        margins.append(best[0] - best[1])
    margin = joined(margins).clamp(-_MARGIN, _MARGIN)
    core = found.where(found > 0.5, 0.0)
    weights = torch.where(core.sum(dim=-1, keepdim=True) > 0, core, found)
    return (margin * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)


def reference_margins(
    queries: Tensor,
    found: Tensor,
    slots: Sequence[Sequence[int]],
    references: Iterable[tuple[Tensor, Tensor]],
    similarities: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Matching margins ``(B, F, K)`` of objects against the frames where they were given; NaN where these are gone.

    Args:
        queries: keys of F new frames, ``(B, F, Q, C)``.
        found: share of each position that the objects' new masks cover, ``(B, F, K, Q)``.
        slots: the objects that were given in each of some frames.
        references: of each of these frames, keys ``(B, P, C)`` and shares ``(B, K, P)``.
        similarities: keys ``(P, C)``, queries ``(f, Q, C)`` -> ``(f, Q, P)``.
    """
    result = torch.full_like(found[..., 0], torch.nan)
    for own, (keys, covers) in zip(slots, references, strict=True):
        place = constant(tuple(own), result.device, torch.int64)
        for canvas, key in enumerate(keys):
            known, new = seen(covers[canvas], own), seen(found[canvas], own, dim=1)
            margin = matching_margin(queries[canvas], known, new, partial(similarities, key))
            result[canvas].index_copy_(1, place, margin)
    return result
