"""What PCVOS computes of a clip's pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vos_zoo.engine.features import Features


@dataclass(frozen=True)
class PCVOSFeatures(Features):
    """The pyramid down to stride 16, and what is projected from it; without `f4`, `f8`, `local` once it is decoded.

    Attributes:
        keys: matching keys ``(B, T, P, C)``, P = h w / 256.
        local: local keys of the refinement, ``(B, T, h/16, w/16, C)``; None where there is none.
    """

    f4: Tensor
    f8: Tensor
    f16: Tensor
    keys: Tensor = field(kw_only=True)
    local: Tensor | None = field(default=None, kw_only=True)
