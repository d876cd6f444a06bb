"""J, F and the data set scores equal the official toolkit's numbers, for every case that the reference folder holds."""

from __future__ import annotations

import json
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.golden import values_of
from vos_zoo.metrics import (
    boundary_accuracy,
    boundary_map,
    boundary_tolerance,
    evaluate_davis,
    evaluate_youtube_vos,
    mean_scores,
    region_similarity,
    score_sequence,
    summarise,
)
from vos_zoo.metrics.davis import DavisReport, SequenceScores
from vos_zoo.types import VOSError
from vos_zoo.video.masks import write_mask

TOLERANCE = 1e-9
DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "reference"
FOLDER = Path(os.environ.get("VOS_ZOO_REFERENCE", DEFAULT)) / "metrics"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text()) if (FOLDER / "golden.json").is_file() else {}
pytestmark = pytest.mark.skipif(not GOLDEN, reason="VOS_ZOO_REFERENCE: there is no metrics/golden.json on this machine")

EDGE = GOLDEN.get("edge", {})
SETS = [(name, prediction) for name in ("d16", "d17") for prediction in GOLDEN.get(name, {}).get("results", {})]
SEQUENCES = [
    (name, prediction, sequence)
    for name, prediction in SETS
    for sequence in GOLDEN[name]["results"][prediction]["per_sequence"]
]
SCORES = {"J_mean": ("J", 0), "J_recall": ("J", 1), "J_decay": ("J", 2)}
SCORES |= {"F_mean": ("F", 0), "F_recall": ("F", 1), "F_decay": ("F", 2)}


def near(value: Any) -> Any:
    return pytest.approx(value, abs=TOLERANCE, rel=0)


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def score(name: str, prediction: np.ndarray, truth: np.ndarray, frames: list[str], **options: bool) -> SequenceScores:
    index = {frame: number for number, frame in enumerate(frames)}
    return score_sequence(name, frames, lambda f: prediction[index[f]], lambda f: truth[index[f]], **options)


def numbered(count: int) -> list[str]:
    return [f"{index:05d}" for index in range(count)]


@cache
def scored(data: str, prediction: str, sequence: str, official: bool) -> SequenceScores:
    packed = arrays(f"{data}_{sequence}")
    frames = packed["frame_names"].tolist() if "frame_names" in packed else numbered(len(packed["gt"]))
    return score(sequence, packed[f"pred_{prediction}"], packed["gt"], frames, official=official)


def assert_sequence_equals(found: SequenceScores, expected: dict[str, Any]) -> None:
    assert [found.frames[0], found.frames[-1], len(found.frames)] == expected["evaluated_frames"]
    assert [str(one.object_id) for one in found.objects] == list(expected["objects"])
    for one, numbers in zip(found.objects, expected["objects"].values(), strict=True):
        assert list(one.J) == near(numbers["J"])
        assert list(one.F) == near(numbers["F"])
        statistics = {"J": one.region, "F": one.boundary}
        assert {key: statistics[m][i] for key, (m, i) in SCORES.items()} == near({key: numbers[key] for key in SCORES})
        assert one.mean == near(numbers["JF_mean"])


def write_davis(folder: Path, sequences: dict[str, tuple[np.ndarray, np.ndarray, list[str]]]) -> tuple[Path, Path]:
    """Results and data set folder with (prediction, truth, frame names) per sequence."""
    results, dataset = folder / "results", folder / "DAVIS"
    for name, (prediction, truth, frames) in sequences.items():
        for frame, predicted, true in zip(frames, prediction, truth, strict=True):
            write_mask(dataset / "Annotations" / "480p" / name / f"{frame}.png", true)
            if frame not in (frames[0], frames[-1]):
                write_mask(results / name / f"{frame}.png", predicted)
        (results / name).mkdir(parents=True, exist_ok=True)
    lists = dataset / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(sequences) + "\n")
    return results, dataset


@pytest.mark.parametrize("official", [True, False], ids=["official", "default"])
@pytest.mark.parametrize(("data", "prediction", "sequence"), SEQUENCES)
def test_sequences_have_the_official_values(data: str, prediction: str, sequence: str, official: bool) -> None:
    expected = GOLDEN[data]["results"][prediction]["per_sequence"][sequence]
    assert_sequence_equals(scored(data, prediction, sequence, official), expected)


@pytest.mark.parametrize(("data", "prediction"), SETS)
def test_data_sets_have_the_official_seven_numbers_and_csv_line(data: str, prediction: str) -> None:
    expected = GOLDEN[data]["results"][prediction]
    for official in (True, False):
        sequences = tuple(scored(data, prediction, name, official) for name in expected["per_sequence"])
        report = DavisReport(sequences, official)
        assert report.scores == near(expected["global"])
        assert report.csv_line() == expected["global_csv_3_decimals"]
        assert len(report.objects) == expected["n_objects"]


