"""The engine and its parts: memory, merging, views, search regions, propagator, unroll, optimisation groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.contract_settings import BY_METHOD, build, build_lively, moving_squares, training_batch
from tests.helpers.toy_model import ToyMemory, ToyModel
from vos_zoo.engine.merge import GIVEN_LOGIT, given_logits, soft_aggregation
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.engine.target_model import unroll
from vos_zoo.engine.views import FullFrame
from vos_zoo.methods._few_shot.sample_memory import SampleMemory, SamplePolicy
from vos_zoo.methods._few_shot.search_region import (
    SearchRegion,
    box_of_mask,
    crop_window,
    cut,
    mask_moments,
    paste,
    placement,
)
from vos_zoo.methods.lwl.target_model import LWL, LWLMemory
from vos_zoo.model import mean_jaccard
from vos_zoo.training.optimisation import freeze_unnamed, parameter_groups
from vos_zoo.types import FrameResult, UsageError

# -- sample memory ---------------------------------------------------------------------------------------------------

POLICIES = st.builds(
    SamplePolicy,
    capacity=st.integers(2, 9),
    learning_rate=st.floats(0.02, 0.6),
    minimum_first_weight=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    equal_second=st.booleans(),
)


def numbered(value: float, rows: int = 1) -> dict[str, Tensor]:
    """A sample that can be recognised."""
    return {"x": torch.full((rows, 2), value)}


@given(policy=POLICIES, writes=st.integers(0, 25))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_sample_weights_sum_to_one_up_to_the_floor_of_the_first(policy: SamplePolicy, writes: int) -> None:
    memory = SampleMemory(policy).start(numbered(0), [0])
    for k in range(writes):
        memory = memory.write(numbered(k + 1))
        weights, floor = memory.weights[:, 0], policy.minimum_first_weight
        assert (weights >= 0).all()
        if floor and weights[0] <= floor * (1 + 1e-6):
            assert weights[0].item() == pytest.approx(floor)
            assert 1 - 1e-5 <= weights.sum() <= floor + 1 / (1 + floor) + 1e-5
        else:
            assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        assert not weights[memory.filled :].any()


@given(policy=POLICIES, writes=st.integers(1, 25))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_the_ring_fills_before_it_overwrites_and_keeps_a_floored_first_sample(
    policy: SamplePolicy, writes: int
) -> None:
    memory = SampleMemory(policy).start(numbered(0), [0])
    size = memory.nbytes
    for k in range(1, writes + 1):
        before = memory.samples("x")[:, 0, 0].tolist()
        memory = memory.write(numbered(k))
        held = memory.samples("x")[:, 0, 0].tolist()
        assert memory.filled == len(held) == min(k + 1, policy.capacity)
        assert memory.nbytes == size
        assert held[memory.latest[0]] == k
        lost = set(before) - set(held)
        assert len(lost) == (k >= policy.capacity)
        assert k not in before
        if policy.minimum_first_weight > 0:
            assert held[0] == 0, "the first sample gave way although its weight has a floor"


@torch.no_grad()
def test_without_a_floor_the_oldest_sample_gives_way_the_first_included() -> None:
    memory = SampleMemory(SamplePolicy(3, minimum_first_weight=0.0, equal_second=True)).start(numbered(0), [0])
    held = []
    for k in range(1, 7):
        memory = memory.write(numbered(k))
        held.append(sorted(memory.samples("x")[:, 0, 0].tolist()))
    assert held[1:] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]


@torch.no_grad()
def test_newer_samples_weigh_more_by_the_learning_rate() -> None:
    memory = SampleMemory(SamplePolicy(8, learning_rate=0.2, minimum_first_weight=0.0)).start(numbered(0), [0])
    for k in range(1, 6):
        memory = memory.write(numbered(k))
    weights = memory.sample_weights()[:, 0]
    torch.testing.assert_close(weights[2:] / weights[1:-1], torch.full((4,), 1 / 0.8))


@torch.no_grad()
def test_objects_of_one_memory_keep_their_own_rings() -> None:
    memory = SampleMemory(SamplePolicy(3)).start({"x": torch.tensor([[1.0], [2.0]])}, [0, 1])
    memory = memory.write({"x": torch.tensor([[20.0]])}, rows=[1])
    memory = memory.start({"x": torch.tensor([[3.0]])}, [2])
    memory = memory.write({"x": torch.tensor([[11.0], [21.0], [31.0]])})
    assert memory.counts == (2, 3, 2)
    assert memory.samples("x")[..., 0].tolist() == [[1, 2, 3], [11, 20, 31], [0, 21, 0]]
    assert not memory.sample_weights()[2, [0, 2]].any(), "a slot without a sample must not count"
    rest = memory.drop([1])
    assert len(rest) == 2
    assert rest.counts == (2, 2)
    assert rest.samples("x")[..., 0].tolist() == [[1, 3], [11, 31]]
    assert rest.nbytes < memory.nbytes


@torch.no_grad()
def test_starting_a_known_object_anew_forgets_what_it_had() -> None:
    memory = SampleMemory(SamplePolicy(4)).start({"x": torch.tensor([[1.0], [2.0]])}, [0, 1])
    memory = memory.write({"x": torch.tensor([[10.0], [20.0]])}).start({"x": torch.tensor([[5.0]])}, [0])
    assert memory.counts == (1, 2)
    assert memory.samples("x")[..., 0].tolist() == [[5, 2], [0, 20]]
    assert memory.sample_weights()[:, 0].tolist() == [1, 0]


@torch.no_grad()
def test_moving_a_memory_keeps_its_contents() -> None:
    memory = SampleMemory(SamplePolicy(3)).start(numbered(1), [0]).write(numbered(2))
    moved = memory.to("cpu")
    assert torch.equal(moved.samples("x"), memory.samples("x"))
    assert (moved.counts, moved.latest, moved.nbytes) == (memory.counts, memory.latest, memory.nbytes)
    assert memory.to("meta").buffers["x"].is_meta


@pytest.mark.parametrize("wrong", [{"capacity": 1}, {"learning_rate": 0.0}, {"learning_rate": 1.0}])
def test_impossible_policies_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplePolicy(**wrong)


# -- merging ---------------------------------------------------------------------------------------------------------


@given(objects=st.integers(1, 6), scale=st.floats(0.1, 60), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
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


# -- search regions --------------------------------------------------------------------------------------------------

IMAGES = st.tuples(st.integers(20, 150), st.integers(20, 150))
SHARES = st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2))


@given(
    image=IMAGES,
    share=SHARES,
    side=st.tuples(st.floats(2, 400), st.floats(2, 400)),
    half_pixel=st.just(False),
    stable=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_an_inside_window_lies_in_the_image(
    image: tuple[int, int], share: tuple[float, float], side: tuple[float, float], half_pixel: bool, stable: bool
) -> None:
    centre = (share[0] * image[0], share[1] * image[1])
    window = crop_window(centre, side, (200, 200), image, border="inside", half_pixel=half_pixel, stable=stable)
    assume(window.step == 1)
    assert 0 <= window.top < window.bottom <= image[0]
    assert 0 <= window.left < window.right <= image[1]


@given(
    image=IMAGES,
    canvas=st.sampled_from([(64, 96), (96, 64), (64, 64), (480, 832)]),
    shares=st.tuples(SHARES, SHARES),
    scales=st.tuples(st.floats(1.0, 8.0), st.floats(1.0, 8.0)),
)
@settings(max_examples=150, deadline=None)
def test_stable_windows_larger_than_the_image_are_one_window_as_large_as_the_image(
    image: tuple[int, int],
    canvas: tuple[int, int],
    shares: tuple[tuple[float, float], tuple[float, float]],
    scales: tuple[float, float],
) -> None:
    shape, sides = np.asarray(image, np.float32), np.asarray(canvas, np.float32)
    fitting = (shape / sides).max() * 1.01  # both axes at least as long as the image's
    windows = [
        crop_window(np.asarray(share) * shape, sides * np.float32(fitting * scale), canvas, image, stable=True)
        for share, scale in zip(shares, scales, strict=True)
    ]
    assume(all(window.step == 1 for window in windows))
    sides_cut = windows[0].bottom - windows[0].top, windows[0].right - windows[0].left
    over = [own - side for own, side in zip(sides_cut, image, strict=True)]
    assert min(over) == 0, (windows[0], image)
    assume(max(over) != 1)  # one odd pixel too many sticks out on the object's side: the published arithmetic
    assert windows[0] == windows[1]


@given(
    corner=st.tuples(st.integers(-30, 60), st.integers(-30, 60)),
    side=st.tuples(st.integers(2, 50), st.integers(2, 50)),
    mask=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_cutting_without_resize_copies_pixels_and_extends_the_border(
    corner: tuple[int, int], side: tuple[int, int], mask: bool
) -> None:
    image = torch.arange(40 * 37, dtype=torch.float32).view(1, 1, 40, 37) + 1
    centre = (corner[0] + (side[0] - 1) // 2, corner[1] + (side[1] - 1) // 2)
    window = crop_window(centre, side, side, (40, 37), border="replicate")
    assume(centre[0] >= 0 and centre[1] >= 0)
    assert (window.top, window.left) == corner
    patch = cut(image, window, side, mask=mask)[0, 0]
    ys, xs = np.arange(corner[0], corner[0] + side[0]), np.arange(corner[1], corner[1] + side[1])
    expected = image[0, 0].numpy()[ys.clip(0, 39)[:, None], xs.clip(0, 36)]
    if mask:
        inside = ((ys >= 0) & (ys < 40))[:, None] & ((xs >= 0) & (xs < 37))
        expected = np.where(inside, expected, 0)
    np.testing.assert_array_equal(patch.numpy(), expected)


@given(
    centre=st.tuples(st.floats(30, 90), st.floats(30, 110)),
    side=st.floats(20, 60),
    canvas=st.sampled_from([(48, 64), (64, 64), (32, 80)]),
    half_pixel=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_pasting_what_was_cut_puts_it_back_in_place(
    centre: tuple[float, float], side: float, canvas: tuple[int, int], half_pixel: bool
) -> None:
    image = (120, 140)
    ys, xs = torch.meshgrid(torch.arange(120.0), torch.arange(140.0), indexing="ij")
    size = (side, side * canvas[1] / canvas[0])
    window = crop_window(centre, size, canvas, image, half_pixel=half_pixel)
    scale, middle = placement(window.corners, canvas)
    for ramp in (ys, xs):  # a ramp's values are its positions: the error is a distance in pixels
        back = paste(cut(ramp[None, None], window, canvas)[0], scale, middle, image)[0]
        seen = back > -GIVEN_LOGIT
        assert seen.any()
        inner = torch.zeros_like(seen)
        inner[window.top + 3 : window.bottom - 3, window.left + 3 : window.right - 3] = True
        assert (back - ramp)[seen & inner].abs().max() <= 2
        far = torch.ones_like(seen)
        far[max(window.top - 3, 0) : window.bottom + 3, max(window.left - 3, 0) : window.right + 3] = False
        assert not (seen & far).any(), "pasted outside of the window"


def test_what_lies_outside_of_a_window_is_certainly_background() -> None:
    pasted = paste(torch.zeros(1, 8, 8), 1.0, (10, 12), (20, 30))[0]
    assert (pasted == 0).sum() == 64
    assert (pasted[pasted != 0] == -100).all()
    assert (paste(torch.zeros(1, 8, 8), 1.0, (200, 200), (20, 30)) == -100).all()


def test_boxes_of_masks_follow_the_evaluation_convention_and_never_vanish() -> None:
    mask = torch.zeros(10, 12)
    assert box_of_mask(mask) == (-1, -1, -1, -1)
    mask[4, 5] = 1
    assert box_of_mask(mask) == (5, 4, 1, 1)
    mask[4:8, 5:11] = 1
    assert box_of_mask(mask) == (5, 4, 5, 3)


def test_moments_of_a_rectangle_are_its_mass_centre_and_four_deviations() -> None:
    mask = torch.zeros(2, 20, 30)
    mask[0, 4:8, 10:20] = 0.5
    mass, centre, size = mask_moments(mask)
    assert mass.tolist() == [20, 0]
    np.testing.assert_allclose(centre[0], [5.5, 14.5])
    np.testing.assert_allclose(size[0], [4 * np.sqrt(15 / 12), 4 * np.sqrt(99 / 12)], rtol=1e-5)
    assert np.isfinite(centre).all() and np.isfinite(size).all()


def region(mask: Tensor, **options: Any) -> SearchRegion:
    view = SearchRegion((64, 96), **options)
    view.admit(torch.zeros(3, *mask.shape), mask[None], [0], [None])
    return view


def test_a_region_stays_where_an_object_was_when_too_little_of_it_is_seen() -> None:
    mask = torch.zeros(80, 120)
    mask[20:40, 30:60] = 1
    view = region(mask)
    before = view.targets[0].centre.copy(), view.targets[0].scale
    faint = torch.zeros(2, 80, 120)
    faint[1, 70:75, 100:110] = 1
    view.relocate(faint)
    np.testing.assert_array_equal(view.targets[0].centre, before[0])
    faint[1, 60:78, 90:115] = 1
    view.relocate(faint)
    assert view.targets[0].centre[0] > 60


@pytest.mark.parametrize(("grow", "limit"), [(3, 1.1), (0.4, 0.95)])
def test_the_scale_of_a_region_changes_by_limited_steps(grow: float, limit: float) -> None:
    mask = torch.zeros(80, 120)
    mask[30:50, 40:70] = 1
    view = region(mask, minimum_area=10)
    view.relocate(torch.stack([1 - mask, mask]))
    before = view.targets[0].scale
    other = torch.zeros(80, 120)
    height, width = int(20 * grow), int(30 * grow)
    other[40 - height // 2 : 40 + height // 2, 55 - width // 2 : 55 + width // 2] = 1
    view.relocate(torch.stack([1 - other, other]))
    assert view.targets[0].scale / before == pytest.approx(limit, rel=1e-5)


def test_regions_close_ranks_when_an_object_is_dropped() -> None:
    masks = torch.zeros(3, 80, 120)
    for k in range(3):
        masks[k, 10:30, 10 + 30 * k : 30 + 30 * k] = 1
    view = SearchRegion((64, 96))
    view.admit(torch.zeros(3, 80, 120), masks, [0, 1, 2], [None] * 3)
    middle, last = view.targets[1], view.targets[2]
    view.drop([0])
    assert view.targets == [middle, last] or all(a is b for a, b in zip(view.targets, (middle, last), strict=True))


# -- the full frame --------------------------------------------------------------------------------------------------


@given(size=st.tuples(st.integers(9, 70), st.integers(9, 70)), multiple=st.sampled_from([1, 8, 16, 32]))
@settings(max_examples=40, deadline=None)
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


# -- the propagator --------------------------------------------------------------------------------------------------


class WatchedToy(ToyModel):
    """Notes what the engine asks of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.4)
        self.calls: list[tuple[str, Any]] = []
        self.eval()

    def encode(self, frames: Tensor) -> Any:
        self.calls.append(("encode", tuple(frames.shape)))
        return super().encode(frames)

    def initialise(self, memory: ToyMemory, features: Any, masks: Tensor, new: Sequence[int]) -> ToyMemory:
        after = super().initialise(memory, features, masks, new)
        self.calls.append(("initialise", after))
        return after

    def update(self, memory: ToyMemory, features: Any, masks: Tensor, rows: Sequence[int] | None = None) -> ToyMemory:
        after = super().update(memory, features, masks, rows)
        self.calls.append(("update", after))
        return after

    def named(self, verb: str) -> list[Any]:
        return [value for name, value in self.calls if name == verb]


