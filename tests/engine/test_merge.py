"""Merging the objects' logits: probabilities, ties, extremes, given masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.engine.merge import given_logits, soft_aggregation
from vos_zoo.types import FrameResult

# -- merging ---------------------------------------------------------------------------------------------------------


@given(objects=st.integers(1, 6), scale=st.floats(0.1, 60), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_merged_probabilities_sum_to_one_and_follow_a_permutation(objects: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, objects, 3, 4, generator=generator)
    merged = soft_aggregation(logits)
    assert merged.shape == (2, objects + 1, 3, 4)
    torch.testing.assert_close(merged.sum(1), torch.ones(2, 3, 4))
    order = torch.randperm(objects, generator=generator)
    permuted = soft_aggregation(logits[:, order])
    torch.testing.assert_close(permuted, merged[:, [0, *(order + 1).tolist()]])


def test_a_single_object_becomes_the_sigmoid_of_twice_its_logit() -> None:
    logits = torch.linspace(-6, 6, 25).view(1, 5, 5)
    torch.testing.assert_close(soft_aggregation(logits)[1], (2 * logits[0]).sigmoid(), rtol=1e-4, atol=1e-5)


def test_extreme_logits_and_half_precision_merge_to_finite_float32() -> None:
    logits = torch.tensor([100.0, -100.0, 1e4, -1e4]).view(1, 2, 2).repeat(3, 1, 1)
    merged = soft_aggregation(logits.bfloat16())
    assert merged.dtype == torch.float32
    assert torch.isfinite(merged).all()


def test_ties_go_to_the_background_then_to_the_older_object() -> None:
    even = FrameResult(0, (7, 3), torch.tensor([[[0.4, 0.2]], [[0.4, 0.4]], [[0.2, 0.4]]]))
    assert even.label_map().tolist() == [[0, 7]]
    assert even.label_map().dtype == np.uint8


def test_overlapping_equal_logits_share_a_pixel_equally() -> None:
    merged = soft_aggregation(torch.full((2, 1, 1), 3.0))
    assert merged[1].item() == pytest.approx(merged[2].item())


def test_given_masks_are_certain_after_the_merge() -> None:
    masks = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    merged = soft_aggregation(given_logits(masks))
    torch.testing.assert_close(merged[:, 0], torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), atol=1e-5, rtol=0)
