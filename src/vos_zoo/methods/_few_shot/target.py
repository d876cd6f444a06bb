"""Target models in the papers' sense, and the few-shot branch: a filter fitted to label encodings (LWL, sec. 3).

A `Target` maps features to the decoder's input: initialise, read, update. It owns no parameters; it refers to
modules of the model that uses it, so that methods share a branch and keep their own entry names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from vos_zoo.config.settings.rules import setting
from vos_zoo.engine.features import Pyramid
from vos_zoo.engine.memory import MemoryT
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.methods._few_shot.learner import FewShotLearner, FilterState, apply_kernel
from vos_zoo.methods._few_shot.sample_memory import SampleMemory, SamplePolicy
from vos_zoo.nn.norms import instance_l2_norm
from vos_zoo.nn.precision import full_precision
from vos_zoo.tensors import constant, seen
from vos_zoo.types import UsageError

SeenT = TypeVar("SeenT", bound=Pyramid, contravariant=True)
"""Features that a target reads."""
RESCORE_EVERY = 64
"""Writes after which the scores are recomputed, so that rounding errors do not accumulate."""


@dataclass(frozen=True)
class LearnerTrackSettings(TrackSettings):
    """Inference settings of methods with search regions and a few-shot learner; defaults are LWL's for masks."""

    size: tuple[int, int] = setting((480, 832), "canvas (h, w) of the search regions, multiples of 16", minimum=32)
    area_scale: float = setting(5.0, "side of the search region in object sides", above=0)
    scale_change: tuple[float, float] = setting(
        (0.95, 1.1), "limits of the change of scale per frame", above=0, ascending=True
    )
    minimum_area: float = setting(
        100.0, "an object with less probability mass, in pixels, keeps its position", minimum=0
    )
    arithmetic: str = setting(
        "integer",
        "crop arithmetic: `integer` (published results) or `half_pixel` (releases since 2022)",
        choices=("integer", "half_pixel"),
    )
    stable_windows: bool = setting(
        True, "windows as large as the image are always exactly so; only then objects can share them"
    )
    capacity: int = setting(32, "samples in memory per object", minimum=2)
    learning_rate: float = setting(
        0.1, "weight of the newest sample (mu in the paper's decay 1 - eta)", minimum=0, maximum=1
    )
    minimum_first_weight: float = setting(
        0.25, "minimum weight of the first sample; 0 for none, and it may be replaced", minimum=0, maximum=1
    )
    equal_second: bool = setting(False, "whether the second sample weighs as much as the first")
    first_iterations: int = setting(20, "learner iterations in an object's first frame", minimum=0)
    update_iterations: int = setting(3, "learner iterations per refresh", minimum=0)
    refresh_every: int = setting(1, "the filter is updated at every n-th sample", minimum=1)

    def check(self) -> None:
        """Sides of the canvas are multiples of 16."""
        if any(side % 16 for side in self.size):
            raise UsageError(f"track.size is {self.size}; give height and width as multiples of 16, at least 32")


def sample_policy(settings: LearnerTrackSettings | None) -> SamplePolicy:
    """How samples are weighted and replaced; None: as in training, with equal weights."""
    if settings is None:
        return SamplePolicy(temporal=False)
    return SamplePolicy(settings.capacity, settings.learning_rate, settings.minimum_first_weight, settings.equal_second)


class Target(ABC, Generic[MemoryT, SeenT]):
    """Initialise, read, update: what a method knows of its objects, on samples that are encoded already.

    Callers run `initialise` and `update` in full precision (`vos_zoo.nn.precision`).

    A *sample* is a dictionary of tensors ``(B, ...)``: what `sample` takes from the features, and the label encodings
    the model adds. A target picks the entries it needs, so several targets can share one sample.
    """

    @abstractmethod
    def project_features(self, f16: Tensor) -> dict[str, Tensor]:
        """What this target needs of the pixels, from ``(B, C, h/16, w/16)``: fields of the model's features."""

    @abstractmethod
    def sample(self, features: SeenT) -> dict[str, Tensor]:
        """The part of a sample that depends on pixels only, from the first frame of `features`, ``(B, ...)``."""

    @abstractmethod
    def new_memory(self, settings: LearnerTrackSettings | None) -> MemoryT:
        """Empty memory; None: of the training unroll."""

    @abstractmethod
    def initialise(self, memory: MemoryT, sample: Mapping[str, Tensor], new: Sequence[int]) -> MemoryT:
        """Start the objects `new` from one sample each."""

    @abstractmethod
    def read(self, memory: MemoryT, features: SeenT) -> Tensor:
        """Mask encodings ``(B, T, 1, D, h/16, w/16)``."""

    @abstractmethod
    def update(
        self, memory: MemoryT, sample: Mapping[str, Tensor], rows: Sequence[int] | None, given: bool = False
    ) -> MemoryT:
        """Learn one sample of each of the objects `rows` (None: all); a given one is kept for good."""

    def fitted(self, memory: MemoryT) -> Tensor | None:
        """How each object's newest sample is fitted, for `minus_residual`, copied; None: nothing is fitted.

        Returns:
            Scores, labels and weights, ``(B, 3, D, h, w)``.
        """
        return None


