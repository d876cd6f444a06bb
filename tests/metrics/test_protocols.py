"""Rules of SA-V, VOST, VISOR and DAVIS on masks drawn here, with and without the programs' quirks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.helpers.drawn_masks import BOTH, BOX, EMPTY, HALF, PART, WHOLE, left_out, names, only, picture, video
from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.mosev2 import score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.vost import score_vost
from vos_zoo.types import VOSError

ALL = {"sa_v": score_sa_v, "vost": score_vost, "mosev2": score_mosev2, "visor": score_visor, "davis": score_davis}


@BOTH
@pytest.mark.parametrize("protocol", ALL)
def test_perfect_masks_score_one(protocol: str, official: bool) -> None:
    report = ALL[protocol]([video([WHOLE] * 5)], official=official)
    quirk = protocol == "mosev2" and official  # its off-centre disk misses the pixel itself in small pictures
    assert all((series == 1).all() for name, series in only(report).values.items() if name == "J" or not quirk)
    assert only(report).scores["J"] == 1
    assert not report.unscored and not report.dropped


@BOTH
@pytest.mark.parametrize(
    ("protocol", "expected"), [("sa_v", 3), ("vost", 3), ("mosev2", 3), ("davis", 3), ("visor", 4)]
)
def test_the_first_frame_never_counts_and_the_last_one_for_visor_alone(
    protocol: str, expected: int, official: bool
) -> None:
    report = ALL[protocol]([video([WHOLE] * 5, [EMPTY, PART, PART, PART, PART])], official=official)
    assert len(only(report).frames) == expected
    if protocol != "mosev2":
        assert only(report).scores["J"] == pytest.approx(0.5)


def test_first_and_last_frame_of_sa_v_count_on_request() -> None:
    found = only(score_sa_v([video([WHOLE] * 4, [PART, WHOLE, WHOLE, PART])], ends=True))
    assert list(found.values["J"]) == [0.5, 1, 1, 0.5]


def test_frames_of_sa_v_begin_where_truth_or_prediction_shows_the_object() -> None:
    truth = [EMPTY, EMPTY, EMPTY, WHOLE, EMPTY, WHOLE]
    found = only(score_sa_v([video(truth)]))
    assert found.frames == ("00000004", "00000005")
    early = only(score_sa_v([video(truth, [EMPTY, WHOLE, EMPTY, WHOLE, EMPTY, WHOLE])]))
    assert list(early.values["J"]) == [0, 1, 1, 1], "a false alarm before the object is there counts 0, and starts it"


@BOTH
def test_objects_that_sa_v_shows_in_no_scored_frame_are_left_out_and_named(official: bool) -> None:
    truth = [picture(o1=BOX, o2=HALF), WHOLE, WHOLE, WHOLE]
    report = score_sa_v([video(truth, [picture(o2=BOX)] * 4)], official=official)
    assert names(report) == ["1"]
    assert left_out(report) == ["2"]
    assert score_sa_v([video([EMPTY] * 4, objects={1: "007"})]).unscored[0][1] == "007"
    assert math.isnan(score_sa_v([video([EMPTY] * 4)]).scores["J"])


def test_255_is_an_object_of_sa_v_only_for_the_official_program() -> None:
    truth = [picture(o1=BOX, o255=(slice(0, 5), slice(0, 5)))] * 4
    assert names(score_sa_v([video(truth)])) == ["1"]
    assert score_sa_v([video(truth)]).dropped == {("v", 255): 2}
    assert names(score_sa_v([video(truth)], official=True)) == ["1", "255"]


def test_predicted_labels_that_are_no_object_are_background_and_reported() -> None:
    odd = picture(o1=BOX, o9=(slice(0, 5), slice(0, 5)))
    for protocol in ALL:
        report = ALL[protocol]([video([WHOLE] * 4, [WHOLE, odd, WHOLE, WHOLE])])
        assert only(report).scores["J"] == 1
        assert report.dropped == {("v", 9): 1}
        assert "v label 9 (1 frames)" in str(report)
    for protocol in ("davis", "visor"):
        with pytest.raises(VOSError, match="label 9"):
            ALL[protocol]([video([WHOLE] * 4, [WHOLE, odd, WHOLE, WHOLE])], official=True)


def test_gaps_in_the_ids_are_no_objects_but_perfect_ones_for_the_official_programs() -> None:
    truth = [picture(o1=BOX, o3=(slice(0, 9), slice(0, 9)))] * 4
    for protocol in ("davis", "visor", "vost"):
        assert names(ALL[protocol]([video(truth)])) == ["1", "3"]
        report = ALL[protocol]([video(truth, [truth[0], EMPTY, EMPTY, EMPTY])], official=True)
        assert names(report) == ["1", "2", "3"]
        assert [one.scores["J"] for one in report.objects] == [0, 1, 0]


def test_late_objects_count_but_not_for_the_official_programs_if_their_id_is_above_the_first_ones() -> None:
    late = picture(o1=BOX, o2=(slice(0, 9), slice(0, 9)))
    for protocol in ("davis", "visor", "vost"):
        assert names(ALL[protocol]([video([WHOLE, WHOLE, late, late])])) == ["1", "2"]
    assert names(score_vost([video([WHOLE, WHOLE, late, late])], official=True)) == ["1"]
    with pytest.raises(VOSError, match="label 2"):
        score_davis([video([WHOLE, WHOLE, late, late])], official=True)


@BOTH
@pytest.mark.parametrize("protocol", ["davis", "visor", "vost", "mosev2"])
def test_videos_without_a_scored_frame_are_left_out_and_named(protocol: str, official: bool) -> None:
    report = ALL[protocol]([video([WHOLE])], official=official)
    if protocol == "mosev2" and official:
        assert only(report).scores["J"] == 0
    else:
        assert left_out(report) == ["1"] and not report.objects
        assert "not scored" in str(report)


@BOTH
def test_two_frames_leave_one_for_visor_and_none_for_davis(official: bool) -> None:
    assert only(score_visor([video([WHOLE, WHOLE], [EMPTY, PART])], official=official)).scores["J"] == 0.5
    assert left_out(score_davis([video([WHOLE, WHOLE])], official=official)) == ["1"]


def test_vost_leaves_out_the_pixels_of_255_and_its_program_does_not() -> None:
    ignored = picture(o1=HALF, o255=(slice(20, 40), slice(45, 60)))
    case = [video([WHOLE, ignored, ignored, WHOLE], [WHOLE, WHOLE, PART, WHOLE])]
    assert list(only(score_vost(case)).values["J"]) == [1, 1]
    assert list(only(score_vost(case, official=True)).values["J"]) == [0.5, 1]


def test_j_last_of_vost_is_the_mean_over_the_last_quarter() -> None:
    predictions = [WHOLE] * 7 + [PART, EMPTY, WHOLE]  # 8 scored frames: the last two are PART and EMPTY
    found = only(score_vost([video([WHOLE] * 10, predictions)]))
    assert found.scores["J_last"] == pytest.approx(0.25)
    assert found.scores["J_last_recall"] == 0
    assert {*found.values} == {"J"}


def test_final_numbers_are_plain_means_over_objects_and_videos_have_their_own() -> None:
    two = picture(o1=BOX, o2=(slice(50, 70), slice(10, 30)))
    masks = [video([two] * 4, [WHOLE] * 4, name="a"), video([WHOLE] * 4, name="b")]
    report = score_sa_v(masks)
    assert report.scores["J"] == pytest.approx(2 / 3)
    assert {name: scores["J"] for name, scores in report.videos.items()} == {"a": 0.5, "b": 1}


@settings(max_examples=15, deadline=None)
@given(
    arrays(np.uint8, (5, 12, 14), elements=st.integers(0, 2)), arrays(np.uint8, (5, 12, 14), elements=st.integers(0, 2))
)
def test_swapping_the_ids_in_truth_and_prediction_swaps_the_scores(truth: np.ndarray, prediction: np.ndarray) -> None:
    swap = np.array([0, 2, 1], np.uint8)
    for protocol in ALL:
        one = ALL[protocol]([video(list(truth), list(prediction))])
        other = ALL[protocol]([video(list(swap[truth]), list(swap[prediction]))])
        of_other = {scored.name: scored for scored in other.objects}
        for scored in one.objects:
            assert scored.scores == pytest.approx(of_other[str(3 - int(scored.name))].scores, nan_ok=True)
