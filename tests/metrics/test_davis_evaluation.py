"""Results folders scored against data set folders: DAVIS 2017 and 2016."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.result_folders import SIZE, moving, square
from vos_zoo.files.lists import read_davis_list
from vos_zoo.metrics import boundary_accuracy, evaluate_davis, region_similarity
from vos_zoo.metrics.davis import SCORE_NAMES
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask


def write(folder: Path, name: str, maps: list[np.ndarray]) -> None:
    for index, labels in enumerate(maps):
        write_mask(folder / name / f"{index:05d}.png", labels)


class Davis:
    """A DAVIS folder and a results folder under construction."""

    def __init__(self, folder: Path) -> None:
        self.dataset, self.results = folder / "DAVIS", folder / "results"
        self.truth = self.dataset / "Annotations" / "480p"
        self.names: list[str] = []

    def add(self, name: str, truth: list[np.ndarray], prediction: list[np.ndarray], year: int = 2017) -> None:
        write(self.truth, name, truth)
        write(self.results, name, prediction)
        self.names.append(name)
        path = self.dataset / "ImageSets" / str(year) / "val.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(self.names) + "\n")


@pytest.fixture
def davis(tmp_path: Path) -> Davis:
    return Davis(tmp_path)


def test_the_global_score_is_a_mean_over_objects_not_over_sequences(davis: Davis) -> None:
    davis.add("one", moving((1,)), moving((1,), shift=2))
    davis.add("two", moving((1, 2, 3)), moving((1, 2, 3)))
    report = evaluate_davis(davis.results, davis.dataset)
    pair = [np.stack(maps[1:-1]) == 1 for maps in (moving((1,), shift=2), moving((1,)))]
    j, f = np.mean(region_similarity(*pair)), np.mean(boundary_accuracy(*pair))
    assert report.scores["J-Mean"] == pytest.approx((j + 3) / 4, abs=1e-12)
    assert report.scores["F-Mean"] == pytest.approx((f + 3) / 4, abs=1e-12)
    assert report.scores["J&F-Mean"] == pytest.approx((report.scores["J-Mean"] + report.scores["F-Mean"]) / 2)
    assert report.sequences[0].scores["J-Mean"] == pytest.approx(j, abs=1e-12)
    assert tuple(report.scores) == SCORE_NAMES


def test_the_report_lists_objects_sequences_and_the_csv_line(davis: Davis) -> None:
    davis.add("duck", moving((1, 2)), moving((1, 2)))
    report = evaluate_davis(davis.results, davis.dataset)
    assert report.csv() == ",".join(SCORE_NAMES) + "\n1.000,1.000,1.000,0.000,1.000,1.000,0.000\n"
    assert report.objects_csv().splitlines() == [
        "Sequence,J-Mean,F-Mean",
        "duck_1,1.000,1.000",
        "duck_2,1.000,1.000",
    ]
    text = str(report)
    assert all(word in text for word in ("duck_1", "duck_2", "J&F-Mean", "2 objects"))
    assert "Note" not in text


def test_first_and_last_frame_are_not_scored_and_need_not_exist(davis: Davis) -> None:
    davis.add("duck", moving((1,)), moving((1,)))
    for name in ("00000", "00005"):
        (davis.results / "duck" / f"{name}.png").unlink()
    report = evaluate_davis(davis.results, davis.dataset)
    assert report.sequences[0].frames == ("00001", "00002", "00003", "00004")
    assert report.scores["J-Mean"] == 1.0


@pytest.mark.parametrize("object_value", [1, 255, 38])
def test_davis_2016_takes_every_non_zero_pixel_for_the_object(davis: Davis, object_value: int) -> None:
    truth = [np.where(labels > 0, 255, 0).astype(np.uint8) for labels in moving((1,))]
    prediction = [(labels * object_value).astype(np.uint8) for labels in moving((1,), shift=1)]
    davis.add("cow", truth, prediction, year=2016)
    report = evaluate_davis(davis.results, davis.dataset, year=2016)
    pair = [np.stack(maps[1:-1]) > 0 for maps in (prediction, truth)]
    assert report.scores["J-Mean"] == pytest.approx(np.mean(region_similarity(*pair)), abs=1e-12)
    assert [one.object_id for one in report.objects] == [1]


def white(maps: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(labels > 0, 255, 0).astype(np.uint8) for labels in maps]


@pytest.mark.parametrize("official", [False, True])
def test_0_255_masks_show_object_1_in_truth_and_results_of_any_year(davis: Davis, official: bool) -> None:
    davis.add("cow", moving((1,)), white(moving((1,), shift=1)))
    davis.add("duck", white(moving((1,))), white(moving((1,), shift=1)))
    davis.add("goat", white(moving((1,))), moving((1,), shift=1))
    report = evaluate_davis(davis.results, davis.dataset, official=official)
    assert [one.object_id for one in report.objects] == [1, 1, 1]
    pair = [np.stack(maps[1:-1]) > 0 for maps in (moving((1,), shift=1), moving((1,)))]
    for one in report.objects:
        assert one.J.tolist() == pytest.approx(region_similarity(*pair), abs=1e-12)
    assert evaluate_davis(davis.results, davis.dataset, single_object=True).scores == report.scores


def test_a_0_255_result_of_several_objects_is_refused_since_it_says_not_which(davis: Davis) -> None:
    davis.add("cow", moving((1, 2)), white(moving((1,))))
    with pytest.raises(VOSError, match=r"label 255.*the objects are 1, 2.*ground truth and results show one object"):
        evaluate_davis(davis.results, davis.dataset)


def test_a_frame_of_void_alone_in_a_truth_with_ids_shows_no_object(davis: Davis) -> None:
    truth = moving((1,))
    truth[3] = white(truth)[3]
    davis.add("cow", truth, moving((1,)))
    values = evaluate_davis(davis.results, davis.dataset).objects[0].J
    assert values.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_soft_results_are_refused_and_thresholded_on_request(davis: Davis) -> None:
    from PIL import ImageFilter

    davis.add("cow", white(moving((1,))), white(moving((1,))))
    for path in (davis.results / "cow").iterdir():
        Image.open(path).convert("L").point(lambda v: 255 * (v > 0)).filter(ImageFilter.GaussianBlur(1)).save(path)
    with pytest.raises(VOSError, match=r"00001\.png: has soft edges.*mask_threshold=128"):
        evaluate_davis(davis.results, davis.dataset)
    report = evaluate_davis(davis.results, davis.dataset, mask_threshold=128)
    assert [one.object_id for one in report.objects] == [1] and report.scores["J-Mean"] > 0.8
    with pytest.raises(UsageError, match="mask_threshold: 300"):
        evaluate_davis(davis.results, davis.dataset, mask_threshold=300)


def test_masks_in_colour_are_accepted_for_davis_2016_only(davis: Davis) -> None:
    davis.add("cow", moving((1,)), moving((1,)), year=2016)
    for path in (davis.truth / "cow").iterdir():
        Image.fromarray(np.stack([np.array(Image.open(path)) * 255] * 3, axis=2)).save(path)
    assert evaluate_davis(davis.results, davis.dataset, year=2016).scores["J-Mean"] == 1.0
    with pytest.raises(VOSError, match=r"00000\.png"):
        evaluate_davis(davis.results, davis.dataset, sequences=["cow"])


def test_a_late_object_above_the_first_frames_ids_is_scored_by_default_and_ignored_by_the_official_tool(
    davis: Davis,
) -> None:
    truth, prediction = moving((1,)), moving((1,))
    for index in (3, 4, 5):
        truth[index] = np.maximum(truth[index], square(3, 30, 40))
    davis.add("duck", truth, prediction)
    official = evaluate_davis(davis.results, davis.dataset, official=True)
    assert [one.object_id for one in official.objects] == [1]
    assert "bugs" in str(official)
    ours = evaluate_davis(davis.results, davis.dataset)
    assert {one.object_id: list(one.J) for one in ours.objects} == {1: [1, 1, 1, 1], 3: [1, 1, 0, 0]}


def test_predicting_a_late_object_is_an_error_of_the_official_tool_only(davis: Davis) -> None:
    truth = moving((1,))
    truth[3:] = [np.maximum(labels, square(2, 30, 40)) for labels in truth[3:]]
    davis.add("duck", truth, truth)
    assert evaluate_davis(davis.results, davis.dataset).scores["J-Mean"] == 1.0
    with pytest.raises(VOSError, match=r"sequence duck, frame 00003.*label 2.*objects are 1;"):
        evaluate_davis(davis.results, davis.dataset, official=True)


def test_gaps_in_the_ids_are_not_scored_by_default_and_perfect_for_the_official_tool(davis: Davis) -> None:
    davis.add("duck", moving((2, 5)), moving((2, 5), shift=3))
    ours = evaluate_davis(davis.results, davis.dataset)
    official = evaluate_davis(davis.results, davis.dataset, official=True)
    assert [one.object_id for one in ours.objects] == [2, 5]
    assert [one.object_id for one in official.objects] == [1, 2, 3, 4, 5]
    assert [one.mean for one in official.objects if one.object_id in (1, 3, 4)] == [1.0, 1.0, 1.0]
    assert ours.scores["J-Mean"] < official.scores["J-Mean"]


def test_long_sequences_get_the_right_decay_unless_the_official_overflow_is_asked_for(davis: Davis) -> None:
    truth = [square(1, 4, 4)] * 302
    davis.add("duck", truth, [square(1, 4, 4 + (t > 150)) for t in range(302)])
    decays = [evaluate_davis(davis.results, davis.dataset, official=flag).scores["J-Decay"] for flag in (False, True)]
    assert decays[0] == pytest.approx(1 - 13 / 15, abs=1e-12)
    assert np.isnan(decays[1])


def test_unknown_labels_stop_the_scoring_and_may_be_dropped_visibly(davis: Davis) -> None:
    prediction = moving((1,))
    prediction[2] = np.maximum(prediction[2], square(4, 30, 40))
    prediction[3] = np.maximum(prediction[3], square(7, 30, 40))
    prediction[4] = np.maximum(prediction[4], square(4, 30, 40))
    davis.add("duck", moving((1,)), prediction)
    with pytest.raises(
        VOSError, match=r"sequence duck, frame 00002.*label 4 \(also labels 7\).*drop_unknown_labels"
    ) as error:
        evaluate_davis(davis.results, davis.dataset)
    assert "\n" not in str(error.value)
    report = evaluate_davis(davis.results, davis.dataset, drop_unknown_labels=True)
    assert report.scores["J&F-Mean"] == 1.0
    assert report.sequences[0].dropped == {4: 2, 7: 1}
    assert "duck label 4 (2 frames); duck label 7 (1 frames)" in str(report)


def test_the_report_says_that_dropping_was_allowed_even_if_nothing_was_dropped(davis: Davis) -> None:
    davis.add("duck", moving((1,)), moving((1,)))
    report = evaluate_davis(davis.results, davis.dataset, drop_unknown_labels=True)
    assert "drop_unknown_labels=True: no label had to be dropped" in str(report)


def test_void_in_the_truth_is_background_and_costs_what_is_predicted_on_it(davis: Davis) -> None:
    truth = moving((1,))
    for labels in truth:
        labels[2:9][labels[2:9] == 1] = 255
    davis.add("duck", truth, moving((1,)))
    assert evaluate_davis(davis.results, davis.dataset).scores["J-Mean"] == pytest.approx(0.5)


def test_missing_things_are_named(davis: Davis, tmp_path: Path) -> None:
    davis.add("duck", moving((1,)), moving((1,)))
    davis.add("goat", moving((1,)), moving((1,)))
    with pytest.raises(UsageError, match=r"nowhere: there is no such folder"):
        evaluate_davis(tmp_path / "nowhere", davis.dataset)
    with pytest.raises(UsageError, match=r"Full-Resolution: there is no such folder"):
        evaluate_davis(davis.results, davis.dataset, resolution="Full-Resolution")
    with pytest.raises(UsageError, match=r"2017.train\.txt: there is no such list.*2017.val\.txt"):
        evaluate_davis(davis.results, davis.dataset, split="train")
    with pytest.raises(VOSError, match=r"results.pig|480p.pig"):
        evaluate_davis(davis.results, davis.dataset, sequences=["pig"])
    (davis.results / "goat" / "00003.png").unlink()
    with pytest.raises(VOSError, match=r"results.goat.00003\.png"):
        evaluate_davis(davis.results, davis.dataset)
    assert evaluate_davis(davis.results, davis.dataset, sequences=["duck"]).scores["J-Mean"] == 1.0


def test_a_result_of_another_size_is_named(davis: Davis) -> None:
    davis.add("duck", moving((1,)), [labels[:, :-1] for labels in moving((1,))])
    with pytest.raises(VOSError, match=r"results.duck.00001\.png.*63x48.*64x48"):
        evaluate_davis(davis.results, davis.dataset)


def test_a_split_without_public_truth_is_said_to_be_one(davis: Davis) -> None:
    davis.add("duck", moving((1,))[:1], moving((1,)))
    with pytest.raises(VOSError, match=r"sequence duck: no frame is left to score.*first frames are public"):
        evaluate_davis(davis.results, davis.dataset)


def test_truth_without_any_object_is_an_error_instead_of_nan(davis: Davis) -> None:
    davis.add("duck", [np.zeros(SIZE, np.uint8)] * 4, [np.zeros(SIZE, np.uint8)] * 4)
    with pytest.raises(VOSError, match="no object to score"):
        evaluate_davis(davis.results, davis.dataset)


def test_both_forms_of_the_lists_are_read(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "480p"
    lists.mkdir(parents=True)
    lines = [
        f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png" for name in "ba" for t in (0, 1)
    ]
    (lists / "val.txt").write_text("\n".join(lines))
    assert read_davis_list(tmp_path, "val", 2016, "480p") == ["b", "a"]
    (tmp_path / "ImageSets" / "2016").mkdir()
    (tmp_path / "ImageSets" / "2016" / "val.txt").write_text("c\r\n\nd  \n")
    assert read_davis_list(tmp_path, "val", 2016, "480p") == ["c", "d"]
    (tmp_path / "ImageSets" / "2016" / "val.txt").write_text("\n")
    with pytest.raises(UsageError, match="the list is empty"):
        read_davis_list(tmp_path, "val", 2016, "480p")


def test_the_real_davis_pack_scores_one_against_itself(data_dir: Path) -> None:
    pack = data_dir / "davis16_480p_part"
    truth = pack / "Annotations" / "480p"
    for year in (2016, 2017):
        report = evaluate_davis(truth, pack, year=year, sequences=["libby"])
        assert report.csv_line() == "1.000,1.000,1.000,0.000,1.000,1.000,0.000"
