"""The data passed between GIEL's verbs: query features, and the readout of a query frame."""

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
        saliency: the global map F of a segmented frame, ``(B, T, 1, h, w)``, kept until the frame is written.
    """

    f4: Tensor
    f8: Tensor
    f16: Tensor
    key: Tensor | None = field(default=None, kw_only=True)
    value: Tensor | None = field(default=None, kw_only=True)
    saliency: Tensor | None = field(default=None, kw_only=True)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the frames, without padding."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True)
class GielReadout:
    """What was read from the support frames for one query frame.

    Attributes:
        objects: readout of each object, ``(B, K, C, h/16, w/16)``; in the ablation without instance embedding
            its propagated label (C = 1), or the logits of its own global map, ``(B, K, 1, h, w)``.
        saliency: logits G of the global map, ``(B, 1, h, w)``; None without a global embedding.
        shared: the global decoder's features of the query alone.
        valid: bool ``(B, K)``, slots that hold an object; None: all.
        group: maximum number of objects decoded together; None: all.
    """

    objects: Tensor
    saliency: Tensor | None = None
    shared: Shared | None = None
    valid: Tensor | None = None
    group: int | None = None
