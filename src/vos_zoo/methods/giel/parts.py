"""GIEL's write schedule, merge rule, and the parts of a frame kept until it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.merge import MergeRule, aggregate
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.methods.giel.features import GielFeatures, GielReadout
from vos_zoo.nn.precision import full_precision


class GielSchedule(WriteSchedule):
    """Every frame is written; one in which masks are given is written by `initialise`."""

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        """All frames but one with given masks."""
        return list(range(len(ages) - prompted))


@dataclass(frozen=True)
class GielMerge(MergeRule):
    """Soft aggregation (sec. 3.3); given masks are laid over the prediction.

    Attributes:
        background: odds of the background, the "product" of what the objects leave, or "global": the logits hold them.
        detach: no gradient flows through merged masks in training.
    """

    given_masks: Literal["merged", "overlaid"] = "overlaid"
    background: str = "product"
    detach: bool = False

    def log_odds(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log-odds whose softmax is the distribution over background and objects.

        Args:
            logits: from `decode`, ``(..., K, h, w)``.
            valid: bool ``(..., K)``, slots that hold an object; None: all.

        Returns:
            ``(..., 1 + K, h, w)``, background first; minus infinity for empty slots.
        """
        logits = full_precision(logits)
        if self.background == "product":
            return aggregate(logits.sigmoid(), valid)
        if valid is not None:
            logits = logits.masked_fill(~valid[..., None, None], -torch.inf)
        return torch.cat([torch.zeros_like(logits[..., :1, :, :]), logits], dim=-3)

    def merge(self, logits: Tensor) -> Tensor:
        """Logits of all objects ``(T, N, H, W)`` -> probabilities ``(T, N+1, H, W)``, background first."""
        return self.log_odds(logits).softmax(dim=-3)

    def merge_training(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """The merged objects ``(B, T, K, h, w)``, with gradient unless `detach`."""
        merged = self.log_odds(logits, None if valid is None else valid[:, None]).softmax(dim=-3)[..., 1:, :, :]
        return merged.detach() if self.detach else merged


@dataclass(frozen=True)
class GielClips(ClipPlanner[GielFeatures, GielReadout]):
    """Keeps the pixels and the global map F: the objects' mask with which the frame will be written.

    Attributes:
        detach: no gradient flows through the map in training.
    """

    detach: bool

    def retain(self, features: GielFeatures, readout: GielReadout, decoded: Decoded) -> GielFeatures:
        """Without the query's features."""
        saliency = None if readout.saliency is None else readout.saliency.sigmoid()[:, None]
        if saliency is not None and self.detach:
            saliency = saliency.detach()
        return replace(features.without("f4", "f8", "f16", "key", "value"), saliency=saliency)
