"""The weights of the data sets of a training mixture."""

from __future__ import annotations

from collections.abc import Sequence

from vos_zoo.config.settings.data import MixturePart
from vos_zoo.types import UsageError


def mixture_weights(parts: Sequence[MixturePart], videos: Sequence[int]) -> list[float] | None:
    """The weight of every part, given its number of `videos`; None for an empty mixture.

    Raises:
        UsageError: some parts are weighted by repeats and others are not.
    """
    if any(part.repeats is not None for part in parts):
        plain = [part.name for part in parts if part.repeats is None]
        if plain:
            raise UsageError(f"data.mixture: repeats are given, but not for {plain[0]!r}; give repeats to all or none")
        return [float(part.repeats or 0) * count for part, count in zip(parts, videos, strict=True)]
    return [part.weight for part in parts] or None
