"""Rules of LVOS on masks drawn here: ranges, groups, stability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.helpers.drawn_masks import BOTH, BOX, EMPTY, PART, WHOLE, left_out, names, only, picture, video
from vos_zoo.metrics.lvos import ObjectRange, read_ranges, score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import read_objects, score_mosev2
from vos_zoo.metrics.score_report import ScoreReport
from vos_zoo.types import UsageError


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