def engine_of(model: ToyModel, **options: Any) -> Propagator:
    return Propagator(model, model.track_settings(None, **options))


def test_a_method_that_reads_clips_gets_clips_and_results_wait_for_them() -> None:
    model, video = WatchedToy(), moving_squares(9)
    engine = engine_of(model)
    counts = [len(engine.push(frame, video.labels[0] if t == 0 else None)) for t, frame in enumerate(video.frames)]
    assert counts == [1, 0, 0, 3, 0, 0, 3, 0, 0]
    assert [result.index for result in engine.flush()] == [7, 8]
    assert engine.flush() == []
    assert [shape[1] for shape in model.named("encode")] == [1, 3, 3, 2]


def test_a_prompt_in_the_middle_of_a_clip_cuts_the_clip_there() -> None:
    model, video = WatchedToy(), moving_squares(8)
    engine = engine_of(model)
    prompts = {0: video.only(1), 2: video.only(2, frame=2)}
    results = [engine.push(frame, prompts.get(t)) for t, frame in enumerate(video.frames)]
    assert [[r.index for r in part] for part in results] == [[0], [], [1, 2], [], [], [3, 4, 5], [], []]
    assert [r.ids for part in results for r in part] == [(1,), (1,), (1, 2), (1, 2), (1, 2), (1, 2)]


