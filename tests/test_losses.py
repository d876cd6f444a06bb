"""Losses against independent references, in float64 where digits matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vos_zoo.losses import LOSSES, class_map, lovasz_loss, mask_losses
from vos_zoo.types import UsageError


def by_definition(logits: Tensor, truth: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss, set by set: sorted errors times the marginal loss of each set."""
    errors = (truth.double() - logits.double().sigmoid()).abs().flatten()
    labels, order = truth.flatten().bool(), errors.argsort(descending=True)
    total, previous, wrong = errors.new_zeros(()), 0.0, torch.zeros_like(labels)
    for index in order:
        wrong[index] = True
        predicted = labels ^ wrong
        union = (labels | predicted).sum().item()
        loss = 1 - (labels & predicted).sum().item() / union if union else 0.0
        total = total + errors[index] * (loss - previous)
        previous = loss
    return total


def random_case(seed: int, pixels: int, share: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(pixels, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(pixels, generator=generator) < share).double()


@given(seed=st.integers(0, 10_000), pixels=st.integers(1, 30), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_lovasz_is_the_extension_of_the_jaccard_loss(seed: int, pixels: int, share: float) -> None:
    logits, truth = random_case(seed, pixels, share)
    assert lovasz_loss(logits, truth).item() == pytest.approx(by_definition(logits, truth).item(), abs=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 1.0])
def test_lovasz_equals_the_library_on_probabilities_of_the_foreground(share: float) -> None:
    from segmentation_models_pytorch.losses.lovasz import _lovasz_softmax

    logits, truth = random_case(3, 4 * 9 * 11, share)
    logits, truth = logits.float().view(4, 9, 11).requires_grad_(), truth.view(4, 9, 11)
    both = torch.stack([1 - logits.sigmoid(), logits.sigmoid()], dim=1)
    theirs = _lovasz_softmax(both, truth.long(), classes=[1])
    ours = lovasz_loss(logits, truth)
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(theirs, logits)
    (gradient,) = torch.autograd.grad(ours, logits)
    torch.testing.assert_close(gradient.double(), expected.double(), rtol=1e-4, atol=1e-7)


def test_lovasz_is_not_the_hinge_on_logits() -> None:
    from segmentation_models_pytorch.losses import LovaszLoss

    logits, truth = random_case(4, 200, 0.4)
    hinge = LovaszLoss("binary")(logits.view(1, 1, 10, 20).float(), truth.view(1, 1, 10, 20))
    assert abs(hinge.item() - lovasz_loss(logits, truth).item()) > 0.1


def test_without_foreground_the_loss_is_the_largest_error() -> None:
    logits, truth = random_case(5, 60, 0.0)
    assert lovasz_loss(logits, truth).item() == pytest.approx(logits.sigmoid().max().item(), abs=1e-6)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_everything() -> None:
    _, truth = random_case(6, 60, 0.5)
    perfect = 200 * (truth - 0.5)
    assert lovasz_loss(perfect, truth).item() == pytest.approx(0, abs=1e-6)
    assert lovasz_loss(-perfect, truth).item() == pytest.approx(1, abs=1e-6)


def test_all_pixels_of_the_batch_are_sorted_together() -> None:
    logits, truth = random_case(7, 80, 0.4)
    whole = lovasz_loss(logits.view(2, 40), truth.view(2, 40))
    assert whole.item() == pytest.approx(lovasz_loss(logits.flip(0), truth.flip(0)).item(), abs=1e-7)
    halves = (lovasz_loss(logits[:40], truth[:40]) + lovasz_loss(logits[40:], truth[40:])) / 2
    assert abs(whole.item() - halves.item()) > 1e-4


def test_lovasz_keeps_float64_and_its_gradient_passes_a_numerical_check() -> None:
    logits, truth = random_case(8, 24, 0.4)
    assert lovasz_loss(logits, truth).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: lovasz_loss(x, truth), logits.requires_grad_())


def test_lovasz_of_half_precision_is_computed_in_float32() -> None:
    logits, truth = random_case(9, 500, 0.3)
    half = logits.to(torch.bfloat16)
    assert lovasz_loss(half, truth).item() == pytest.approx(lovasz_loss(half.float(), truth).item(), abs=1e-6)
    assert lovasz_loss(half, truth).dtype == torch.float32


@pytest.mark.parametrize("seed", range(10, 13))
def test_float32_agrees_with_float64_on_many_pixels(seed: int) -> None:
    logits, truth = random_case(seed, 400_000, 0.02)
    exact = lovasz_loss(logits, truth).item()
    assert lovasz_loss(logits.float(), truth.float()).item() == pytest.approx(exact, rel=2e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_small_for_right_masks_large_for_wrong_ones_and_weighted(name: str) -> None:
    truth = torch.zeros(2, 1, 1, 16, 16)
    truth[..., 4:10, 3:12] = 1
    right, wrong = 20 * (truth - 0.5), -20 * (truth - 0.5)
    good, bad = (mask_losses(logits, truth, {name: 1.0})[name].item() for logits in (right, wrong))
    assert 0 <= good < 0.05
    assert bad > 0.5
    assert mask_losses(wrong, truth, {name: 10.0})[name].item() == pytest.approx(10 * bad, rel=1e-5)


def test_slots_without_an_object_count_for_nothing() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 2, 8, 8), (torch.rand(2, 3, 2, 8, 8) > 0.6).float()
    valid = torch.tensor([[True, False], [True, True]])
    weights = {"tversky": 1.0, "lovasz": 1.0, "bce": 1.0}
    before = mask_losses(logits, truth, weights, valid)
    logits[0, :, 1], truth[0, :, 1] = 9.0, 0.0
    assert mask_losses(logits, truth, weights, valid) == before
    nothing = mask_losses(logits, truth, weights, torch.zeros(2, 2, dtype=torch.bool))
    assert all(value == 0 for value in nothing.values())


def test_loss_terms_come_one_by_one_and_unknown_ones_are_refused_by_name() -> None:
    truth = torch.ones(1, 1, 1, 8, 8)
    assert list(mask_losses(truth, truth, {"dice": 1.0, "lovasz": 2.0})) == ["dice", "lovasz"]
    with pytest.raises(UsageError, match="dyce"):
        mask_losses(truth, truth, {"dyce": 1.0})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), objects=st.integers(1, 4))
def test_a_pixel_has_the_class_of_the_object_that_covers_more_than_half_of_it(seed: int, objects: int) -> None:
    masks = torch.rand(3, objects, 5, 6, generator=torch.Generator().manual_seed(seed))
    background = torch.full_like(masks[:, :1], 0.5)
    assert torch.equal(class_map(masks), torch.cat([background, masks], dim=1).argmax(dim=1))
    assert class_map(torch.tensor([[0.6, 0.5, 0.0], [0.2, 0.0, 1.0]])[:, None]).tolist() == [[1, 0, 2]]
