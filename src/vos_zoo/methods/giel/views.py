"""The whole frame and its mirror image, for averaging at test time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vos_zoo.engine.views import Canvases, FullFrame


class MirroredFrame(FullFrame):
    """Two canvases, the frame and its mirror image (``B = 2, K = N``); their probabilities are averaged per object.

    Each canvas has its own history; both are written with the averaged, merged masks.
    """

    def project(self, frames: Tensor, slots: Sequence[int]) -> Canvases:
        """Both canvases with all objects, pixels ``(2, T, 3, h, w)``."""
        pixels = super().project(frames, slots).pixels
        return Canvases(torch.cat([pixels, pixels.flip(-1)]), None, tuple(slots))

    def lift(self, logits: Tensor, canvases: Canvases) -> Tensor:
        """Logits ``(2, T, K, h, w)`` -> the logit of the mean probability, ``(T, K, h, w)``."""
        straight, mirrored = logits[0].sigmoid(), logits[1].flip(-1).sigmoid()
        return torch.logit((straight + mirrored) / 2, eps=1e-7)

    def lower(self, probabilities: Tensor, canvases: Canvases) -> Tensor:
        """Masks on both canvases, ``(2, T, K, h, w)``."""
        return torch.stack([probabilities, probabilities.flip(-1)])