def test_a_write_runs_when_the_next_clip_needs_it_and_the_last_one_never() -> None:
    model, video = WatchedToy(), moving_squares(10)
    engine = engine_of(model)
    updates = []
    for t, frame in enumerate(video.frames):
        engine.push(frame, video.labels[0] if t == 0 else None)
        updates.append(len(model.named("update")))
    assert updates == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_a_method_is_given_the_prompt_on_its_canvas_and_later_what_the_merge_says() -> None:
    model, video = WatchedToy(), moving_squares(7, (60, 90))
    engine = engine_of(model, short_edge=None)
    results = [r for t, f in enumerate(video.frames) for r in engine.push(f, video.labels[0] if t == 0 else None)]
    view = FullFrame(32)
    view.project(torch.zeros(1, 3, 60, 90), [])
    first = model.named("initialise")[0].events[-1]
    assert first.canvas == (64, 96)
    given_masks = view.emit(first.masks[0])[0].numpy()
    assert (given_masks == np.stack([video.labels[0] == 1, video.labels[0] == 2])).all()
    learned = model.named("update")[0].events[-1]
    assert learned.frames == 3
    merged = torch.stack([result.probabilities[1:] for result in results[1:4]])
    torch.testing.assert_close(view.emit(learned.masks[0]), merged)


