"""Mean, recall and decay of J or F over the frames of one object (DAVIS 2016, Perazzi et al., sec. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import UsageError

_THRESHOLD = 0.5
_QUARTERS = 4


class Statistics(NamedTuple):
    """DAVIS's statistics of one object: mean, share of frames above 0.5, loss from the first to the last quarter."""

    mean: float
    recall: float
    decay: float


def summarise(values: Sequence[float] | NDArray[np.float64], *, official: bool = False) -> Statistics:
    """Mean, recall and decay of the values of one object's scored frames.

    Args:
        values: J or F per frame, ``(T,)``, in time order. NaN is left out of mean and decay; in the recall it counts as
            a frame that is not above the threshold.
        official: take the decay as the official toolkit computes it, see `decay`.

    Raises:
        UsageError: there is no value.

    Examples:
        >>> summarise([1.0, 0.75, 0.75, 0.5])
        Statistics(mean=0.75, recall=0.75, decay=0.25)
    """
    return Statistics(mean(values), recall(values), decay(values, official=official))


def mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean of the values, ``(T,)``, without NaN (NaN if nothing is left)."""
    return _mean(_checked(values))


def recall(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Share of the values, ``(T,)``, that are strictly above 0.5."""
    return float(np.mean(_checked(values) > _THRESHOLD))


def decay(values: Sequence[float] | NDArray[np.float64], *, official: bool = False) -> float:
    """Mean of the first quarter minus mean of the last one; neighbouring quarters share the frame between them.

    The official toolkit keeps the edges of the quarters in 8 bits, so that its decay is wrong or NaN from 256 frames
    on (with numpy 2; no DAVIS sequence is that long).

    Args:
        values: J or F per frame, ``(T,)``, in time order.
        official: reproduce that overflow.

    Raises:
        UsageError: there is no value.
    """
    array = _checked(values)
    edges = np.round(np.linspace(1, len(array), _QUARTERS + 1) + 1e-10).astype(int) - 1  # 1e-10: halves round up
    stops = edges + 1
    if official:
        edges, stops = edges % 256, (edges % 256 + 1) % 256
    return _mean(array[edges[0] : stops[1]]) - _mean(array[edges[-2] : stops[-1]])


def _checked(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise UsageError(
            f"values: expected one number per scored frame, got shape {array.shape}; pass (T,) with T >= 1"
        )
    return array


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
