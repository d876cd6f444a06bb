"""The commands end to end, on a tiny network with random weights: what they write, and how they refuse."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.contract_settings import build
from tests.helpers.shipped import ship_into
from vos_zoo import tasks
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config
from vos_zoo.create import create_model
from vos_zoo.methods.lwl.checkpoint import PREFIXES
from vos_zoo.video.formats import read_youtube_vis
from vos_zoo.video.masks import read_mask, write_mask

HYPERPARAMETERS: dict[str, Any] = {
    "backbone": "timm:resnet10t",
    "feature_channels": 16,
    "label_channels": 4,
    "label_widths": [4, 4, 8],
    "decoder_width": 4,
}
SIZE = (48, 80)
SETTINGS = ["data.synthetic.size=[48,80]", "data.synthetic.frames=6", "data.synthetic.max_objects=2"]
SETTINGS += ["data.synthetic.train_videos=1", "data.synthetic.val_videos=2", "data.synthetic.test_videos=2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    torch.manual_seed(0)
    create_model("lwl", track={"size": (32, 64)}, **HYPERPARAMETERS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    assert main(["make-data", "synthetic", "--output", str(folder), *SETTINGS]) == 0
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.strip().splitlines()


def first_sequence(davis: Path, split: str = "val") -> tuple[Path, Path]:
    name = (davis / "ImageSets" / "2017" / f"{split}.txt").read_text().split()[0]
    return davis / "JPEGImages" / "480p" / name, davis / "Annotations" / "480p" / name


def test_generated_data_pass_their_own_check(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(davis)]) == 0
    assert "2" in capsys.readouterr().out


def test_a_broken_mask_is_reported_by_file_and_the_rest_is_still_checked(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(davis, copy)
    _, masks = first_sequence(copy)
    Image.new("RGB", (SIZE[1], SIZE[0])).save(masks / "00002.png")
    assert main(["check-data", str(copy)]) == 1
    assert "00002.png" in capsys.readouterr().out


def test_validate_prints_the_scores(model: Path, davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "--weights", str(model), "--data", "davis", f"data.root={davis}", "trainer.accelerator=cpu"]
    assert main(words) == 0
    assert "J&F" in capsys.readouterr().out


def test_test_writes_masks_scores_and_the_baseline_and_skips_what_is_done(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--weights", str(model), "--data", "synthetic", "--output", str(tmp_path / "out"), *SETTINGS]
    assert main([*words, "trainer.accelerator=cpu"]) == 0
    text = capsys.readouterr().out
    assert "copying the first mask" in text
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores
    masks = sorted((tmp_path / "out" / "masks").rglob("*.png"))
    assert len(masks) == 2 * 6 and read_mask(masks[0]).shape == SIZE
    before = [mask.stat().st_mtime_ns for mask in masks]
    assert main([*words, "trainer.accelerator=cpu"]) == 0
    assert [mask.stat().st_mtime_ns for mask in masks] == before


def test_track_writes_palette_masks_and_an_overlay_video(model: Path, davis: Path, tmp_path: Path) -> None:
    frames, masks = first_sequence(davis)
    output = tmp_path / "tracked"
    words = ["track", str(frames), "--weights", str(model), "--mask", str(masks / "00000.png")]
    assert main([*words, "--output", str(output), "--overlay", "trainer.accelerator=cpu"]) == 0
    written = sorted(path.name for path in output.glob("*.png"))
    assert written == sorted(path.with_suffix(".png").name for path in frames.glob("*.jpg"))
    assert Image.open(output / written[0]).mode == "P"
    given, kept = read_mask(masks / "00000.png"), read_mask(output / "00000.png")
    assert (given == kept).mean() > 0.99
    assert (output / "overlay.mp4").stat().st_size > 0
    assert main([*words, "--output", str(tmp_path / "results.json"), "trainer.accelerator=cpu"]) == 0
    (video,) = read_youtube_vis(tmp_path / "results.json")
    assert all((video.labels(name) == read_mask(output / f"{name}.png")).all() for name in video.frames)
    assert (video.name, len(video.frames)) == (frames.name, len(written))


def test_track_writes_every_nth_frame_alone_as_it_would_among_all(model: Path, davis: Path, tmp_path: Path) -> None:
    frames, masks = first_sequence(davis)
    words = ["track", str(frames), "--weights", str(model), "--mask", str(masks / "00000.png")]
    for name, more in (("all", []), ("some", ["--every", "2"]), ("skipped", ["--every", "2", "--skip"])):
        assert main([*words, "--output", str(tmp_path / name), *more, "trainer.accelerator=cpu"]) == 0
    chosen = sorted(path.name for path in (tmp_path / "all").glob("*.png"))[::2]
    for name in ("some", "skipped"):
        assert sorted(path.name for path in (tmp_path / name).glob("*.png")) == chosen
    for file in chosen:
        assert (read_mask(tmp_path / "some" / file) == read_mask(tmp_path / "all" / file)).all()


def test_boxes_need_weights_with_a_box_encoder(
    model: Path, davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ship_into(tmp_path / "none", monkeypatch)
    frames, _ = first_sequence(davis)
    words = ["track", str(frames), "--weights", str(model), "--box", "1:10,10,20,20", "--output", str(tmp_path / "x")]
    assert main([*words, "trainer.accelerator=cpu"]) == 2
    assert "box encoder" in lines(capsys)[-1]
    assert not (tmp_path / "x").exists()


def test_a_box_starts_an_object_where_there_is_a_box_encoder(davis: Path, tmp_path: Path) -> None:
    frames, _ = first_sequence(davis)
    create_model("lwl", track={"size": (32, 64), "preset": "box"}, box_encoder=True, **HYPERPARAMETERS).save_pretrained(
        tmp_path / "model"
    )
    words = ["track", str(frames), "--weights", str(tmp_path / "model"), "--box", "3:10,10,20,20"]
    assert main([*words, "--output", str(tmp_path / "x"), "trainer.accelerator=cpu"]) == 0
    assert {int(i) for path in (tmp_path / "x").glob("*.png") for i in np.unique(read_mask(path))} <= {0, 3}


def test_an_authors_file_converts_into_a_folder_that_loads(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vos_zoo.model import VOSModel

    network = VOSModel.from_pretrained(model).network
    theirs = {}
    for name, tensor in network.state_dict().items():
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        theirs[PREFIXES[prefix] + name.removeprefix(prefix)] = tensor
    source = tmp_path / "authors.pth"
    torch.save({"net": theirs, "epoch": 3}, source)
    words = ["convert", str(source), "--model", "lwl", "--output", str(tmp_path / "ours")]
    words += [f"model.{name}={value}" for name, value in HYPERPARAMETERS.items()]
    assert main(words) == 0
    converted = VOSModel.from_pretrained(tmp_path / "ours").network.state_dict()
    assert all(torch.equal(tensor, converted[name]) for name, tensor in network.state_dict().items())
    del theirs["target_model.filter_optimizer.residual_module.filter_reg"]
    torch.save({"net": theirs}, source)
    assert main(words) == 2
    assert "filter_reg" in lines(capsys)[-1]


def test_wrong_requests_are_one_line_and_exit_with_two(
    model: Path, davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, masks = first_sequence(davis)
    wrong_size = tmp_path / "small.png"
    write_mask(wrong_size, np.ones((10, 10), dtype=np.uint8))
    coloured = tmp_path / "coloured.png"
    Image.new("RGB", (SIZE[1], SIZE[0]), (128, 0, 0)).save(coloured)
    track = ["track", str(frames), "--weights", str(model), "--output", str(tmp_path / "out")]
    mask = ["--mask", str(masks / "00000.png")]
    wrong = {
        "small.png": [*track, "--mask", str(wrong_size)],
        "coloured.png": [*track, "--mask", str(coloured)],
        "track.capacity": [*track, *mask, "track.capacty=3"],
        "data.root": ["validate", "--weights", str(model), "--data", "davis"],
        "no-such-folder": ["validate", "--weights", str(model), "--data", "davis", "data.root=no-such-folder"],
        "no-such-weights": ["track", str(frames), "--weights", "no-such-weights", *mask, "--output", "x"],
        "data.batch_size": ["fit", "--model", "lwl", "data.batch_size=many"],
        "vos-zoo convert": ["validate", "--weights", str(masks / "00000.png"), "--model", "lwl"],
    }
    for expected, words in wrong.items():
        assert main(words) == 2, words
        printed = lines(capsys)
        assert len(printed) == 1 and expected in printed[0], printed
    assert not (tmp_path / "out").exists()


def test_weights_bring_their_own_inference_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("giel").save_pretrained(tmp_path / "model")
    words = ["test", "--weights", str(tmp_path / "model"), "--data", "synthetic", "--output", str(tmp_path / "out")]
    seen = []
    monkeypatch.setattr(tasks, "run_test", lambda config, **_: seen.append(config.track))
    main(words)
    main([*words, "track.support_size=3"])
    main(["test", "--model", "giel", *words[1:], "--recipe", "quickstart"])
    assert load_config("giel").track["short_edge"] == 480, "what the method's file says"
    assert seen == [{}, {"support_size": 3}, {"short_edge": 128}]


@pytest.fixture(scope="module")
def reported(model: Path, davis: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks, an overlay and the confidence of a tracked video."""
    video, masks = first_sequence(davis)
    folder = tmp_path_factory.mktemp("reported") / "out"
    words = ["track", str(video), "--weights", str(model), "--mask", str(masks / "00000.png")]
    assert main([*words, "--output", str(folder), "--overlay", "--report"]) == 0
    return folder