def test_known_objects_are_learned_where_somebody_gives_a_mask_if_the_method_asks_for_it() -> None:
    video = moving_squares(5)
    for wanted in (False, True):
        model = WatchedToy()
        model.schedule = WriteSchedule(clip_length=3, memory_every=100, write_on_prompt=wanted)
        engine = engine_of(model)
        for t, frame in enumerate(video.frames):
            engine.push(frame, {0: video.only(1), 3: video.only(2, frame=3)}.get(t))
        assert len(model.named("update")) == int(wanted)


def test_given_masks_win_over_predictions_and_known_objects_go_on_predicting_there() -> None:
    model, video = WatchedToy(), moving_squares(6, objects=3)
    engine = engine_of(model, short_edge=None, multiple=2)
    late = video.only(3, frame=4)
    results = [r for t, f in enumerate(video.frames) for r in engine.push(f, {0: video.only(1, 2), 4: late}.get(t))]
    here = results[4].probabilities
    assert results[4].ids == (1, 2, 3)
    assert here[3][torch.from_numpy(late == 3)].min() > 0.9
    assert here[3][torch.from_numpy(late == 0)].max() < 0.01
    elsewhere = here[1:3, torch.from_numpy(late == 0)]
    assert elsewhere.std() > 0.01, "known objects were not predicted in the frame of the prompt"