@pytest.mark.parametrize(("data", "prediction"), SETS)
def test_the_torchmetrics_class_gives_the_same_numbers_split_over_two_ranks(data: str, prediction: str) -> None:
    from vos_zoo.metrics import DavisScores

    expected = GOLDEN[data]["results"][prediction]
    ranks = DavisScores(official=True), DavisScores(official=True)
    for number, name in enumerate(expected["per_sequence"]):
        ranks[number % 2].update(scored(data, prediction, name, True))
    ranks[0].merge_state(ranks[1])
    assert {name: float(value) for name, value in ranks[0].compute().items()} == near(expected["global"])


@pytest.mark.parametrize("prediction", [name for data, name in SETS if data == "d17"][:1])
def test_folders_of_several_sequences_have_the_official_values(prediction: str, tmp_path: Path) -> None:
    expected = GOLDEN["d17"]["results"][prediction]
    sequences = {}
    for name in expected["per_sequence"]:
        packed = arrays(f"d17_{name}")
        sequences[name] = packed[f"pred_{prediction}"], packed["gt"], packed["frame_names"].tolist()
    report = evaluate_davis(*write_davis(tmp_path, sequences))
    for found in report.sequences:
        assert_sequence_equals(found, expected["per_sequence"][found.name])
    assert report.scores == near(expected["global"])
    assert report.csv_line() == expected["global_csv_3_decimals"]


@pytest.mark.parametrize("case", EDGE)
def test_edge_cases_on_disk_have_the_official_values(case: str, tmp_path: Path) -> None:
    truth, prediction = (arrays("edge")[f"{case}__{part}"] for part in ("gt", "pred"))
    folders = write_davis(tmp_path, {case: (prediction, truth, numbered(len(truth)))})
    expected = EDGE[case]["official"]
    if "global" not in expected:
        with pytest.raises(VOSError):
            evaluate_davis(*folders, official=True)
        if "stops" not in expected:  # nothing to average, but the sequence itself is no error
            found = score(case, prediction, truth, numbered(len(truth)), official=True)
            assert_sequence_equals(found, expected["per_sequence"][case])
        return
    report = evaluate_davis(*folders, official=True)
    assert_sequence_equals(report.sequences[0], expected["per_sequence"][case])
    assert report.scores == near(expected["global"])
    assert report.csv_line() == expected["global_csv_3_decimals"]
    assert boundary_tolerance(*truth.shape[1:]) == EDGE[case]["boundary_tolerance"]


@pytest.mark.parametrize("case", EDGE)
def test_the_default_differs_only_where_the_official_ids_do(case: str) -> None:
    truth, prediction = (arrays("edge")[f"{case}__{part}"] for part in ("gt", "pred"))
    shown = sorted({*np.unique(truth[:-1])} - {0, 255})
    if len(truth) < 3:
        with pytest.raises(VOSError, match=case):
            score(case, prediction, truth, numbered(len(truth)))
        return
    if {*np.unique(prediction[1:-1])} - {0, *shown}:
        with pytest.raises(VOSError, match=case):
            score(case, prediction, truth, numbered(len(truth)))
    found = score(case, prediction, truth, numbered(len(truth)), drop_unknown_labels=True)
    assert [one.object_id for one in found.objects] == shown
    official = EDGE[case]["official"].get("per_sequence", {}).get(case, {"objects": {}})["objects"]
    for one in found.objects:
        if str(one.object_id) in official:
            assert list(one.J) == near(official[str(one.object_id)]["J"])
            assert list(one.F) == near(official[str(one.object_id)]["F"])
    if shown and list(official) == [str(label) for label in shown]:
        assert mean_scores(found.objects) == near(EDGE[case]["official"]["global"])


@pytest.mark.parametrize("case", [case for case in EDGE if EDGE[case].get("vos_benchmark")])
def test_objects_agree_with_the_second_tool_from_their_first_frame_on(case: str) -> None:
    truth, prediction = (arrays("edge")[f"{case}__{part}"] for part in ("gt", "pred"))
    others = {int(label): numbers for label, numbers in EDGE[case]["vos_benchmark"].items() if label != "255"}
    found = score(case, prediction, truth, numbered(len(truth)), drop_unknown_labels=True)
    for one in found.objects:
        shown = ((truth == one.object_id) | (prediction == one.object_id))[1:-1].any(axis=(1, 2))
        if one.object_id in others and shown.any():
            start = int(shown.argmax())
            assert 100 * one.J[start:].mean() == pytest.approx(others[one.object_id]["J_mean_percent"], abs=1e-7)
            assert 100 * one.F[start:].mean() == pytest.approx(others[one.object_id]["F_mean_percent"], abs=1e-7)


