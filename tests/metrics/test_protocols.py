"""Each rule of SA-V, LVOS, VOST, MOSEv2, VISOR and DAVIS on masks drawn here, with and without the programs' quirks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.lvos import ObjectRange, read_ranges, score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import adaptive_tolerance, read_objects, score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport
from vos_zoo.metrics.vost import score_vost
from vos_zoo.types import UsageError, VOSError

SIZE = (80, 100)
BOX = (slice(20, 40), slice(30, 60))
HALF = (slice(20, 40), slice(30, 45))


def picture(**boxes: tuple[slice, slice]) -> np.ndarray:
    """A label map with boxes of the ids in the arguments' names: `picture(o3=BOX)`."""
    labels = np.zeros(SIZE, np.uint8)
    for name, where in boxes.items():
        labels[where] = int(name[1:])
    return labels


EMPTY, WHOLE, PART = picture(), picture(o1=BOX), picture(o1=HALF)


def video(
    truth: Sequence[np.ndarray],
    prediction: Sequence[np.ndarray] | None = None,
    *,
    step: int = 1,
    name: str = "v",
    **options: Any,
) -> MaskVideo:
    frames = tuple(f"{1 + step * index:08d}" for index in range(len(truth)))
    predicted = truth if prediction is None else prediction
    return MaskVideo(name, frames, lambda f: truth[frames.index(f)], lambda f: predicted[frames.index(f)], **options)


def only(report: ScoreReport) -> ScoredObject:
    (found,) = report.objects
    return found


def names(report: ScoreReport) -> list[str]:
    return [one.name for one in report.objects]


def left_out(report: ScoreReport) -> list[str]:
    return [name for _, name, _ in report.unscored]


ALL = {"sa_v": score_sa_v, "vost": score_vost, "mosev2": score_mosev2, "visor": score_visor, "davis": score_davis}
BOTH = pytest.mark.parametrize("official", [False, True])


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


def ranges(**objects: tuple[int, int, int]) -> Mapping[str, Mapping[int, ObjectRange]]:
    return {"v": {int(name[1:]): ObjectRange(*values) for name, values in objects.items()}}


def lvos(masks: MaskVideo | Sequence[MaskVideo], where: Any, unseen: Sequence[str] = (), **options: Any) -> ScoreReport:
    return score_lvos([masks] if isinstance(masks, MaskVideo) else masks, where, unseen, **options)


@BOTH
def test_lvos_scores_the_range_of_the_meta_file_without_its_ends(official: bool) -> None:
    masks = video([WHOLE] * 6, [PART] * 6, step=5)  # 1, 6, ..., 26
    found = only(lvos(masks, ranges(o1=(6, 26, 4)), official=official))
    assert found.frames == ("00000011", "00000016")
    assert found.scores["J"] == 0.5
    whole = only(lvos(masks, ranges(o1=(1, 31, 6)), official=official))
    assert len(whole.frames) == 4
    ending = only(lvos(masks, ranges(o1=(1, 26, 6)), official=official))  # `end` names the last frame
    assert ending.frames == whole.frames


@BOTH
def test_lvos_of_2022_scores_the_ends_too(official: bool) -> None:
    masks = video([WHOLE] * 4, step=5)
    assert len(only(lvos(masks, ranges(o1=(1, 21, 4)), official=official, edition="2022")).frames) == 4


def test_a_count_above_the_range_adds_zeros_for_the_official_program_alone() -> None:
    masks, where = video([WHOLE] * 5, step=5), ranges(o1=(1, 26, 8))
    assert list(only(lvos(masks, where)).values["J"]) == [1, 1, 1]
    found = only(lvos(masks, where, official=True))
    assert list(found.values["J"]) == [1, 1, 1, 1, 0, 0]
    assert found.frames[-2:] == ("-", "-")


def test_where_lvos_stops_the_default_value_is_given_and_said() -> None:
    masks = video([WHOLE] * 5, [PART] * 5, step=5)
    for where in (ranges(o1=(1, 26, 4)), ranges(o1=(2, 26, 5))):
        report = lvos(masks, where, official=True)
        assert only(report).scores["J"] == 0.5
        assert "the official program stops" in str(report)


def test_lvos_ranges_without_a_scored_frame_are_left_out_and_nan_for_the_official_program() -> None:
    masks = video([WHOLE] * 5, step=5)
    where = ranges(o1=(1, 11, 2), o2=(1, 6, 1))
    assert left_out(lvos(masks, where)) == ["1", "2"]
    report = lvos(masks, where, official=True)
    assert math.isnan(only(report).scores["J"])
    assert left_out(report) == ["2"]