def test_a_stream_keeps_no_gradient_history() -> None:
    model, video = build("lwl").eval(), moving_squares(5, objects=3)
    engine = model.propagator()
    for t, frame in enumerate(video.frames):
        (result,) = engine.push(frame, video.labels[0] if t == 0 else None)
        assert not result.probabilities.requires_grad
    engine.drop([2])
    for group in engine._groups:
        memory: LWLMemory = group.memory
        assert not any(value.requires_grad for value in (memory.kernel, *memory.samples.buffers.values()))


def test_dropping_an_id_twice_in_one_call_drops_it_once_and_an_unknown_one_is_refused() -> None:
    model, video = WatchedToy(), moving_squares(8, objects=3)
    engine = engine_of(model)
    engine.push(video.frames[0], video.labels[0])
    engine.drop([1, 1])
    assert engine.ids == [2, 3]
    with pytest.raises(UsageError, match="9"):
        engine.drop([9])
    results = [r for frame in video.frames[1:4] for r in engine.push(frame)]
    assert [result.ids for result in results] == [(2, 3)] * 3


def test_object_slots_of_the_right_object_are_dropped() -> None:
    model, video = WatchedToy(), moving_squares(4, objects=3)
    engine = engine_of(model)
    engine.push(video.frames[0], video.labels[0])
    before = model.named("initialise")[0].prototypes
    engine.drop([2])
    assert torch.equal(engine._groups[0].memory.prototypes, before[:, [0, 2]])


