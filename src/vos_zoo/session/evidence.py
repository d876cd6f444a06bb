"""Numbers per object and frame that say how certain a result is; stored with it."""

from __future__ import annotations

from dataclasses import fields

from vos_zoo.types import FrameResult


def evidence_of(result: FrameResult) -> dict[str, list[float]]:
    """The result's confidence by name, a number per object, and "area", the pixels with p > 0.5."""
    found = {"area": (result.probabilities[1:] > 0.5).sum(dim=(1, 2)).float().tolist()}
    if result.confidence is not None:
        for own in fields(result.confidence):
            found[own.name] = getattr(result.confidence, own.name).float().tolist()
    return found
