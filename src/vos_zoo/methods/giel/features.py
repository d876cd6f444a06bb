"""What passes between GIEL's verbs: query features, and what was read for a query frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vos_zoo.engine.features import Features
from vos_zoo.methods.giel.decoder import Shared


@dataclass(frozen=True)
class GielFeatures(Features):
    """Query features; `f4`, `f8`, `f16` are of the padded picture, and gone once it is decoded.

    Attributes:
        key: ``(B, T, k, h/16, w/16)``.
        value: ``(B, T, C, h/16, w/16)``.
        saliency: the global map F of a frame that was segmented, ``(B, T, 1, h, w)``, kept until it is written.
    """

    f4: Tensor
    f8: Tensor
    f16: Tensor
    key: Tensor | None = field(default=None, kw_only=True)
    value: Tensor | None = field(default=None, kw_only=True)
    saliency: Tensor | None = field(default=None, kw_only=True)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the pictures, without padding."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True)
class GielReadout:
    """What the support says about one query frame.

    Attributes:
        objects: what was read for each object, ``(B, K, C, h/16, w/16)``; in the ablation without instance embedding
            its propagated label (C = 1), or the logits of its own global map, ``(B, K, 1, h, w)``.
        saliency: logits G of the global map, ``(B, 1, h, w)``; None without a global embedding.
        shared: what the global decoder computed from the query alone.
        valid: bool ``(B, K)``, slots that hold an object; None: all.
        group: at most so many objects are decoded together; None: all.
    """

    objects: Tensor
    saliency: Tensor | None = None
    shared: Shared | None = None
    valid: Tensor | None = None
    group: int | None = None
