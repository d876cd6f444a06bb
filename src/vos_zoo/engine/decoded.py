"""What decoding gives: logits, and for some methods a state for the next clip and a score per object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Decoded:
    """What a clip was decoded to.

    Attributes:
        logits: mask logits ``(B, T, K, h, w)`` of the frames that are decoded.
        scores: logits ``(B, T, K)`` of each object being in sight; None: the method does not say.
        state: by name, what `TargetModel.carry` puts into the memory before the next clip, ``(B, K, ...)``.
        extras: by name, what `losses` needs, ``(B, T, ...)``; the unroll joins the clips.
    """

    logits: Tensor
    scores: Tensor | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def as_decoded(result: Tensor | Decoded) -> Decoded:
    """The result of `TargetModel.decode`; logits alone are a `Decoded` without anything else."""
    return result if isinstance(result, Decoded) else Decoded(result)