def minus_residual(fitted: Tensor) -> Tensor:
    """Minus the squared error of a filter on samples, by that of a zero filter (eq. 1).

    Args:
        fitted: scores, labels and weights of F samples per object, ``(B, F, 3, D, h, w)``.

    Returns:
        ``(B, F, 1)``, 0 or less.
    """
    scores, labels, weights = fitted.flatten(3).unbind(dim=2)
    error, whole = (weights * (scores - labels)).square().sum(dim=-1), (weights * labels).square().sum(dim=-1)
    return -(error / whole.clamp(min=1e-9))[..., None]


@dataclass(frozen=True)
class FewShotFeatures(Pyramid):
    """The pyramid, and the few-shot branch's view of it.

    Attributes:
        target: L2-normalised target-model features ``(U, T, C, h/16, w/16)``, float32; None without this branch.
    """

    target: Tensor = None  # type: ignore[assignment]


@dataclass(frozen=True)
class LearnerSchedule:
    """Iterations in the first frame and per update, and writes per update."""

    first: int
    update: int
    every: int = 1


@dataclass(frozen=True)
class FewShotMemory:
    """Samples of `B` objects with their label encodings, and the filter fitted to them.

    Attributes:
        schedule: learner iterations.
        samples: buffers "features" ``(S, B, C, h, w)``, "labels", "weights", "scores" ``(S, B, D, h, w)``; labels and
            weights are encoded once, when a sample is written.
        kernel: the filters as rows, ``(B, 9 D, C)``.
        writes: samples written after the first one, per object.
    """

    schedule: LearnerSchedule
    samples: SampleMemory
    kernel: Tensor
    writes: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.samples.nbytes + self.kernel.numel() * self.kernel.element_size()

    def drop(self, slots: Sequence[int]) -> FewShotMemory:
        """The memory without the objects in `slots`."""
        kept = [row for row in range(len(self.writes)) if row not in set(slots)]
        writes = tuple(self.writes[row] for row in kept)
        return replace(self, samples=self.samples.drop(slots), kernel=self.kernel[kept], writes=writes)

    def for_reading(self) -> FewShotMemory:
        """The filter alone."""
        return FewShotMemory(self.schedule, SampleMemory(self.samples.policy), self.kernel)

    def to(self, device: torch.device | str) -> FewShotMemory:
        """The same memory on `device`."""
        return replace(self, samples=self.samples.to(device), kernel=self.kernel.to(device))


