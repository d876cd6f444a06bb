"""Which masks to correct next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.suggestions import combine, quality_by_distance, suggest
from vos_zoo.types import UsageError

LENGTH = 40


def curve(**low: int) -> np.ndarray:
    """Quality 1 in every frame but from `start` to `stop`, where it is 0.2."""
    values = np.ones(LENGTH)
    values[low["start"] : low["stop"]] = 0.2
    return values


def test_a_correction_is_suggested_where_all_that_is_wrong_is_within_the_reach_of_a_given_frame() -> None:
    (best,) = suggest({1: curve(start=10, stop=21)}, 1)
    assert 11 <= best.frame <= 19 and best.object == 1, (
        "quality holds for 9 frames from a given one, here from the first"
    )
    assert (best.quality, best.gain) == (pytest.approx(0.2), pytest.approx(11 * 0.8))


def test_a_correction_is_suggested_where_the_error_begins_if_it_helps_forward_only() -> None:
    (best,) = suggest({1: curve(start=10, stop=21)}, 1, backwards=False)
    assert (best.frame, best.gain) == (10, pytest.approx(10 * 0.8))


def test_the_quality_of_a_distance_is_the_mean_over_objects_and_never_rises() -> None:
    quality = {1: np.array([1.0, 0.8, 0.9, np.nan]), 2: np.array([np.nan, 0.7, 0.6, 0.5])}
    found = quality_by_distance(quality, {1: [0], 2: [1]}, backwards=False)
    np.testing.assert_allclose(found, [1.0, 0.7, 0.7, 0.7])
    both = quality_by_distance({1: np.array([0.5, 0.9, 1.0, 0.7, 0.3])}, {1: [2]})
    np.testing.assert_allclose(both[:3], [1.0, 0.8, 0.4])


def test_suggestions_are_spread_over_the_stretches_and_objects_that_are_wrong() -> None:
    found = suggest({1: curve(start=2, stop=8), 5: curve(start=25, stop=36)}, 2)
    assert [each.object for each in found] == [5, 1], "the longer stretch first"
    assert 25 <= found[0].frame < 36 and 2 <= found[1].frame < 8
    assert found[0].gain > found[1].gain > 0


def test_given_frames_are_not_suggested_and_end_what_a_correction_mends() -> None:
    quality = {1: curve(start=10, stop=21)}
    (best,) = suggest(quality, 1, given={1: [15]}, backwards=False)
    assert best.frame == 16 or best.frame == 10
    assert best.frame != 15
    assert suggest({1: np.ones(LENGTH)}, 3) == [], "nothing is wrong"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.integers(1, 5))
def test_suggestions_differ_and_their_gains_fall(values: list[float], count: int) -> None:
    found = suggest({1: np.array(values)}, count)
    assert len({each.frame for each in found}) == len(found) <= count
    gains = [each.gain for each in found]
    assert gains == sorted(gains, reverse=True)


def test_frames_without_a_result_are_not_suggested() -> None:
    quality = curve(start=10, stop=21)
    quality[12:21] = np.nan
    assert all(each.frame < 12 for each in suggest({1: quality}, 2))
    assert suggest({1: quality}, 1, candidates=[11])[0].frame == 11


def test_estimates_are_averaged_over_those_that_are_known() -> None:
    expected, second = np.array([0.8, 0.8, np.nan]), np.array([0.4, np.nan, 0.5])
    found = combine(expected, {"second": second})
    np.testing.assert_allclose(found, [0.6, 0.8, np.nan])


def test_no_number_of_masks_is_refused() -> None:
    with pytest.raises(UsageError, match="suggest: 0 masks"):
        suggest({1: np.ones(3)}, 0)
