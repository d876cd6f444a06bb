"""Clip planning: which frames of a clip are decoded, and which tensors are kept until it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.features import ClipPlan, FeaturesT, ReadoutT
from vos_zoo.engine.track_settings import TrackSettings


class ClipPlanner(Generic[FeaturesT, ReadoutT]):
    """Computes every frame and keeps everything; methods that can do with less derive from it."""

    def plan(self, length: int, needed: Sequence[int], settings: TrackSettings) -> ClipPlan:
        """Which of `length` frames have to be encoded and decoded so that those `needed` come out exactly."""
        return ClipPlan.whole(length)

    def retain(self, features: FeaturesT, readout: ReadoutT, decoded: Decoded) -> FeaturesT:
        """What is kept of a clip's features until its frames are written.

        A method drops what `update` (and `initialise`, where given masks are overlaid) does not need, or adds what it
        wants back from the readout and from what was decoded.
        """
        return features