LABELS = moving_squares(1).labels[0]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        pytest.param(LABELS[:-1], ["frame 1", "(63, 96)", "(64, 96)"], id="wrong size"),
        pytest.param(LABELS[..., None], ["frame 1", "(64, 96, 1)"], id="an axis too many"),
        pytest.param(LABELS.astype(np.float32), ["frame 1", "float32"], id="float"),
        pytest.param(LABELS > 0, ["frame 1", "bool"], id="bool"),
        pytest.param(LABELS.astype(np.int64) * 300, ["frame 1", "0..255"], id="ids above 255"),
        pytest.param(-LABELS.astype(np.int16), ["frame 1", "0..255"], id="negative ids"),
        pytest.param({0: (1, 1, 5, 5)}, ["object 0", "1 to 254"], id="box of the background"),
        pytest.param({256: (1, 1, 5, 5)}, ["object 256", "1 to 254"], id="box of id 256"),
        pytest.param({1: (1, 1, -5, 5)}, ["object 1", "greater than 0"], id="negative width"),
        pytest.param({1: (1, 1, 5)}, ["object 1", "x,y,w,h"], id="three numbers"),
        pytest.param({1: (1, 1, float("nan"), 5)}, ["object 1"], id="not a number"),
        pytest.param({1: (300, 1, 5, 5)}, ["object 1", "96x64"], id="outside"),
        pytest.param({1: (90, 60, 10, 2)}, ["object 1", "96x64", "inside is 1:90,60,6,2"], id="leaves the frame"),
        pytest.param({255: (1, 1, 5, 5)}, ["object 255", "1 to 254"], id="box of void"),
        pytest.param({"1": (1, 1, 5, 5)}, ["'1'", "whole numbers"], id="text as id"),
        pytest.param({True: (1, 1, 5, 5)}, ["True", "whole numbers"], id="truth value as id"),
        pytest.param({1: LABELS > 0}, ["object 1", "bool (64, 96)", "label map"], id="mask under an id"),
        pytest.param({1: None}, ["object 1", "None", "x,y,w,h"], id="nothing under an id"),
        pytest.param({1: "1,1,5,5"}, ["object 1", "x,y,w,h"], id="text as box"),
        pytest.param({1: {2: (1, 1, 5, 5)}}, ["object 1", "x,y,w,h"], id="nested"),
        pytest.param((1, 1, 5, 5), ["frame 1", "box needs the id"], id="box without id"),
        pytest.param("mask.png", ["frame 1", "mask.png", "label map"], id="file name"),
        pytest.param(7, ["frame 1", "7", "label map"], id="number"),
        pytest.param([[1, 2], [3]], ["frame 1", "converted to an array"], id="ragged list"),
        pytest.param({1: (1, 1, 5, 5)}, ["masks, not boxes"], id="box for a method without boxes"),
    ],
)
def test_a_wrong_prompt_is_refused_in_one_clear_line_and_nothing_is_lost(prompt: Any, words: list[str]) -> None:
    model, video = WatchedToy(), moving_squares(5)
    engine, untouched = engine_of(model), engine_of(model)
    for own in (engine, untouched):
        own.push(video.frames[0], LABELS)
    with pytest.raises(UsageError) as caught:
        engine.push(video.frames[1], prompt)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    rest = [[r for frame in video.frames[1:4] for r in own.push(frame)] for own in (engine, untouched)]
    assert [r.index for r in rest[0]] == [1, 2, 3]
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(*rest, strict=True))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        pytest.param(np.zeros((64, 96), np.uint8), ["frame 1", "(64, 96)"], id="gray"),
        pytest.param(np.zeros((64, 96, 3), np.float32), ["frame 1", "float32"], id="float"),
        pytest.param(np.zeros((64, 96, 4), np.uint8), ["frame 1", "(64, 96, 4)"], id="four channels"),
        pytest.param(np.zeros((64, 95, 3), np.uint8), ["frame 1", "(64, 95)", "(64, 96)"], id="other size"),
        pytest.param([[[0, 0, 0]]], ["frame 1", "uint8"], id="a list"),
    ],
)
def test_a_wrong_frame_is_refused_in_one_clear_line(frame: Any, words: list[str]) -> None:
    engine = engine_of(WatchedToy())
    engine.push(moving_squares(1).frames[0], LABELS)
    with pytest.raises(UsageError) as caught:
        engine.push(frame)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "late", [LABELS[:, :-1], LABELS.astype(np.float64), {1: (1, 1, -3, 4)}], ids=["size", "type", "box"]
)
def test_a_wrong_prompt_for_a_late_frame_is_refused_before_the_work_begins(late: Any) -> None:
    model, video = build("lwl").eval(), moving_squares(5)
    read = []

    def frames() -> Any:
        for t, frame in enumerate(video.frames):
            read.append(t)
            yield frame

    with pytest.raises(UsageError, match=r"frame 4|object 1"):
        list(model.track(frames(), {0: LABELS, 4: late}))
    assert read in ([], [0])


