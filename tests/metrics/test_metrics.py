"""J, F, their statistics and the torchmetrics classes: properties that hold for any masks, and readable refusals."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vos_zoo.metrics import (
    boundary_accuracy,
    boundary_map,
    boundary_tolerance,
    decay,
    mean,
    recall,
    region_similarity,
    score_frame,
    score_sequence,
    summarise,
)
from vos_zoo.types import UsageError, VOSError

MEASURES = (region_similarity, boundary_accuracy)


@st.composite
def blobs(draw: st.DrawFn, shape: tuple[int, int]) -> np.ndarray:
    """A mask of a few filled or cleared boxes and single pixels: contours of all kinds, borders included."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        height, width = draw(st.integers(1, shape[0])), draw(st.integers(1, shape[1]))
        mask[top : top + height, left : left + width] = draw(st.booleans())
    return mask


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 48), st.integers(1, 48)))
    noise = arrays(bool, shape)
    return draw(blobs(shape) | noise), draw(blobs(shape) | noise)


def full_frame_f(prediction: np.ndarray, truth: np.ndarray, radius: int) -> float:
    """F straight from its definition: every contour pixel against every other one, over the whole frame."""
    points = []
    for mask in (prediction, truth):
        bigger = np.pad(mask, ((0, 1), (0, 1)), mode="edge")  # repeating the last row and column hides the border
        edge = (mask != bigger[:-1, 1:]) | (mask != bigger[1:, :-1]) | (mask != bigger[1:, 1:])
        points.append(np.argwhere(edge))
    predicted, true = points
    if not len(predicted) or not len(true):
        return float(len(predicted) == len(true))
    near = ((predicted[:, None] - true[None]) ** 2).sum(axis=2) <= radius**2
    precision, recalled = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * precision * recalled / (precision + recalled) if precision + recalled else 0.0


