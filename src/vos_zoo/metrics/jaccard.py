"""Region similarity J: intersection over union of masks (DAVIS 2016, Perazzi et al., CVPR 2016, sec. 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vos_zoo.metrics._masks import Mask, per_frame


def region_similarity(
    prediction: ArrayLike, truth: ArrayLike, *, void: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """J: intersection over union of one object's masks, 1 where both are empty.

    Args:
        prediction: bool ``(H, W)`` or ``(T, H, W)``; of integer masks every non-zero pixel is the object.
        truth: the same shape.
        void: pixels to leave out of intersection and union, the same shape.

    Returns:
        A float in 0..1, or float64 ``(T,)`` for ``(T, H, W)``.

    Raises:
        UsageError: the shapes differ, or the arrays are not masks.

    Examples:
        >>> import numpy as np
        >>> truth = np.zeros((4, 4), bool)
        >>> truth[:, :2] = True
        >>> region_similarity(np.ones((4, 4), bool), truth)
        0.5
    """
    return per_frame(_jaccard, prediction, truth, void)


def _jaccard(prediction: Mask, truth: Mask) -> float:
    intersection = int(np.count_nonzero(prediction & truth))
    union = int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth)) - intersection
    return intersection / union if union else 1.0
