"""SA-V, vos-benchmark, LVOS, VOST, MOSEv2, VISOR and DAVIS: every number of the official programs in the reference.

Protocols, videos, cases and values are read from the folder, so any other one of the same form can take its place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.lvos import read_ranges, score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import read_objects, score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.score_report import ScoredObject, ScoreReport
from vos_zoo.metrics.vost import score_vost
from vos_zoo.types import VOSError

TOLERANCE = 1e-9
DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "reference"
FOLDER = Path(os.environ.get("VOS_ZOO_REFERENCE", DEFAULT)) / "protocols"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text()) if (FOLDER / "golden.json").is_file() else {}
pytestmark = pytest.mark.skipif(
    not GOLDEN, reason="VOS_ZOO_REFERENCE: there is no protocols/golden.json on this machine"
)

PROTOCOLS: dict[str, dict[str, Any]] = GOLDEN.get("protocols", {})
PERCENT = {"sav", "vos_benchmark", "mosev2"}
PERCENT_PER_OBJECT = {"sav", "vos_benchmark"}
SETS = [(protocol, name) for protocol, found in PROTOCOLS.items() for name in found["sets"]]
EDGE = [(protocol, case) for protocol, found in PROTOCOLS.items() for case in found["edge"]]
VARIANTS = ("skip", "noskip")


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def mask_video(
    name: str,
    truth: np.ndarray,
    prediction: np.ndarray,
    frames: Sequence[str],
    objects: Mapping[int, str] | None = None,
) -> MaskVideo:
    index = {frame: number for number, frame in enumerate(frames)}
    return MaskVideo(
        name, tuple(frames), lambda f: truth[index[f]], lambda f: prediction[index[f]], objects=objects or {}
    )


def frame_names(protocol: str, count: int) -> list[str]:
    names = GOLDEN["frame_names"]
    return list(names[protocol if protocol in names else protocol.split("_")[0]][:count])


def label_videos(protocol: str, name: str) -> list[MaskVideo]:
    group, prediction = name.split("_", 1)
    found = []
    for video, about in GOLDEN["sets"]["label_videos"].items():
        if group in (about["group"], "all"):
            packed = arrays(f"{about['group']}_{video}")
            truth, predicted = packed["gt"], packed[f"pred_{prediction}"]
            found.append(mask_video(video, truth, predicted, frame_names(protocol, len(truth))))
    return found


def object_videos(name: str) -> list[MaskVideo]:
    """SA-V's videos, one per object: its own ones, or label videos taken apart."""
    found = []
    if "_" not in name:
        for video, about in GOLDEN["sets"]["sav_videos"].items():
            packed = arrays(video)
            for title, truth, predicted in zip(about["objects"], packed["gt"], packed[f"pred_{name}"], strict=True):
                found.append(mask_video(video, truth, predicted, frame_names("sav", len(truth)), {1: title}))
        return found
    for labels in label_videos("sav", name):
        packed = arrays(f"common_{labels.name}")
        truth, predicted = packed["gt"], packed[f"pred_{name.split('_', 1)[1]}"]
        for one in sorted({*np.unique(truth).tolist()} - {0, 255}):
            masks = [(array == one).astype(np.uint8) for array in (truth, predicted)]
            found.append(mask_video(labels.name, *masks, labels.frames, {1: f"{one:03}"}))
    return found


