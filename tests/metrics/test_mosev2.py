"""Rules of MOSEv2 on masks drawn here: the adaptive tolerance, and objects that vanish and return."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.helpers.drawn_masks import BOX, EMPTY, PART, WHOLE, only, picture, video
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import adaptive_tolerance, score_mosev2
from vos_zoo.types import VOSError


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