def test_the_stability_of_lvos_is_a_standard_deviation_rounded_by_the_official_program() -> None:
    masks = video([WHOLE] * 6, [WHOLE, WHOLE, EMPTY, WHOLE, WHOLE, WHOLE], step=5)
    exact = only(lvos(masks, ranges(o1=(1, 31, 6)))).scores["V"]
    assert exact == pytest.approx(math.sqrt(3) / 4)
    assert only(lvos(masks, ranges(o1=(1, 31, 6)), official=True)).scores["V"] == math.sqrt(0.1875)
    uneven = video([WHOLE] * 5, [WHOLE, WHOLE, EMPTY, WHOLE, WHOLE], step=5)
    assert only(lvos(uneven, ranges(o1=(1, 26, 5)))).scores["V"] == pytest.approx(math.sqrt(2 / 9))
    assert only(lvos(uneven, ranges(o1=(1, 26, 5)), official=True)).scores["V"] == math.sqrt(0.2222)


def test_the_combined_numbers_of_lvos_are_means_of_seen_and_unseen() -> None:
    masks = [video([WHOLE] * 4, step=5, name="a"), video([WHOLE] * 4, [EMPTY] * 4, step=5, name="b")]
    masks.append(video([WHOLE] * 4, step=5, name="c"))
    where = dict.fromkeys("abc", ranges(o1=(1, 21, 4))["v"])
    scores = lvos(masks, where, ["b"]).scores
    assert (scores["J-seen-Mean"], scores["J-unseen-Mean"], scores["J-Mean"]) == (1, 0, 0.5)
    assert scores["J&F-Mean"] == 0.5
    assert lvos(masks, where).scores["J-Mean"] == pytest.approx(2 / 3), "without unseen videos: the seen ones"
    assert math.isnan(lvos(masks, where, official=True).scores["J-Mean"])


def test_other_labels_than_the_meta_files_are_not_scored_by_lvos() -> None:
    truth = [picture(o1=BOX, o2=(slice(0, 9), slice(0, 9)))] * 5
    report = lvos(video(truth, step=5), ranges(o1=(1, 26, 5), o7=(1, 26, 5)))
    assert names(report) == ["1", "7"]
    assert report.objects[1].scores["J"] == 1, "an object that the truth never shows, and nobody predicts"


def test_bad_meta_files_and_editions_are_refused() -> None:
    for read in (read_ranges, read_objects):
        with pytest.raises(UsageError, match="meta file"):
            read({"videos": {"v": {}}})
    masks = video([WHOLE] * 4, step=5)
    with pytest.raises(UsageError, match="no video 'v'"):
        lvos(masks, {})
    with pytest.raises(UsageError, match="no video 'v'"):
        score_mosev2([masks], {})
    with pytest.raises(UsageError, match="edition"):
        lvos(masks, ranges(o1=(1, 21, 4)), edition="2023")


def test_mosev2_adds_one_pixel_to_both_areas() -> None:
    truth, area = [WHOLE] * 4, 20 * 30
    found = only(score_mosev2([video(truth, [WHOLE, PART, EMPTY, WHOLE])]))
    assert list(found.values["J"]) == pytest.approx([(area / 2 + 1) / (area + 1), 1 / (area + 1)])
    alarm = only(score_mosev2([video([WHOLE, EMPTY, EMPTY, WHOLE], [WHOLE, PART, EMPTY, WHOLE])]))
    assert list(alarm.values["J"]) == [1 / (area / 2 + 1), 1]


def test_the_adaptive_tolerance_is_a_tenth_of_the_objects_side() -> None:
    assert [adaptive_tolerance(side * side, (480, 854)) for side in (4, 10, 11, 30, 41)] == [1, 1, 2, 3, 5]
    assert adaptive_tolerance(0, (300, 400)) == 50


def test_a_shift_within_the_usual_tolerance_fails_the_tighter_one_of_small_objects() -> None:
    """600x800: L = 8. A square of side 20 has the tolerance 2, one of side 200 has L."""
    for side, expected in ((20, False), (200, True)):
        masks = []
        for shift in (0, 5):
            labels = np.zeros((600, 800), np.uint8)
            labels[100 : 100 + side, 100 + shift : 100 + shift + side] = 1
            masks.append(labels)
        for official in (False, True):
            found = only(score_mosev2([video([masks[0]] * 3, [masks[1]] * 3)], official=official))
            assert (found.scores["F_new"] == 1) == expected
            assert found.scores["F"] == 1


