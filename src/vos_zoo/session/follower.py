"""What a session needs of a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.target_model import AnyTargetModel, TrackSettings


class Follower(Protocol):
    """A model that follows objects; `vos_zoo.VOSModel` is one.

    Attributes:
        method: name of the method.
        network: the target model.
    """

    method: str
    network: AnyTargetModel

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        ...

    def track_settings(self, preset: str | None = None, **overrides: Any) -> TrackSettings:
        """Inference settings."""
        ...

    def stream(self, settings: TrackSettings, mask_threshold: int | None = None) -> Propagator:
        """A streaming engine with these settings."""
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """A context in which the network may run."""
        ...
