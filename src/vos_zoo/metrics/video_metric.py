"""J, F and the seven DAVIS numbers as torchmetrics metrics.

Their states are sums and a count, so that memory is constant and summing them over processes (DDP) gives the value
over all data. Each process must update with whole objects or whole videos: recall and decay need all frames of one.
This is the only module of the package's metrics that imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

from vos_zoo.labels import as_label_map, objects_of, shows_one_object
from vos_zoo.metrics.boundary import boundary_accuracy
from vos_zoo.metrics.davis import SCORE_NAMES, SequenceScores, mean_scores, score_sequence
from vos_zoo.metrics.jaccard import region_similarity
from vos_zoo.types import UsageError, VOSError


def _numpy(masks: Tensor | ArrayLike) -> NDArray[Any]:
    return masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)


def _label_maps(masks: Tensor | ArrayLike, what: str) -> NDArray[np.uint8]:
    """Label maps, uint8 ``(T, H, W)``; bool masks are object 1."""
    values = _numpy(masks)
    return as_label_map(values.astype(np.uint8) if values.dtype == bool else values, what, dimensions=3)


class _MeanOverObjects(Metric):
    """Sum over objects and their number."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, values: int = 1, **options: Any) -> None:
        super().__init__(**options)
        # float64: the official numbers are means of float64 values.
        self.add_state("total", default=torch.zeros(values, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _add(self, values: Sequence[float], objects: int = 1) -> None:
        self.total += torch.tensor(values, dtype=torch.float64, device=self.total.device)
        self.count += objects

    def _mean(self) -> Tensor:
        if not int(self.count):
            raise VOSError(f"{type(self).__name__}: there is no object to score; call update() before compute()")
        return self.total / self.count


class RegionSimilarity(_MeanOverObjects):
    """Mean J over objects; one `update` is one object.

    Args:
        options: arguments of `torchmetrics.Metric`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(1, **options)

    def update(self, prediction: Tensor | ArrayLike, truth: Tensor | ArrayLike) -> None:
        """Add one object: bool ``(T, H, W)``, its scored frames, or ``(H, W)``.

        Raises:
            UsageError: the shapes differ, or the arrays are not masks.
        """
        self._add([float(np.mean(region_similarity(_numpy(prediction), _numpy(truth))))])

    def compute(self) -> Tensor:
        """Mean over objects of the mean over frames, float64 scalar, 0..1.

        Raises:
            VOSError: nothing was added.
        """
        return self._mean()[0]


class BoundaryAccuracy(_MeanOverObjects):
    """Mean F over objects; one `update` is one object.

    Args:
        tolerance: radius in pixels; None takes 0.8 % of the diagonal.
        options: arguments of `torchmetrics.Metric`.
    """

    def __init__(self, tolerance: int | None = None, **options: Any) -> None:
        super().__init__(1, **options)
        self.tolerance = tolerance

    def update(self, prediction: Tensor | ArrayLike, truth: Tensor | ArrayLike) -> None:
        """Add one object: bool ``(T, H, W)``, its scored frames, or ``(H, W)``.

        Raises:
            UsageError: the shapes differ, or the arrays are not masks.
        """
        self._add([float(np.mean(boundary_accuracy(_numpy(prediction), _numpy(truth), tolerance=self.tolerance)))])

    def compute(self) -> Tensor:
        """Mean over objects of the mean over frames, float64 scalar, 0..1.

        Raises:
            VOSError: nothing was added.
        """
        return self._mean()[0]


class DavisScores(_MeanOverObjects):
    """The seven DAVIS numbers; one `update` is one video with all its objects.

    Args:
        official: reproduce the official toolkit's bugs, see `evaluate_davis`.
        drop_unknown_labels: turn predicted labels that are not an object into background instead of raising an error.
        options: arguments of `torchmetrics.Metric`.
    """

    def __init__(self, official: bool = False, drop_unknown_labels: bool = False, **options: Any) -> None:
        super().__init__(len(SCORE_NAMES), **options)
        self.official = official
        self.drop_unknown_labels = drop_unknown_labels

    def update(
        self,
        prediction: Tensor | ArrayLike | SequenceScores,
        truth: Tensor | ArrayLike | None = None,
        name: str = "video",
        frame_names: Sequence[str] | None = None,
    ) -> None:
        """Add one video.

        Args:
            prediction: label maps of all frames, integers ``(T, H, W)`` in 0..255, of which the first and the last are
                not scored; or, alone, the result of `score_sequence` (which reads one frame at a time).
            truth: label maps, the same shape. 255 is background, but object 1 if it is the only value besides 0
                (in the prediction: if the ground truth has only object 1, too).
            name: name of the video, for messages.
            frame_names: names of the frames, for messages; None numbers them.

        Raises:
            UsageError: the shapes differ or are not ``(T, H, W)``, values are not integers in 0..255, or the frame
                names are not one per frame.
            VOSError: fewer than three frames, or a predicted label is not an object.
        """
        scored = (
            prediction if isinstance(prediction, SequenceScores) else self._score(prediction, truth, name, frame_names)
        )
        for scores in scored.objects:
            self._add(list(mean_scores([scores]).values()))

    def _score(
        self,
        prediction: Tensor | ArrayLike,
        truth: Tensor | ArrayLike | None,
        name: str,
        frame_names: Sequence[str] | None,
    ) -> SequenceScores:
        if truth is None:
            raise UsageError(f"{name}: the ground truth is missing; pass label maps (T, H, W) as the second argument")
        predicted, true = (
            _label_maps(prediction, f"{name}: the prediction"),
            _label_maps(truth, f"{name}: the ground truth"),
        )
        if shows_one_object(true):
            true = objects_of(true, one_object=True)
        if shows_one_object(predicted) and set(np.unique(true)) <= {0, 1}:
            predicted = objects_of(predicted, one_object=True)
        if predicted.shape != true.shape or true.ndim != 3:
            raise UsageError(
                f"{name}: prediction {predicted.shape}, truth {true.shape}; both must have the same shape (T, H, W)"
            )
        frames = [f"{index:05d}" for index in range(len(true))] if frame_names is None else list(frame_names)
        index_of = {frame: index for index, frame in enumerate(frames)}
        if len(index_of) != len(true):
            raise UsageError(
                f"{name}: {len(index_of)} different frame names for {len(true)} frames; give one per frame"
            )
        return score_sequence(
            name,
            frames,
            lambda frame: predicted[index_of[frame]],
            lambda frame: true[index_of[frame]],
            official=self.official,
            drop_unknown_labels=self.drop_unknown_labels,
        )

    def compute(self) -> dict[str, Tensor]:
        """The seven numbers (`SCORE_NAMES`) over all objects of all videos, float64 scalars.

        Raises:
            VOSError: nothing was added.
        """
        return dict(zip(SCORE_NAMES, self._mean(), strict=True))