def test_the_official_disk_of_mosev2_is_off_its_centre_and_the_default_one_is_not() -> None:
    """86x100 pixels: L = 1.055, no whole number. Shifts to either side differ for the official program alone."""

    def shifted(by: int, official: bool) -> float:
        size = (86, 100)
        masks = []
        for shift in (0, by):
            labels = np.zeros(size, np.uint8)
            labels[20:60, 30 + shift : 70 + shift] = 1
            masks.append(labels)
        return only(score_mosev2([video([masks[0]] * 3, [masks[1]] * 3)], official=official)).scores["F_new"]

    assert shifted(2, False) == pytest.approx(shifted(-2, False))
    assert shifted(1, False) == 1


def test_a_perfect_mask_in_a_tiny_picture_fails_for_the_official_program_alone() -> None:
    tiny = np.zeros((20, 26), np.uint8)
    tiny[5:15, 5:15] = 1
    assert only(score_mosev2([video([tiny] * 3)])).scores["F_new"] == 1
    assert only(score_mosev2([video([tiny] * 3)], official=True)).scores["F_new"] < 0.5


GONE = "disappear_J"
BACK = "reappear_J"


@pytest.mark.parametrize(
    ("shown", "gone", "back", "official_gone", "official_back"),
    [
        ("1111111", None, None, None, None),
        ("1110111", 1, 1, 1, 1),
        ("1011111", 1, 1, None, 1),  # gone in the first scored frame
        ("0001111", None, None, None, 1),  # a late object: its first appearance is none that follows an absence
        ("0101111", 1, 1, 1, 1),
        ("1100000", 1, None, 1, None),
    ],
)
def test_appearances_follow_a_frame_with_the_object(
    shown: str, gone: float | None, back: float | None, official_gone: float | None, official_back: float | None
) -> None:
    masks = [WHOLE if one == "1" else EMPTY for one in shown]
    for official, expected in ((False, (gone, back)), (True, (official_gone, official_back))):
        scores = only(score_mosev2([video(masks)], official=official)).scores
        assert [None if math.isnan(scores[name]) else scores[name] for name in (GONE, BACK)] == [*expected]


def test_each_run_counts_once_whatever_its_length() -> None:
    truth = [WHOLE, WHOLE, EMPTY, WHOLE, EMPTY, EMPTY, EMPTY, WHOLE, WHOLE]
    predicted = [WHOLE, WHOLE, WHOLE, EMPTY, EMPTY, EMPTY, EMPTY, WHOLE, WHOLE]
    scores = only(score_mosev2([video(truth, predicted)])).scores
    assert scores["disappear_F_new"] == pytest.approx((0 + 1) / 2)
    assert scores["reappear_F_new"] == pytest.approx((0 + 1) / 2)


def test_objects_without_such_runs_are_left_out_of_the_mean() -> None:
    two = picture(o1=BOX, o2=(slice(50, 70), slice(10, 30)))
    gone = picture(o2=(slice(50, 70), slice(10, 30)))
    report = score_mosev2([video([two, two, gone, two, two])])
    assert report.scores["disappear_J&F_new"] == 1
    assert math.isnan(score_mosev2([video([WHOLE] * 4)]).scores["reappear_J&F_new"])


def test_the_official_program_of_mosev2_counts_frames_among_the_results() -> None:
    predicted = {f"{1 + index:08d}": labels for index, labels in enumerate([WHOLE, WHOLE, PART, WHOLE, EMPTY])}

    def without(*missing: str) -> MaskVideo:
        rest = {name: labels for name, labels in predicted.items() if name not in missing}

        def read(frame: str) -> np.ndarray:
            if frame not in rest:
                raise VOSError(f"{frame} is missing")
            return rest[frame]

        frames = tuple(predicted)
        return MaskVideo("v", frames, lambda frame: WHOLE, read, predicted=tuple(rest))

    found = only(score_mosev2([without("00000003")], official=True))
    assert found.frames == ("00000002", "00000004", "00000005"), "the last two move up, and the last one is scored"
    assert found.values["J"][2] < 0.01
    with pytest.raises(VOSError, match="00000003 is missing"):
        score_mosev2([without("00000003")])
    with pytest.raises(VOSError, match="00000002, 00000003"):
        score_mosev2([without("00000002", "00000003")], official=True)


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