@settings(deadline=None)
@given(pairs())
def test_j_and_f_lie_between_zero_and_one_and_do_not_care_which_mask_is_the_truth(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    for measure in MEASURES:
        value = measure(*pair)
        assert isinstance(value, float)
        assert 0.0 <= value <= 1.0
        assert value == pytest.approx(measure(*pair[::-1]), abs=1e-15)


@settings(deadline=None)
@given(pairs())
def test_a_mask_agrees_with_itself(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert [measure(pair[0], pair[0]) for measure in MEASURES] == [1.0, 1.0]


@settings(max_examples=30, deadline=None)
@given(pairs(), st.integers(0, 12))
@example((np.eye(48, dtype=bool), np.eye(48, dtype=bool)[::-1].copy()), 7)
def test_working_in_boxes_gives_the_full_frame_value(pair: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    assert boundary_accuracy(*pair, tolerance=radius) == pytest.approx(full_frame_f(*pair, radius), abs=1e-12)
    own = boundary_tolerance(*pair[0].shape)
    assert boundary_accuracy(*pair) == pytest.approx(full_frame_f(*pair, own), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_large_frames_with_scattered_errors_give_the_full_frame_value(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :320]
    truth = (y - 120) ** 2 / 60**2 + (x - 150) ** 2 / 80**2 < 1
    prediction = np.roll(truth, random.integers(-6, 7, 2), axis=(0, 1))
    prediction[200:230, 250:300] ^= random.random((30, 50)) < 0.1
    for radius in (0, 1, 3, 8, 11):
        assert boundary_accuracy(prediction, truth, tolerance=radius) == pytest.approx(
            full_frame_f(prediction, truth, radius), abs=1e-12
        )


@settings(deadline=None)
@given(pairs(), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_moving_both_masks_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray], here: tuple[int, int], there: tuple[int, int]
) -> None:
    height, width = pair[0].shape
    values = []
    for top, left in (here, there):
        moved = [np.zeros((height + 12, width + 12), dtype=bool) for _ in pair]
        for canvas, mask in zip(moved, pair, strict=True):
            canvas[top : top + height, left : left + width] = mask
        values.append((region_similarity(*moved), boundary_accuracy(*moved, tolerance=2)))
    assert values[0] == pytest.approx(values[1], abs=1e-15)


@settings(deadline=None)
@given(pairs(), st.integers(0, 6))
def test_f_never_falls_when_the_tolerance_grows(pair: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    narrow, wide = (boundary_accuracy(*pair, tolerance=value) for value in (radius, radius + 1))
    assert narrow <= wide + 1e-15


@settings(deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=12)))
def test_a_stack_of_frames_gives_one_value_per_frame(stack: np.ndarray) -> None:
    other = stack[::-1]
    for measure in MEASURES:
        values = measure(stack, other)
        assert values.shape == (len(stack),)
        assert values.dtype == np.float64
        assert values.tolist() == [measure(*pair) for pair in zip(stack, other, strict=True)]


@settings(deadline=None)
@given(pairs())
def test_void_pixels_count_in_neither_mask(pair: tuple[np.ndarray, np.ndarray]) -> None:
    void = np.zeros_like(pair[0])
    void[: len(void) // 2] = True
    for measure in MEASURES:
        assert measure(*pair, void=void) == measure(pair[0] & ~void, pair[1] & ~void)


@settings(deadline=None)
@given(arrays(np.uint8, (20, 30), elements=st.sampled_from([0, 1, 2, 7])), st.integers(0, 5))
def test_a_label_map_is_scored_as_its_objects_one_by_one(labels: np.ndarray, shift: int) -> None:
    truth = np.zeros((40, 50), dtype=np.uint8)
    truth[12:32, 10:40] = labels
    prediction = np.roll(truth, shift, axis=1)
    for label, (j, f) in score_frame(prediction, truth, [1, 2, 7, 9]).items():
        pair = prediction == label, truth == label
        assert (j, f) == (region_similarity(*pair), boundary_accuracy(*pair))


def test_masks_of_0_and_255_and_non_contiguous_masks_are_read_as_objects() -> None:
    truth = np.zeros((30, 40), dtype=bool)
    truth[5:20, 8:30] = True
    prediction = np.roll(truth, 3, axis=1)
    for measure in MEASURES:
        expected = measure(prediction, truth)
        assert measure((255 * prediction).astype(np.uint8), truth.astype(int)) == expected
        assert measure(np.asfortranarray(prediction), truth.T.copy().T) == expected


def test_a_mask_that_fills_the_picture_has_no_contour() -> None:
    full, empty = np.ones((9, 7), dtype=bool), np.zeros((9, 7), dtype=bool)
    assert not boundary_map(full).any()
    assert (region_similarity(empty, full), boundary_accuracy(empty, full)) == (0.0, 1.0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((4, 5), bool), np.zeros((5, 4), bool), r"\(4, 5\).*\(5, 4\).*resize"),
        (np.full((4, 5), 0.3), np.zeros((4, 5), bool), "prediction.*float64.*threshold"),
        (np.zeros((4, 5), bool), np.zeros(5, bool), r"truth.*\(5,\)"),
        (np.zeros((0, 5), bool), np.zeros((0, 5), bool), r"\(0, 5\)"),
    ],
    ids=["sizes", "probabilities", "axes", "empty"],
)
def test_what_is_no_pair_of_masks_is_refused(
    measure: object, prediction: np.ndarray, truth: np.ndarray, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        measure(prediction, truth)  # type: ignore[operator]


def test_a_void_mask_of_another_size_and_an_impossible_tolerance_are_refused() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    with pytest.raises(UsageError, match="void"):
        region_similarity(mask, mask, void=mask.T)
    for tolerance in (-1, 0.5):
        with pytest.raises(UsageError, match=f"tolerance: {tolerance}"):
            boundary_accuracy(mask, mask, tolerance=tolerance)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="boundary_map takes one frame"):
        boundary_map(np.zeros((2, 4, 5), dtype=bool))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=600))
def test_statistics_keep_their_bounds_and_reversing_time_turns_the_decay_round_where_the_quarters_are_even(
    values: list[float],
) -> None:
    found = summarise(values)
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    assert 0 <= found.recall <= 1
    assert -1 - 1e-12 <= found.decay <= 1 + 1e-12
    if len(values) % 4 == 1:
        assert found.decay == pytest.approx(-decay(values[::-1]), abs=1e-12)
    if len(values) <= 255:
        assert summarise(values, official=True) == found


def test_missing_values_are_left_out_of_the_mean_and_count_as_low_in_the_recall() -> None:
    assert mean([math.nan, 0.8, 0.6]) == pytest.approx(0.7)
    assert recall([math.nan, 0.8, 0.4, 0.6]) == 0.5
    with pytest.raises(UsageError, match="values"):
        summarise([])


def test_importing_the_functions_loads_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, vos_zoo.metrics as m; m.evaluate_davis; m.region_similarity;"
        "heavy = {'torch', 'torchmetrics', 'pytorch_lightning', 'albumentations'} & set(sys.modules);"
        "assert not heavy, heavy; assert 'DavisScores' in dir(m)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_no_attribute_of_the_package() -> None:
    from vos_zoo import metrics

    with pytest.raises(AttributeError, match="no attribute 'BoundaryAcuracy'"):
        _ = metrics.BoundaryAcuracy


