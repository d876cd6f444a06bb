"""The full frame as canvas, and canvases that several objects share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.contract_settings import BY_METHOD, build_lively, training_batch
from vos_zoo.engine.merge import GIVEN_LOGIT, given_logits
from vos_zoo.engine.views import FullFrame

# -- the full frame --------------------------------------------------------------------------------------------------


@given(size=st.tuples(st.integers(9, 70), st.integers(9, 70)), multiple=st.sampled_from([1, 8, 16, 32]))
@settings(max_examples=30, deadline=None)
def test_padding_and_unpadding_is_the_identity_at_any_size(size: tuple[int, int], multiple: int) -> None:
    view = FullFrame(multiple, pad_value=(10.0, 20.0, 30.0))
    frames = torch.randint(0, 256, (2, 3, *size)).float()
    canvases = view.project(frames, [0, 1])
    height, width = canvases.pixels.shape[-2:]
    assert height % multiple == width % multiple == 0
    assert 0 <= height - size[0] < multiple and 0 <= width - size[1] < multiple
    torch.testing.assert_close(view.emit(canvases.pixels[0]), frames, atol=1e-4, rtol=0)
    masks = torch.rand(2, *size)
    plane = view.to_plane(masks)
    assert plane.shape == (2, height, width)
    assert torch.equal(view.emit(plane), masks)
    assert plane.sum().item() == pytest.approx(masks.sum().item(), rel=1e-4)


@pytest.mark.parametrize("size", [(67, 91), (91, 67), (50, 50), (33, 120)], ids=str)
@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_a_resized_frame_comes_back_at_its_size_and_place(size: tuple[int, int], resize: str) -> None:
    view = FullFrame(16, short_edge=48, resize=resize)
    ys, xs = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    canvases = view.project(torch.stack([ys, xs, ys])[None], [0])
    assert canvases.pixels.shape[-2] % 16 == canvases.pixels.shape[-1] % 16 == 0
    back = view.emit(canvases.pixels[0])
    assert back.shape[-2:] == size
    assert (back[0, :2] - torch.stack([ys, xs])).abs().max() < 0.03


def test_objects_meet_on_the_canvas_and_masks_return_to_it_unchanged() -> None:
    view = FullFrame(16)
    canvases = view.project(torch.zeros(2, 3, 33, 45), [0, 1, 2])
    logits = torch.randn(1, 2, 3, 48, 48)
    assert torch.equal(view.lower(view.lift(logits, canvases), canvases), logits)


def test_admitting_late_objects_leaves_the_channels_of_the_others_empty() -> None:
    view = FullFrame(16)
    masks = torch.ones(2, 30, 40)
    canvases, given_masks = view.admit(torch.zeros(3, 30, 40), masks, [1, 3], [None, None])
    assert given_masks.shape == (1, 1, 4, *canvases.pixels.shape[-2:])
    assert given_masks[0, 0].sum(dim=(1, 2)).tolist() == [0, 1200, 0, 1200]


def test_padding_belongs_to_no_given_object_even_when_it_fills_the_frame() -> None:
    plane = FullFrame(16).to_plane(given_logits(torch.ones(1, 30, 40)), -GIVEN_LOGIT)
    assert (plane[0, 0] < 0).all()


# -- canvases that several objects share -----------------------------------------------------------------------------


@torch.no_grad()
def test_objects_that_share_some_canvases_equal_objects_with_canvases_of_their_own() -> None:
    network, batch = build_lively("lwl").network, training_batch("lwl", sequences=2)
    window, masks = torch.tensor([1, 0, 1]), batch.masks[:, :1][[0, 1, 0]].roll(5, -1)
    shared = network.encode(batch.frames[:, :1]).spread(window)
    apart = network.encode(batch.frames[window, :1])
    answers = []
    for features in (shared, apart):
        options = network.track_settings("stream", **BY_METHOD["lwl"].track)
        memory = network.initialise(network.new_memory(options), features, masks, [0, 1, 2])
        memory = network.update(memory, features.rows([2, 0]), masks[[2, 0]] * 0.7, [2, 0])
        answers.append(network.decode(network.read(memory, features), features))
    torch.testing.assert_close(answers[0], answers[1], atol=1e-4, rtol=1e-4)
    assert (answers[0][0] - answers[0][1]).abs().max() > 1e-2