def score(
    protocol: str,
    videos: Sequence[MaskVideo],
    *,
    official: bool = True,
    ends: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> ScoreReport:
    """The videos' scores by a protocol of the folder, with the folder's meta files unless others are given."""
    if protocol in ("sav", "vos_benchmark"):
        return score_sa_v(videos, official=official, ends=ends)
    if protocol in ("lvos", "lvos_2022"):
        ranges = read_ranges(meta or GOLDEN["lvos_meta"])
        edition: Any = "2024" if protocol == "lvos" else "2022"
        return score_lvos(videos, ranges, GOLDEN["lvos_unseen_videos"], official=official, edition=edition)
    if protocol == "mosev2":
        return score_mosev2(videos, read_objects(meta or GOLDEN["mosev2_meta"]), official=official)
    plain: dict[str, Callable[..., ScoreReport]] = {"vost": score_vost, "visor": score_visor, "davis": score_davis}
    return plain[protocol](videos, official=official)


@cache
def scored_set(protocol: str, name: str, official: bool, ends: bool = False) -> ScoreReport:
    videos = object_videos(name) if protocol == "sav" else label_videos(protocol, name)
    return score(protocol, videos, official=official, ends=ends)


def number(value: Any) -> float:
    return math.nan if value is None or value == "nan" else float(value)


def near(value: Any, scale: float = 1.0) -> Any:
    if isinstance(value, Mapping):
        value = {key: number(one) * scale for key, one in value.items()}
    elif isinstance(value, list):
        value = [number(one) * scale for one in value]
    else:
        value = number(value) * scale
    return pytest.approx(value, abs=TOLERANCE, rel=0, nan_ok=True)


def results_of(protocol: str, found: Mapping[str, Any]) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    """(whether first and last frame count, what is expected)."""
    if any(variant in found for variant in VARIANTS):
        yield from ((variant == "noskip", found[variant]) for variant in VARIANTS if variant in found)
    else:
        yield False, found


def assert_objects_equal(protocol: str, report: ScoreReport, expected: Mapping[str, Mapping[str, Any]]) -> None:
    of_video: dict[str, dict[str, ScoredObject]] = {video: {} for video in expected}
    for one in report.objects:
        of_video[one.video][one.name] = one
    assert {v: {*found} for v, found in of_video.items()} == {v: {*objects} for v, objects in expected.items()}
    scale = 0.01 if protocol in PERCENT_PER_OBJECT else 1
    for video, objects in expected.items():
        for name, values in objects.items():
            assert_object_equals(of_video[video][name], values, scale)


def assert_object_equals(found: ScoredObject, values: Mapping[str, Any], scale: float) -> None:
    for key, value in values.items():
        if key.endswith("_frames"):
            assert list(found.values[key.removesuffix("_frames")]) == near(value), key
            assert len(found.frames) == len(value)
        elif key not in ("name", "truth_empty"):
            assert found.scores[key] == near(value, scale), key


def assert_final_equals(protocol: str, report: ScoreReport, expected: Mapping[str, Any]) -> None:
    scale = 0.01 if protocol in PERCENT else 1
    assert {key: report.scores[key] for key in expected} == near(dict(expected), scale)


@pytest.mark.parametrize(("protocol", "name"), SETS)
def test_sets_have_the_official_values_from_frames_to_final_numbers(protocol: str, name: str) -> None:
    for ends, expected in results_of(protocol, PROTOCOLS[protocol]["sets"][name]):
        if "exception" in expected:
            with pytest.raises(VOSError):
                scored_set(protocol, name, True, ends)
            continue
        report = scored_set(protocol, name, True, ends)
        if "objects" in expected:
            assert_objects_equal(protocol, report, expected["objects"])
        assert_final_equals(protocol, report, expected["global"])


def shown_ranges(truth: np.ndarray) -> dict[str, Any]:
    """A meta file of LVOS in which each object is in the range from its first frame to the end of the video."""
    names = [int(name) for name in frame_names("lvos", len(truth))]
    entries = {}
    for one in sorted({*np.unique(truth).tolist()} - {0, 255}):
        first = int((truth == one).any(axis=(1, 2)).argmax())
        frame_range = {"start": names[first], "end": names[-1] + 5, "frame_nums": len(truth) - first}
        entries[str(one)] = {"frame_range": frame_range}
    return {"videos": {"v": {"objects": entries}}}


def edge_videos(protocol: str, case: str) -> tuple[list[MaskVideo], dict[str, Any] | None]:
    packed = arrays("sav_edge" if protocol == "sav" else "edge")
    truth, prediction = packed[f"{case}__gt"], packed[f"{case}__pred"]
    frames = frame_names(protocol, truth.shape[-3])
    if protocol == "sav":
        pairs = enumerate(zip(truth, prediction, strict=True))
        return [mask_video("v", *masks, frames, {1: f"{index:03}"}) for index, masks in pairs], None
    meta = shown_ranges(truth) if protocol.startswith("lvos") else None
    if protocol == "mosev2":
        ids = sorted({*np.unique(truth).tolist()} - {0, 255})
        meta = {"videos": {"v": {"objects": ids}}}
    return [mask_video("v", truth, prediction, frames)], meta


@pytest.mark.parametrize(("protocol", "case"), EDGE)
def test_edge_cases_have_the_official_values(protocol: str, case: str) -> None:
    expected = PROTOCOLS[protocol]["edge"][case]
    videos, meta = edge_videos(protocol, case)
    stopped_by_itself = expected.get("exception") == "SystemExit"
    if stopped_by_itself:
        with pytest.raises(VOSError, match="label"):
            score(protocol, videos, meta=meta)
        return
    report = score(protocol, videos, meta=meta)
    crashed = [video for video, one in expected.items() if isinstance(one, Mapping) and "exception" in one]
    if "exception" in expected or crashed:
        assert report.unscored, "what the program crashes on is left out, and named"
        assert {one.name for one in report.objects}.isdisjoint(name for _, name, _ in report.unscored)
        assert all(math.isfinite(value) for one in report.objects for value in one.scores.values())
        return
    if "objects_perfect" in expected:  # gaps in the ids, which the folder counts but does not list
        gaps = [one for one in report.objects if one.name not in expected["objects"][one.video]]
        assert f"{len(gaps)} ids" in expected["objects_perfect"]
        assert all((series == 1).all() for one in gaps for series in one.values.values())
        listed = tuple(one for one in report.objects if one.name in expected["objects"][one.video])
        assert_objects_equal(protocol, replace(report, objects=listed), expected["objects"])
    else:
        assert_objects_equal(protocol, report, expected["objects"])
    assert_final_equals(protocol, report, expected["global"])


def is_void_free(protocol: str, one: ScoredObject, videos: Iterable[MaskVideo]) -> bool:
    """Whether the truth of an object's video has no 255 (which VOST leaves out by default)."""
    video = next(video for video in videos if video.name == one.video)
    return protocol != "vost" or not any((video.truth(frame) == 255).any() for frame in video.frames)


@pytest.mark.parametrize(("protocol", "name"), [(p, n) for p, n in SETS if not n.startswith("all")])
def test_the_default_gives_the_same_j_and_differs_by_known_quirks_alone(protocol: str, name: str) -> None:
    expected = PROTOCOLS[protocol]["sets"][name]
    if "exception" in expected:
        return
    expected = expected.get("skip", expected)["objects"]
    report = scored_set(protocol, name, False)
    videos = object_videos(name) if protocol == "sav" else label_videos(protocol, name)
    compared = 0
    for one in report.objects:
        values = expected.get(one.video, {}).get(one.name)
        if values is None or not is_void_free(protocol, one, videos):
            continue
        compared += 1
        scale = 0.01 if protocol in PERCENT_PER_OBJECT else 1
        assert one.scores["J"] == near(values["J"], scale)
        if protocol not in ("vost", "mosev2"):
            assert one.scores["F"] == near(values["F"], scale)
        if "V" in values:
            assert one.scores["V"] ** 2 == pytest.approx(values["V"] ** 2, abs=0.5e-4 + TOLERANCE)
    assert compared == len([one for one in report.objects if is_void_free(protocol, one, videos)]) or name[:4] == "late"


META = [(name, case) for name in ("lvos", "lvos_2022") for case in GOLDEN.get(f"{name}_meta_cases", {})]


def meta_video(name: str = "v", protocol: str = "lvos") -> MaskVideo:
    truth, prediction = (arrays("edge")[f"metacase__{part}"] for part in ("gt", "pred"))
    return mask_video(name, truth, prediction, frame_names(protocol, len(truth)))


@pytest.mark.parametrize(("protocol", "case"), META)
def test_meta_files_of_lvos_have_the_official_effect(protocol: str, case: str) -> None:
    about = GOLDEN[f"{protocol}_meta_cases"][case]
    report = score(protocol, [meta_video()], meta=about["meta"])
    default = score(protocol, [meta_video()], meta=about["meta"], official=False)
    if "exception" in about["result"]:
        assert "the official program stops" in str(report.notes())
        assert [one.frames for one in report.objects] == [one.frames for one in default.objects]
        assert report.scores["J-seen-Mean"] == near(default.scores["J-seen-Mean"])
        return
    assert_objects_equal(protocol, report, about["result"]["objects"])
    assert_final_equals(protocol, report, about["result"]["global"])
    real = [one for one in report.objects if "-" not in one.frames and one.frames]
    for one in real:
        assert list(next(o for o in default.objects if o.name == one.name).values["J"]) == near(list(one.values["J"]))


@pytest.mark.parametrize("case", [c for c, about in GOLDEN.get("mosev2_meta_cases", {}).items() if not about["exit"]])
def test_meta_files_of_mosev2_have_the_official_effect(case: str) -> None:
    about = GOLDEN["mosev2_meta_cases"][case]
    videos = [meta_video(name, "mosev2") for name in about["meta"]["videos"]]
    report = score("mosev2", videos, meta=about["meta"])
    assert printed(report.scores) == about["files"]["out/scores.txt"].splitlines()[: len(report.scores)]
    expected = about["files"]["out/metrics.json"]
    assert {f"{one.video}_{one.name}" for one in report.objects} == {*expected}
    for one in report.objects:
        rows = expected[f"{one.video}_{one.name}"]
        for key in ("J", "F_new", "F"):
            assert round(100 * one.scores[key], 2) == pytest.approx(rows[key], abs=1e-9)


def printed(scores: Mapping[str, float]) -> list[str]:
    return [f"{name}: {round(100 * value, 2)}" for name, value in scores.items()]


COLUMNS = {
    "DAVIS": ("davis", {"J": "J-Mean", "F": "F-Mean", "J&F": "J&F-Mean"}),
    "VISOR": ("visor", {"J": "J-Mean", "F": "F-Mean", "J&F": "J&F-Mean"}),
    "vos-benchmark": ("vos_benchmark", {name: name for name in ("J", "F", "J&F")}),
    "SA-V": ("sav", {name: name for name in ("J", "F", "J&F")}),
    "VOST": ("vost", {"J": "J-Mean", "J_last": "J_last-Mean"}),
    "LVOS": (
        "lvos",
        {"J (seen+unseen)/2": "J-Mean", "F (seen+unseen)/2": "F-Mean", "J&F": "J&F-Mean", "V": "V-Mean"},
    ),
    "LVOS 2022": ("lvos_2022", {"J&F": "J&F-Mean"}),
    "MOSEv2": (
        "mosev2",
        {name: name for name in ("J", "F_new", "J&F_new", "F", "J&F")}
        | {"disappear": "disappear_J&F_new", "reappear": "reappear_J&F_new"},
    ),
}


@pytest.mark.parametrize("row", GOLDEN.get("table_same_prediction", []), ids=lambda row: str(row["prediction"]))
def test_the_same_masks_get_the_table_of_all_protocols(row: dict[str, Any]) -> None:
    checked = {"prediction", "LVOS J all objects"}
    for title, (protocol, columns) in COLUMNS.items():
        scores = scored_set(protocol, f"common_{row['prediction']}", True).scores
        for column, name in columns.items():
            assert 100 * scores[name] == pytest.approx(row[f"{title} {column}"], abs=1e-7)
            checked.add(f"{title} {column}")
    assert checked == {*row}
