"""One result of a frame from those of both directions, by temporal distance and certainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vos_zoo.session.results import Part
from vos_zoo.types import LabelMap

_MIN_CERTAINTY = 0.1
"""Certainty of an object without a pixel: it may be right that there is none."""


@dataclass(frozen=True)
class Side:
    """The part of one direction, and how far it is from the prompts.

    Attributes:
        part: the result.
        distances: key -> frames since the object was given in that direction; objects without one are left out.
    """

    part: Part
    distances: Mapping[int, int]

    def weight(self, key: int) -> float:
        """Weight of the part for an object: its expected IoU over its distance; infinite where it is given."""
        distance = self.distances[key]
        if distance == 0:
            return float("inf")
        expected = self.part.evidence.get("expected_iou")
        certainty = expected[self.part.keys.index(key)] if expected else 1.0
        return max(certainty, _MIN_CERTAINTY) / distance


@dataclass(frozen=True)
class Blend:
    """A frame's result.

    Attributes:
        keys: objects.
        labels: uint8 ``(H, W)`` of keys.
        probabilities: float32 ``(N, H, W)``.
        shares: per object, the share of the forward part, 0..1.
    """

    keys: tuple[int, ...]
    labels: LabelMap
    probabilities: NDArray[np.float32]
    shares: tuple[float, ...]


def blend(forward: Side | None, backward: Side | None) -> Blend:
    """The result of the parts that there are, at least one.

    The objects of one side alone are taken from it. A single side with all of its objects is returned as it was stored.
    """
    sides = [side for side in (forward, backward) if side is not None]
    keys = tuple(dict.fromkeys(key for side in sides for key in side.part.keys if key in side.distances))
    shares = tuple(_share(forward, backward, key) for key in keys)
    for side, own in ((forward, 1.0), (backward, 0.0)):
        if side is not None and set(keys) <= set(side.part.keys) and all(share == own for share in shares):
            return _single(side, keys, shares)
    planes = [_plane(forward, backward, key, share) for key, share in zip(keys, shares, strict=True)]
    shape = sides[0].part.labels.shape
    stacked: NDArray[np.float32] = np.stack(planes) if planes else np.zeros((0, *shape), np.float32)
    total = stacked.sum(axis=0)
    probabilities: NDArray[np.float32] = (stacked / np.maximum(total, 1)).astype(np.float32)
    rest = 1 - np.minimum(total, 1)
    winners = np.concatenate([rest[None], probabilities]).argmax(axis=0)
    return Blend(keys, np.asarray((0, *keys), np.uint8)[winners], probabilities, shares)


def _single(side: Side, keys: tuple[int, ...], shares: tuple[float, ...]) -> Blend:
    """One side's result, without the objects that are not in `keys`."""
    part = side.part
    labels = np.where(np.isin(part.labels, keys), part.labels, 0).astype(np.uint8)
    rows = [part.keys.index(key) for key in keys]
    return Blend(keys, labels, (part.probabilities[rows] / 255).astype(np.float32), shares)


def _share(forward: Side | None, backward: Side | None, key: int) -> float:
    """Share of the forward part in an object's probability."""
    weights = [
        side.weight(key) if side is not None and key in side.distances and key in side.part.keys else 0.0
        for side in (forward, backward)
    ]
    if weights[0] == float("inf") or weights[1] == 0:
        return 1.0
    if weights[1] == float("inf") or weights[0] == 0:
        return 0.0
    return weights[0] / (weights[0] + weights[1])


def _plane(forward: Side | None, backward: Side | None, key: int, share: float) -> NDArray[np.float32]:
    """Probability ``(H, W)`` of an object."""
    total: NDArray[np.float32] | None = None
    for side, own in ((forward, share), (backward, 1 - share)):
        if side is not None and own > 0:
            plane = side.part.probabilities[side.part.keys.index(key)].astype(np.float32) * np.float32(own / 255)
            total = plane if total is None else total + plane
    assert total is not None, "an object has no part"
    return total