def video(seed: int, objects: int = 2, frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, label maps uint8 (T, 40, 60): squares and the same squares a little off."""
    random = np.random.default_rng(seed)
    truth = np.zeros((frames, 40, 60), dtype=np.uint8)
    for label in range(1, objects + 1):
        top, left = random.integers(2, 20), random.integers(2, 40)
        truth[:, top : top + 14, left : left + 14] = label
    return np.roll(truth, random.integers(1, 4), axis=2), truth


def test_the_classes_average_over_objects_with_constant_memory() -> None:
    import torch

    from vos_zoo.metrics import BoundaryAccuracy, RegionSimilarity

    j_metric, f_metric = RegionSimilarity(), BoundaryAccuracy(tolerance=1)
    expected: list[tuple[float, float]] = []
    for seed in range(4):
        prediction, truth = (labels == 1 for labels in video(seed, frames=3 + seed))
        j_metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
        f_metric.update(prediction, truth)
        f = boundary_accuracy(prediction, truth, tolerance=1)
        expected.append((float(np.mean(region_similarity(prediction, truth))), float(np.mean(f))))
        assert sum(state.numel() for state in j_metric.metric_state.values()) == 2
    assert float(j_metric.compute()) == pytest.approx(np.mean([j for j, _ in expected]), abs=1e-12)
    assert float(f_metric.compute()) == pytest.approx(np.mean([f for _, f in expected]), abs=1e-12)
    j_metric.reset()
    with (
        pytest.raises(VOSError, match="RegionSimilarity: there is no object"),
        pytest.warns(UserWarning, match="before"),
    ):
        j_metric.compute()


def test_uneven_ranks_give_the_value_over_all_data() -> None:
    import torch

    from vos_zoo.metrics import DavisScores

    videos = [video(0, objects=1), video(1, objects=3), video(2, objects=2, frames=9)]
    alone, other = DavisScores(), DavisScores()
    for prediction, truth in videos:
        alone.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    for prediction, truth in videos[1:]:
        other.update(prediction, truth)

    def gather(state: torch.Tensor, group: object) -> list[torch.Tensor]:
        """What all_gather returns on this rank: its own state and the other rank's of the same name."""
        remote = other.count if state.dtype == torch.long else other.total
        return [state, remote]

    here = DavisScores(dist_sync_fn=gather, distributed_available_fn=lambda: True)
    here.update(*videos[0])
    expected, found = alone.compute(), here.compute()
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, abs=1e-12
    )
    assert int(here.count) == 1  # the local state is restored after the exchange


def test_the_seven_numbers_of_label_maps_are_those_of_the_functions() -> None:
    from vos_zoo.metrics import DavisScores

    prediction, truth = video(5)
    metric = DavisScores()
    metric.update(prediction, truth)
    j = [np.mean(region_similarity(prediction[1:-1] == label, truth[1:-1] == label)) for label in (1, 2)]
    assert float(metric.compute()["J-Mean"]) == pytest.approx(np.mean(j), abs=1e-12)
    named = score_sequence("a", list("012345"), lambda f: prediction[int(f)], lambda f: truth[int(f)])
    again = DavisScores()
    again.update(named)
    assert again.compute() == metric.compute()


def test_the_video_metric_refuses_what_it_cannot_score() -> None:
    from vos_zoo.metrics import DavisScores

    prediction, truth = video(3)
    metric = DavisScores()
    with pytest.raises(UsageError, match=r"cow.*both must have the same shape"):
        metric.update(prediction[1:], truth, name="cow")
    with pytest.raises(UsageError, match="cow: the ground truth is missing"):
        metric.update(prediction, name="cow")
    with pytest.raises(UsageError, match="2 different frame names for 6 frames"):
        metric.update(prediction, truth, frame_names=["a", "b"])
    with pytest.raises(VOSError, match=r"sequence cow, frame 00001.*label 9"):
        metric.update(np.where(prediction == 2, 9, prediction), truth, name="cow")


@pytest.mark.parametrize(
    ("size", "tolerance"), [((480, 854), 8), ((480, 910), 9), ((480, 1152), 10), ((1080, 1920), 18), ((300, 400), 4)]
)
def test_the_tolerance_is_eight_thousandths_of_the_diagonal_rounded_up(size: tuple[int, int], tolerance: int) -> None:
    assert boundary_tolerance(*size) == boundary_tolerance(*size[::-1]) == tolerance


def test_a_value_of_one_half_is_not_recalled_and_quarters_of_short_videos_round_halves_up() -> None:
    assert recall([0.5, 0.5000001]) == 0.5
    assert decay([1.0, 0.5, 0.0]) == 0.75  # quarters: frames 0..1 and 2..2
    assert decay([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) == 1.0  # frames 0..1 and 4..5