def test_a_prompt_for_a_negative_frame_is_refused_before_a_frame_is_read() -> None:
    with pytest.raises(UsageError, match="-1"):
        build("lwl").eval().track(iter(()), {-1: LABELS})


def test_frames_that_share_memory_with_a_buffer_may_be_overwritten_after_the_call() -> None:
    model, video = WatchedToy(), moving_squares(4)
    buffer, copies = np.empty_like(video.frames[0]), engine_of(model)
    shared = engine_of(model)
    ours, theirs = [], []
    for t, frame in enumerate(video.frames):
        buffer[:] = frame
        ours += shared.push(buffer, video.labels[0] if t == 0 else None)
        theirs += copies.push(frame.copy(), video.labels[0] if t == 0 else None)
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(ours, theirs, strict=True))


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


# -- optimisation groups ---------------------------------------------------------------------------------------------


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.body2 = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)


def trainable(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_the_longest_prefix_gives_the_rate_and_what_none_names_is_frozen() -> None:
    network, groups = Parts(), {"body": 1e-2, "body.1": 1e-3}
    freeze_unnamed(network, groups)
    assert trainable(network) == {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}
    found = {group["name"]: (group["lr"], len(group["params"])) for group in parameter_groups(network, groups)}
    assert found == {"body": (1e-2, 2), "body.1": (1e-3, 2)}


def test_an_empty_prefix_names_everything_and_a_rate_of_zero_freezes() -> None:
    network, groups = Parts(), {"": 1e-4, "body": 0.0}
    freeze_unnamed(network, groups)
    assert trainable(network) == {"body2.weight", "body2.bias", "head.weight", "head.bias"}
    (group,) = parameter_groups(network, groups)
    assert (group["name"], group["lr"], len(group["params"])) == ("all", 1e-4, 4)


def test_prefixes_are_whole_names_and_unknown_ones_are_refused() -> None:
    network = Parts()
    freeze_unnamed(network, {"body": 1e-3, "bod": 1e-3, "hea": 1e-3})
    assert not trainable(network) & {"body2.weight", "head.weight"}
    with pytest.raises(UsageError, match=r"'decode'.*backbone.*decoder"):
        build("lwl", optim={"groups": {"decode": 1e-3}}).setup("fit")


def test_training_nothing_is_refused() -> None:
    network, groups = Parts(), {"head": 0.0}
    freeze_unnamed(network, groups)
    with pytest.raises(UsageError, match="nothing to train"):
        parameter_groups(network, groups)


def test_rates_fall_by_gamma_at_the_milestones() -> None:
    optim = {"groups": {"decoder": 1e-3, "learner": 1e-4}, "milestones": [2], "gamma": 0.1}
    model = build("lwl", optim=optim)
    model.setup("fit")
    configured: Any = model.configure_optimizers()
    rates = []
    for _ in range(4):
        rates.append([group["lr"] for group in configured["optimizer"].param_groups])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    np.testing.assert_allclose(rates, [[1e-3, 1e-4]] * 2 + [[1e-4, 1e-5]] * 2)


def test_empty_slots_do_not_count_in_the_overlap_of_a_training_step() -> None:
    truth = torch.zeros(1, 2, 2, 4, 4)
    truth[:, :, 0] = 1
    logits = torch.ones(1, 2, 2, 4, 4)  # the second slot predicts an object that is not there
    assert mean_jaccard(logits, truth).item() == 0.5
    assert mean_jaccard(logits, truth, torch.tensor([[True, False]])).item() == 1
    assert mean_jaccard(logits, truth, torch.tensor([[False, False]])).item() == 1
