"""The unroll of training: its memory, where gradients flow, and its overlap score."""

from __future__ import annotations

import torch

from tests.helpers.contract_settings import build, training_batch
from vos_zoo.engine.target_model import unroll
from vos_zoo.methods.lwl.target_model import LWL
from vos_zoo.model import mean_jaccard

# -- the unroll ------------------------------------------------------------------------------------------------------


def small_lwl(refine: bool) -> LWL:
    network: LWL = build("lwl", refine_in_training=refine).eval().network  # type: ignore[assignment]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_the_memory_of_the_unroll_grows_by_one_sample_per_query_and_carries_gradients() -> None:
    network, batch, seen = small_lwl(True), training_batch("lwl", queries=3), []
    read = network.read
    network.read = lambda memory, features: (seen.append(memory), read(memory, features))[1]  # type: ignore[method-assign]
    unroll(network, batch)
    assert [memory.samples.filled for memory in seen] == [1, 2, 3]
    assert all(memory.kernel.requires_grad for memory in seen)
    assert not torch.equal(seen[0].kernel, seen[1].kernel)


def influence(refine: bool, query: int) -> list[bool]:
    """Whether the pixels of each frame reach the logits of a query through the unroll."""
    network, batch = small_lwl(refine), training_batch("lwl", queries=3)
    batch.frames.requires_grad_()
    logits = unroll(network, batch).logits
    (gradient,) = torch.autograd.grad(logits[:, query].square().sum(), batch.frames)
    return [bool(frame.any()) for frame in gradient.unbind(1)]


def test_with_refinement_gradients_flow_through_the_filter_from_all_earlier_frames() -> None:
    assert influence(refine=True, query=2) == [True, True, True, True]
    assert influence(refine=True, query=0) == [True, True, False, False]


def test_without_refinement_every_query_depends_on_the_reference_and_itself_only() -> None:
    assert influence(refine=False, query=2) == [True, False, False, True]


def test_predicted_masks_enter_the_memory_without_a_gradient() -> None:
    network, batch, given_masks = small_lwl(True), training_batch("lwl"), []
    encode = network._encode_sample
    network._encode_sample = lambda f, m: (given_masks.append(m), encode(f, m))[1]  # type: ignore[method-assign]
    unroll(network, batch)
    assert len(given_masks) == 2
    assert not any(mask.requires_grad for mask in given_masks)


def test_without_end_to_end_the_learner_gets_no_gradient_from_the_decoder() -> None:
    model = build("lwl", end_to_end=False).train()
    batch = training_batch("lwl")
    sum(model.network.losses(model.network.training_forward(batch), batch).values()).backward()  # type: ignore[union-attr]
    gradients = {name: parameter.grad for name, parameter in model.network.named_parameters()}
    assert all(value is None for name, value in gradients.items() if name.startswith(("learner", "label_encoder")))
    assert all(value is not None for name, value in gradients.items() if name.startswith("decoder"))


def test_empty_slots_do_not_count_in_the_overlap_of_a_training_step() -> None:
    truth = torch.zeros(1, 2, 2, 4, 4)
    truth[:, :, 0] = 1
    logits = torch.ones(1, 2, 2, 4, 4)  # the second slot predicts an object that is not there
    assert mean_jaccard(logits, truth).item() == 0.5
    assert mean_jaccard(logits, truth, torch.tensor([[True, False]])).item() == 1
    assert mean_jaccard(logits, truth, torch.tensor([[False, False]])).item() == 1