@pytest.mark.parametrize("pair", GOLDEN.get("pairs", {}))
def test_pairs_have_the_official_values_with_and_without_void(pair: str) -> None:
    expected = GOLDEN["pairs"][pair]
    truth, prediction, void = (arrays("pairs")[f"{pair}__{part}"] > 0 for part in ("gt", "pred", "void"))
    assert region_similarity(prediction, truth) == near(expected["J"])
    assert boundary_accuracy(prediction, truth) == near(expected["F"])
    assert region_similarity(prediction, truth, void=void) == near(expected["J_void"])
    assert boundary_accuracy(prediction, truth, void=void) == near(expected["F_void"])
    for key, value in expected.items():
        if fixed := re.fullmatch(r"F_bound_th_(\d+)px", key):
            assert boundary_accuracy(prediction, truth, tolerance=int(fixed[1])) == near(value)
    assert boundary_tolerance(*truth.shape) == expected["boundary_tolerance"]
    assert int(boundary_map(truth).sum()) == expected["boundary_pixels_gt"]
    assert int(boundary_map(prediction).sum()) == expected["boundary_pixels_pred"]


@pytest.mark.parametrize("entry", GOLDEN.get("boundary_maps", []), ids=lambda entry: entry["name"])
def test_contour_maps_are_the_official_ones(entry: dict[str, Any]) -> None:
    mask, expected = (np.array([list(row) for row in entry[key]]) == "1" for key in ("mask", "boundary"))
    assert np.array_equal(boundary_map(mask), expected)


@pytest.mark.parametrize("entry", GOLDEN.get("boundary_tolerance_table", []), ids=str)
def test_tolerances_are_the_official_ones(entry: dict[str, int]) -> None:
    assert boundary_tolerance(entry["height"], entry["width"]) == entry["tolerance"]


def with_nan(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


@pytest.mark.parametrize("entry", GOLDEN.get("statistics", {}).get("cases", []), ids=lambda entry: f"n{entry['n']}")
def test_statistics_are_the_official_ones_and_the_decay_is_also_right(entry: dict[str, Any]) -> None:
    values = with_nan(entry["values"]) if "values" in entry else values_of(GOLDEN["statistics"]["formula"], entry["n"])
    expected = with_nan(entry["official_mean_recall_decay"])
    assert list(summarise(values, official=True)) == pytest.approx(expected, abs=TOLERANCE, rel=0, nan_ok=True)
    assert list(summarise(values)) == near([*expected[:2], entry["decay_with_plain_integers"]])


@pytest.mark.parametrize(
    "entry", GOLDEN.get("statistics", {}).get("special", []), ids=lambda entry: str(entry["values"])
)
def test_statistics_of_ties_and_missing_values_are_the_official_ones(entry: dict[str, Any]) -> None:
    assert list(summarise(with_nan(entry["values"]))) == near(entry["official_mean_recall_decay"])


@pytest.fixture(scope="module")
def youtube_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, packed = tmp_path_factory.mktemp("youtube"), arrays("ytvos_fixture")
    meta = GOLDEN["ytvos_fixture"]["meta_json"]
    for video in meta["videos"]:
        for frame, true, predicted in zip(
            *(packed[f"{video}__{part}"] for part in ("frames", "gt", "pred")), strict=True
        ):
            write_mask(folder / "train" / "Annotations" / video / f"{frame}.png", true)
            write_mask(folder / "results" / video / f"{frame}.png", predicted)
    (folder / "train" / "meta.json").write_text(json.dumps(meta))
    return folder / "results", folder / "train"


@pytest.mark.parametrize("variant", GOLDEN.get("ytvos_fixture", {}).get("variants", {}))
def test_the_estimate_of_g_has_the_value_of_its_variant(variant: Any, youtube_folders: tuple[Path, Path]) -> None:
    fixture = GOLDEN["ytvos_fixture"]
    report = evaluate_youtube_vos(*youtube_folders, frames=variant)
    expected = {key: value for key, value in fixture["variants"][variant].items() if key != "rule"}
    assert report.scores == near(expected)
    named = evaluate_youtube_vos(*youtube_folders, frames=variant, seen_categories=fixture["seen_categories"])
    assert named.scores == report.scores


def test_objects_of_youtube_vos_have_the_official_values(youtube_folders: tuple[Path, Path]) -> None:
    expected = GOLDEN["ytvos_fixture"]["per_object"]
    report = evaluate_youtube_vos(*youtube_folders, frames="nothing_excluded")
    assert {f"{one.sequence}/{one.object_id}" for one in report.objects} == set(expected)
    for one in report.objects:
        numbers = expected[f"{one.sequence}/{one.object_id}"]
        assert list(one.frames) == numbers["frames"]
        assert list(one.J) == near(numbers["J"])
        assert list(one.F) == near(numbers["F"])
        assert report.is_seen(one) == numbers["seen"]