class FewShotTarget(Target[FewShotMemory, FewShotFeatures]):
    """One 3x3 filter per object, fitted to the encodings of its masks (LWL, sec. 3.1-3.5).

    Samples need "features" ``(B, C, h, w)``, "labels" and "weights" ``(B, D, h, w)``.

    Args:
        feature_conv: backbone features at stride 16 -> target-model features, before their norm.
        learner: the steepest descent.
        outputs: channels D of the labels.
        train_schedule: learner iterations in training.
    """

    def __init__(
        self, feature_conv: nn.Conv2d, learner: FewShotLearner, outputs: int, train_schedule: LearnerSchedule
    ) -> None:
        self.feature_conv = feature_conv
        self.learner = learner
        self.outputs = outputs
        self.train_schedule = train_schedule
        self.feature_scale = sqrt(1 / (feature_conv.out_channels * 9))

    def project_features(self, f16: Tensor) -> dict[str, Tensor]:
        """Target-model features "target" ``(B, C, h, w)`` (sec. 3.1)."""
        return {"target": instance_l2_norm(full_precision(self.feature_conv(f16)), self.feature_scale)}

    def sample(self, features: FewShotFeatures) -> dict[str, Tensor]:
        """The objects' features, ``(B, C, h, w)``."""
        return {"features": features.gather(features.target)[:, 0]}

    def new_memory(self, settings: LearnerTrackSettings | None) -> FewShotMemory:
        """Empty memory: with temporal weights and a ring buffer for `settings`, plain and growing for training."""
        empty = self.learner.filter_reg.new_zeros(0, 9 * self.outputs, self.feature_conv.out_channels).detach()
        schedule = self.train_schedule
        if settings is not None:
            schedule = LearnerSchedule(settings.first_iterations, settings.update_iterations, settings.refresh_every)
        return FewShotMemory(schedule, SampleMemory(sample_policy(settings)), empty)

    def initialise(self, memory: FewShotMemory, sample: Mapping[str, Tensor], new: Sequence[int]) -> FewShotMemory:
        """FilterState a filter to each object's first mask, from zero (sec. 3.2)."""
        first = {name: sample[name][None] for name in ("features", "labels", "weights")}
        fit = self.fit(self.learner.start(first["features"], self.outputs), first, memory.schedule.first)
        own = {name: value[0] for name, value in first.items()}
        samples = memory.samples.start({**own, "scores": fit.scores[0]}, new)
        total, kernel = len(samples), fit.kernel
        if list(new) != list(range(total)):
            kernel = fit.kernel.new_zeros(total, *fit.kernel.shape[1:])
            kernel[: len(memory.kernel)] = memory.kernel
            kernel[list(new)] = fit.kernel
        writes = [*memory.writes, *[0] * (total - len(memory.writes))]
        for row in new:
            writes[row] = 0
        return FewShotMemory(memory.schedule, samples, kernel, tuple(writes))

    def read(self, memory: FewShotMemory, features: FewShotFeatures) -> Tensor:
        """Each object's filter on its canvas, ``(B, T, 1, D, h/16, w/16)`` (sec. 3.1, eq. 1)."""
        scores = apply_kernel(features.gather(features.target).transpose(0, 1), memory.kernel)
        return scores.transpose(0, 1)[:, :, None]

    def update(
        self, memory: FewShotMemory, sample: Mapping[str, Tensor], rows: Sequence[int] | None, given: bool = False
    ) -> FewShotMemory:
        """Store the samples and refine the filters that are due (sec. 3.5).

        A given sample has the iterations of a first frame, from the filter that there is, and does not count as one
        of the writes after which a filter is due.
        """
        rows = list(range(len(memory.writes)) if rows is None else rows)
        own = {name: sample[name] for name in ("features", "labels", "weights")}
        own["scores"] = apply_kernel(own["features"][None], seen(memory.kernel, rows))[0]
        samples = memory.samples.write(own, rows, given)
        if given:
            return self._refine(replace(memory, samples=samples), rows, memory.schedule.first)
        writes = tuple(count + (row in rows) for row, count in enumerate(memory.writes))
        memory = FewShotMemory(memory.schedule, samples, memory.kernel, writes)
        due = [row for row in rows if (writes[row] + 1) % memory.schedule.every == 0]
        return self._refine(memory, due, memory.schedule.update) if due else memory

    def fitted(self, memory: FewShotMemory) -> Tensor:
        """Scores, labels and weights of each object's newest sample, ``(B, 3, D, h, w)``."""
        return torch.stack(memory.samples.newest("scores", "labels", "weights"), dim=1)

    def fit(
        self, fit: FilterState, samples: Mapping[str, Tensor], iterations: int, temporal: Tensor | None = None
    ) -> FilterState:
        """Some learner iterations.

        Args:
            fit: the initial filter and its scores.
            samples: "features" ``(S, B, C, h, w)``, "labels" and "weights" ``(S, B, D, h, w)``.
            iterations: steps.
            temporal: weight of every sample, ``(S, B)``; None: one.
        """
        weights = samples["weights"]
        if temporal is not None:
            weights = weights * temporal[..., None, None, None]
        fitted: FilterState = self.learner(fit, samples["features"], samples["labels"], weights, iterations)
        return fitted

    def _refine(self, memory: FewShotMemory, rows: list[int], iterations: int) -> FewShotMemory:
        """Refine the filters of the objects `rows` on all stored samples, with temporal weights."""
        store, everyone = memory.samples, len(rows) == len(memory.writes)
        picked = {name: store.samples(name) for name in store.buffers}
        temporal, kernel = store.sample_weights(), memory.kernel
        if not everyone:
            picked = {name: seen(value, rows, dim=1) for name, value in picked.items()}
            temporal, kernel = seen(temporal, rows, dim=1), seen(kernel, rows)
        scores = picked["scores"]
        if max(memory.writes[row] for row in rows) % RESCORE_EVERY == 0:
            scores = apply_kernel(picked["features"], kernel)
        fit = self.fit(FilterState(kernel, scores), picked, iterations, temporal)
        if store.grows:
            samples = replace(store, buffers={**store.buffers, "scores": fit.scores})
            return replace(memory, samples=samples, kernel=fit.kernel)
        if everyone:
            store.buffers["scores"][: store.filled] = fit.scores
            return replace(memory, kernel=fit.kernel)
        own = constant(tuple(rows), kernel.device, torch.int64)
        store.buffers["scores"][: store.filled].index_copy_(1, own, fit.scores)
        kernel = memory.kernel.index_copy(0, own, fit.kernel)
        return replace(memory, kernel=kernel)
