"""The record of a `vos-zoo test` run: complete, the same twice, refused when it is not what it says."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.tiny_lwl import TINY, save_tiny
from vos_zoo.cli import main
from vos_zoo.create import create_model
from vos_zoo.engine.views import FullFrame
from vos_zoo.evaluation.record import (
    SCHEMA,
    DataFacts,
    Environment,
    Result,
    RunFacts,
    RunRecord,
    find_records,
    read_record,
    write_record,
)
from vos_zoo.methods._few_shot.search_region import SearchRegion
from vos_zoo.types import VOSError

VIDEOS = ["data.synthetic.size=[48,80]", "data.synthetic.frames=5", "data.synthetic.test_videos=2"]


def example(**changes: Any) -> RunRecord:
    """A record as a run would write it; keywords replace fields of its parts."""
    scores = {"J": 0.6, "F": 0.7, "J&F": 0.65}
    parts = {
        "data": DataFacts("davis", "davis2017-val", "val", "d" * 64, 30, 1999, 61),
        "result": Result(
            method="lwl",
            model={"decoder_width": 64},
            weights="a" * 64,
            parameters=42_000_000,
            data=DataFacts("davis", "davis2017-val", "val", "d" * 64, 30, 1999, 61),
            preset="",
            track={"precision": "float32", "size": [480, 832]},
            size=480,
            precision="float32",
            scores=scores,
            sequences={"dog": {"1": scores}},
            unscored={},
            failures={},
        ),
        "environment": Environment("cuda:0 (GPU)", "0123456789abcdef", {"torch": "2.11"}),
        "run": RunFacts("2026-11-21T12:00:00+00:00", "weights/lwl", 100.0, 20.0, 25.0, 2**30, "cuda", 0),
    }
    for name, value in changes.items():
        owner = next(part for part in parts.values() if hasattr(part, name))
        key = next(key for key, part in parts.items() if part is owner)
        parts[key] = replace(owner, **{name: value})
    data, result = parts["data"], parts["result"]
    assert isinstance(data, DataFacts) and isinstance(result, Result)
    return RunRecord(replace(result, data=data), parts["environment"], parts["run"])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "model")


def run(model: Path, output: Path, *overrides: str) -> dict[str, Any]:
    words = ["test", "--weights", str(model), "--data", "synthetic", "--output", str(output), *VIDEOS]
    assert main([*words, "trainer.accelerator=cpu", *overrides]) == 0
    content: dict[str, Any] = json.loads((output / "record.json").read_text())
    return content


def test_the_same_weights_evaluated_twice_give_the_same_record_but_for_the_run(model: Path, tmp_path: Path) -> None:
    first, second = run(model, tmp_path / "a"), run(model, tmp_path / "b")
    assert first["run"] != second["run"], "two runs take different times"
    assert {**first, "run": None} == {**second, "run": None}
    half = run(model, tmp_path / "c", "track.precision=bf16")
    assert half["digest"] != first["digest"] and half["result"]["weights"] == first["result"]["weights"]


def test_a_record_says_all_that_the_run_depended_on(model: Path, tmp_path: Path) -> None:
    record = run(model, tmp_path, "track.capacity=5")
    result, where, clock = record["result"], record["environment"], record["run"]
    weights = create_model("lwl", **TINY)
    assert record["schema"] == SCHEMA
    assert result["method"] == "lwl" and len(result["weights"]) == 64
    assert result["parameters"] == sum(p.numel() for p in weights.parameters())
    assert result["model"]["decoder_width"] == 4
    assert result["data"] | {"digest": ""} == {
        "name": "synthetic",
        "title": "synthetic-test",
        "split": "test",
        "digest": "",
        "videos": 2,
        "frames": 10,
        "objects": sum(len(objects) for objects in result["sequences"].values()),
    }
    assert (result["size"], result["precision"], result["track"]["capacity"]) == (32, "float32", 5)
    values = [scores for objects in result["sequences"].values() for scores in objects.values()]
    for name in ("J", "F", "J&F"):
        assert result["scores"][name] == pytest.approx(sum(v[name] for v in values) / len(values))
    assert where["device"].startswith("cpu (") and where["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert clock["source"] == str(model) and clock["fps"] > 0 and clock["tracking_fps"] > clock["fps"]
    assert clock["peak_memory"] > 2**20 and clock["memory_kind"] == "process" and clock["reused"] == 0
    again = run(model, tmp_path, "track.capacity=5")
    assert again["run"]["reused"] == 2 and again["result"] == result


def test_other_videos_are_another_task(model: Path, tmp_path: Path) -> None:
    digests = {
        run(model, tmp_path / str(number), *words)["result"]["data"]["digest"]
        for number, words in enumerate([[], ["data.synthetic.test_videos=1"], ["seed=1"]])
    }
    assert len(digests) == 3


def square_video(root: Path, forgotten: range = range(0), shade: int = 220) -> None:
    """Six frames of a square that moves, with masks; those of some frames are forgotten."""
    for index in range(6):
        box = slice(16 + index, 37 + index), slice(12 + 2 * index, 36 + 2 * index)
        frame, labels = np.full((64, 96, 3), 90, np.uint8), np.zeros((64, 96), np.uint8)
        frame[box] = (shade, 40, 30)
        if index not in forgotten:
            labels[box] = 1
        for kind, array, ending in (("JPEGImages", frame, "bmp"), ("Annotations", labels, "png")):
            file = root / kind / "clip" / f"{index:05d}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file)


def test_a_data_set_that_was_corrected_is_scored_anew_and_kept_apart(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(output: str) -> dict[str, Any]:
        words = ["test", "--weights", str(model), "--data", "folder", f"data.root={tmp_path / 'data'}"]
        assert main([*words, "--output", str(tmp_path / output), "trainer.accelerator=cpu"]) == 0
        content: dict[str, Any] = json.loads((tmp_path / output / "record.json").read_text())
        return content

    square_video(tmp_path / "data", forgotten=range(1, 5))
    before = score("first")
    assert score("first")["run"]["reused"] == 1
    shutil.copytree(tmp_path / "first", tmp_path / "out")
    square_video(tmp_path / "data")  # masks corrected under the same names
    corrected, fresh = score("out"), score("fresh")
    assert corrected["run"]["reused"] == 0 and corrected["result"] == fresh["result"]
    assert corrected["result"]["scores"] != before["result"]["scores"]
    sizes = {path: path.stat().st_size for path in (tmp_path / "data" / "JPEGImages").rglob("*.bmp")}
    square_video(tmp_path / "data", shade=120)  # frames, too, with the same sizes
    assert sizes == {path: path.stat().st_size for path in sizes}
    assert score("out")["run"]["reused"] == 0
    digests = {
        name: read_record(tmp_path / name / "record.json").result.data.digest for name in ("first", "out", "fresh")
    }
    assert len(set(digests.values())) == 3
    capsys.readouterr()
    assert main(["leaderboard", *(str(tmp_path / name) for name in digests), "--output", str(tmp_path / "board")]) == 0
    said = capsys.readouterr().out
    assert "3 tables, because the runs differ in data" in said
    assert all(f"data {digest[:12]}" in said for digest in digests.values())


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    record = example(unscored={"bär": "it has no ground truth"}, git=None)
    path = write_record(record, tmp_path / "run")
    read = read_record(path)
    assert read.to_json() == record.to_json() and read.digest == record.digest
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, "update"),
        ({"schema": None}, "not a run record"),
        ({"result": None}, "not a complete run record"),
        ({"environment": {"device": "cpu"}}, "not a complete run record"),
        ({"run": {"speed": 1}}, "not a complete run record"),
    ],
)
def test_what_is_no_record_is_refused_by_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**example().to_json(), **change}))
    with pytest.raises(VOSError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)


def test_an_edited_score_is_noticed(tmp_path: Path) -> None:
    content = example().to_json()
    content["result"]["scores"]["J"] = 0.99
    (tmp_path / "record.json").write_text(json.dumps(content))
    with pytest.raises(VOSError, match="edited"):
        read_record(tmp_path / "record.json")
    (tmp_path / "record.json").write_text('{"schema": 1, ')
    with pytest.raises(VOSError, match="cannot be read"):
        read_record(tmp_path / "record.json")


def test_the_digest_covers_the_result_and_nothing_of_the_clock() -> None:
    record = example()
    assert example(fps=1.0, device="cpu", git=None).digest == record.digest
    for change in ({"weights": "b"}, {"size": 240}, {"precision": "bf16"}, {"scores": {}}, {"split": "train"}):
        assert example(**change).digest != record.digest
    assert asdict(record)["result"]["data"]["videos"] == 30


def test_records_are_found_below_the_folders_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b/x", "a", "b"):
        write_record(example(), tmp_path / name)
    found = list(find_records([tmp_path, tmp_path / "b"]))
    assert [path.parent.relative_to(tmp_path).as_posix() for path in found] == ["a", "b", "b/x"]


@pytest.mark.parametrize(
    ("view", "frames", "size"),
    [
        (SearchRegion((480, 832)), [(720, 1280)], 480),
        (FullFrame(short_edge=240), [(720, 1280)], 240),
        (FullFrame(), [(480, 854), (910, 480)], 480),
        (FullFrame(), [(480, 854), (720, 1280)], None),
    ],
)
def test_the_size_is_the_shorter_side_of_what_the_network_sees(view: Any, frames: Any, size: int | None) -> None:
    assert view.working_size(frames) == size