def test_a_report_has_a_row_per_frame_and_object_and_a_chart(reported: Path) -> None:
    with (reported / "confidence.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = np.unique(read_mask(reported / "00000.png"))[1:].tolist()
    assert [(row["frame"], int(row["object"])) for row in rows] == [(f"{t:05d}", i) for t in range(6) for i in ids]
    assert all(row["expected_iou"] == "1.0000" and row["lost"] == "0" for row in rows[: len(ids)])
    assert all(0 <= float(row["expected_iou"]) <= 1 and float(row["evidence"]) <= 0 for row in rows[len(ids) :])
    assert np.asarray(Image.open(reported / "confidence.png")).shape[1] == 960


def test_review_shows_the_least_certain_masks_and_asks_a_second_method(
    reported: Path, model: Path, davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, _ = first_sequence(davis)
    words = ["review", str(reported), "--video", str(video), "--count", "2", "--output", str(tmp_path / "page")]
    assert main([*words, "--second", str(model), "--backward", str(model)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("frame 0000") and f"agreement with {model} 1.00" in out[0], "the same model agrees"
    assert re.search(r"agreement with the backward pass [01]\.\d\d;", out[0])
    page = (tmp_path / "page" / "review.html").read_text()
    pictures = re.findall(r'src="(pictures/\d+\.png)"', page)
    assert len(pictures) == 2 and all((tmp_path / "page" / name).is_file() for name in pictures)
    assert main(["review", str(davis), "--video", str(video), "--output", str(tmp_path / "no")]) == 2
    assert "confidence.csv: is not a report of confidence" in capsys.readouterr().err


def test_simulate_prints_a_curve_per_policy_and_draws_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", "--weights", str(model), "--data", "synthetic", *SETTINGS, "data.synthetic.late_objects=0.0"]
    words += ["--policy", "suggest", "--policy", "uniform", "--output", str(tmp_path)]
    assert main(words) == 0
    head, suggest, uniform, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["policy", "0", "1", "2", "4", "8", "area"]
    values = [float(value) for value in suggest.split()[1:]]
    assert values[0] < values[3] <= values[4] and suggest.startswith("suggest") and uniform.startswith("uniform")
    curves = json.loads((tmp_path / "curves.json").read_text())["curves"]
    assert curves["suggest"]["area"] == pytest.approx(values[5] / 100, abs=1e-3)
    assert np.asarray(Image.open(tmp_path / "curves.png")).shape == (400, 720, 3)
