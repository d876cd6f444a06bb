"""The methods of the contract suite, and comparisons of tracks.

A new method passes by adding one entry to `tests/helpers/contract_settings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import (
    OUTSIDE,
    Video,
    settings_of,
    toy_installed,
)
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.types import Batch, FrameResult

METHODS = [*available_models(), *OUTSIDE]


def variants_of(field: str) -> list[Any]:
    """(method, name) for every entry of a mapping in the contract settings."""
    with toy_installed():
        return [pytest.param(m, n, id=f"{m}-{n}") for m in METHODS for n in getattr(settings_of(m), field)]


def run(model: VOSModel, video: Video, prompts: Mapping[int, Any] | None = None, **settings: Any) -> list[FrameResult]:
    """Track a video from the masks of its first frame."""
    return list(model.track(video.frames, prompts or {0: video.labels[0]}, **settings))


def check(results: list[FrameResult], video: Video) -> None:
    """One valid result per frame, in order, at the frame's size."""
    assert [result.index for result in results] == list(range(len(video.frames)))
    for result in results:
        assert result.probabilities.shape == (len(result.ids) + 1, *video.frames.shape[1:3])
        assert result.probabilities.dtype == torch.float32
        assert torch.isfinite(result.probabilities).all()
        assert result.probabilities.min() >= 0
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(video.frames.shape[1:3]), atol=1e-4, rtol=0)
        assert result.label_map().dtype == np.uint8
        assert set(np.unique(result.label_map())) <= {0, *result.ids}
        check_confidence(result)


def check_confidence(result: FrameResult) -> None:
    """Numbers of every object, in their ranges; an object without a mask is lost, unless its mask is given."""
    assert result.confidence is not None
    for f in fields(result.confidence):
        values = getattr(result.confidence, f.name)
        assert values.shape == (len(result.ids),), f.name
        if f.name in ("expected_iou", "soft_iou", "inside", "border"):
            assert ((values >= 0) & (values <= 1)).all(), f.name
    empty = torch.tensor([not (result.label_map()[::2, ::2] == i).any() for i in result.ids], dtype=torch.bool)
    given = result.confidence.expected_iou.cpu() == 1
    assert (result.confidence.lost.cpu() | given)[empty].all()


def difference(ours: list[FrameResult], theirs: list[FrameResult]) -> float:
    """Largest difference of probability, ids compared."""
    assert [(r.index, r.ids) for r in ours] == [(r.index, r.ids) for r in theirs]
    pairs = zip(ours, theirs, strict=True)
    return max((a.probabilities.cpu() - b.probabilities.cpu()).abs().max().item() for a, b in pairs)


def assert_informative(results: list[FrameResult]) -> None:
    """The comparison that follows would notice something: later frames are neither constant nor the prompt's."""
    spread = [result.probabilities[1:].std(dim=(1, 2)).mean().item() for result in results[1:]]
    assert max(spread) > 0.02, "the small network answers a constant; equality of outputs would prove nothing"


def step(model: VOSModel, batch: Batch) -> Tensor:
    unrolled = model.network.training_forward(batch)
    assert unrolled.logits.shape == unrolled.truth.shape
    return torch.stack(list(model.network.losses(unrolled, batch).values())).sum()


def inside(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)
