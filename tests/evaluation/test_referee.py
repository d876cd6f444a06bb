"""`vos-zoo score`: masks of any form by any protocol, what is missing, what is written."""

from __future__ import annotations

import csv
import json
import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.scored_masks import PLAIN_FRAMES, TRUTH, labels, score, videos, write_maps
from vos_zoo.cli import main
from vos_zoo.evaluation.protocol_titles import PROTOCOL_TITLES
from vos_zoo.evaluation.referee.ahead import ReadAhead, reading_threads
from vos_zoo.evaluation.referee.protocols import PROTOCOLS
from vos_zoo.evaluation.referee.score_record import read_score_record
from vos_zoo.types import VOSError
from vos_zoo.video.formats import TrackMasks, to_youtube_vis
from vos_zoo.video.masks import write_mask

SCORING_PAGE = Path(__file__).resolve().parents[2] / "docs" / "scoring.md"
LVOS_FRAMES = [f"{1 + 5 * index:08d}" for index in range(6)]


def scores_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "scores.json").read_text()))


def test_one_command_leads_from_pngs_to_a_row_on_the_board(
    davis: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "one"
    words = ("--data", "davis17", f"data.root={davis}", "--output", out, "--name", "Cutie", "--source", "https://a.b/c")
    assert score(masks, *words) == 0
    found = scores_in(out)
    assert found["scores"]["J-Mean"] == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert found["videos"]["alpha"]["objects"]["1"]["J"] == 0.5
    assert {path.name for path in out.iterdir()} == {
        *("scores.json", "objects.csv", "videos.csv", "frames.csv", "report.html", "score_record.json")
    }
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == 4 * 4 and rows[0]["J"] == "0.500000"
    assert "alpha, object 1" in (out / "report.html").read_text()
    capsys.readouterr()
    assert main(["leaderboard", str(tmp_path / "runs")]) == 0
    board = capsys.readouterr().out
    assert re.search(r"Cutie \+ +masks +\d", board)
    assert "davis2017-val" in board and "masks made elsewhere, scored here" in board


@pytest.mark.skipif(not SCORING_PAGE.is_file(), reason="the tests run outside the repository: no page")
def test_the_command_of_the_page_leads_from_pngs_of_cutie_on_lvos_to_a_row_on_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lvos_root(tmp_path)
    write_maps(tmp_path / "cutie_lvos", videos(), LVOS_FRAMES)
    (command,) = re.findall(r"^vos-zoo (score cutie_lvos .*)$", SCORING_PAGE.read_text(), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 0
    assert "Cutie +" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "board" / "leaderboard.csv").open()))
    ours = next(row for row in rows if row["published"] == "masks")
    assert (ours["method"], ours["data"], ours["url"]) == (
        "Cutie",
        "lvos_v2-valid",
        "https://github.com/hkchengrex/Cutie",
    )
    assert float(ours["J"]) == 87.5 and any(row["method"] == "SAM 2.1" for row in rows), "published rows are there"
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "these masks are of 2 videos, the published rows of the whole split, 140: they cannot be compared" in page


def test_two_results_that_are_compared_go_on_no_board(
    masks: Path, davis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("--board", "b"), ("logger.name=wandb",)):
        assert score(masks, masks, "--data", "davis17", f"data.root={davis}", *words) == 2
        assert "score them one by one" in capsys.readouterr().err


def test_a_zip_and_coco_json_and_files_per_object_give_the_same_scores(
    davis: Path, masks: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for path in masks.rglob("*.png"):
            archive.write(path, f"results/Annotations/{path.relative_to(masks)}")
        archive.writestr("__MACOSX/results/._x.png", b"junk")
    tracks = [TrackMasks.from_labels(v, dict(zip(PLAIN_FRAMES, m, strict=True))) for v, m in videos().items()]
    (tmp_path / "masks.json").write_text(json.dumps(to_youtube_vis(tracks)))
    apart = tmp_path / "apart"
    for track in tracks:
        for one in track.objects:
            for frame in track.frames:
                path = apart / track.name / one / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(track.mask(one, frame).astype(np.uint8) * 255).save(path)
    results = []
    for number, source in enumerate((masks, tmp_path / "masks.zip", tmp_path / "masks.json", apart)):
        out = tmp_path / f"out{number}"
        assert score(source, "--data", "davis17", f"data.root={davis}", "--output", out) == 0
        results.append(scores_in(out))
    assert all(one["videos"] == results[0]["videos"] for one in results)
    assert all(one["masks"] == results[0]["masks"] for one in results), "the digest is of the masks, not of the files"


def test_missing_masks_are_named_and_never_guessed(
    davis: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (masks / "beta" / "00002.png").unlink()
    out = tmp_path / "out"
    words = ("--data", "davis17", f"data.root={davis}", "--output", out)
    assert score(masks, *words) == 1
    assert "beta (frames 00002)" in capsys.readouterr().err
    assert not out.exists()
    assert score(masks, *words, "--missing", "empty") == 0
    assert scores_in(out)["videos"]["beta"]["objects"]["1"]["J"] == 0.75
    assert scores_in(out)["missing"] == ["beta (frames 00002)"]
    assert "missing, counted as empty" in capsys.readouterr().out


def test_frames_that_are_not_scored_need_no_mask(davis: Path, masks: Path, tmp_path: Path) -> None:
    for video in ("alpha", "beta"):
        for frame in ("00000", "00005"):
            (masks / video / f"{frame}.png").unlink()
    assert score(masks, "--data", "davis17", f"data.root={davis}", "--output", tmp_path / "out") == 0


def test_a_missing_video_is_named(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_maps(tmp_path / "some", {"alpha": [TRUTH] * 6, "gamma": [TRUTH] * 6}, PLAIN_FRAMES)
    assert score(tmp_path / "some", "--data", "davis17", f"data.root={davis}", "--output", tmp_path / "out") == 1
    assert "beta (all 4 frames)" in capsys.readouterr().err


def test_masks_of_another_size_are_refused_with_the_frame(
    davis: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(masks / "beta" / "00003.png", TRUTH[::2, ::2])
    assert score(masks, "--data", "davis17", f"data.root={davis}", "--output", tmp_path / "out") == 1
    assert "video beta, frame 00003: the mask is 25x20, the ground truth 50x40" in capsys.readouterr().err


def test_masks_of_one_object_may_be_0_and_255(tmp_path: Path) -> None:
    one = labels((1, 5, 5, 20, 20))
    root = tmp_path / "any"
    write_maps(root, {"v": [one] * 4}, PLAIN_FRAMES[:4])
    for frame in PLAIN_FRAMES[:4]:
        path = tmp_path / "masks" / "v" / f"{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one * 255).save(path)
    out = tmp_path / "out"
    assert score(tmp_path / "masks", "--data", "vos_benchmark", f"data.root={root}", "--output", out) == 0
    assert scores_in(out)["scores"]["J"] == 1


def test_16_bit_ids_are_read(davis: Path, masks: Path, tmp_path: Path) -> None:
    for path in masks.rglob("*.png"):
        Image.fromarray(np.array(Image.open(path)).astype(np.uint16)).save(path)
    assert score(masks, "--data", "davis17", f"data.root={davis}", "--output", tmp_path / "out") == 0
    assert scores_in(tmp_path / "out")["videos"]["alpha"]["objects"]["1"]["J"] == 0.5


def lvos_root(tmp_path: Path, end: int = 31, count: int = 6) -> Path:
    root = tmp_path / "LVOS" / "val"
    write_maps(root / "Annotations", {"alpha": [TRUTH] * 6, "beta": [TRUTH] * 6}, LVOS_FRAMES)
    where = {"frame_range": {"start": "1", "end": str(end), "frame_nums": str(count)}}
    meta = {"videos": {video: {"objects": {"1": where, "2": where}} for video in ("alpha", "beta")}}
    (root / "valid_meta.json").write_text(json.dumps(meta))
    return root.parent


def test_lvos_has_groups_and_a_list_of_unseen_videos(tmp_path: Path) -> None:
    root, out = lvos_root(tmp_path), tmp_path / "out"
    write_maps(tmp_path / "masks", videos(), LVOS_FRAMES)
    (tmp_path / "unseen.txt").write_text("beta\n")
    words = ("--data", "lvos", f"data.root={root}", f"data.unseen={tmp_path / 'unseen.txt'}", "--output", out)
    assert score(tmp_path / "masks", *words) == 0
    found = scores_in(out)
    assert (found["scores"]["J-seen-Mean"], found["scores"]["J-unseen-Mean"]) == (0.75, 1)
    assert found["videos"]["beta"]["objects"]["1"]["group"] == "unseen"
    assert read_score_record(out / "score_record.json").scores["J_seen"] == 0.75


def test_official_values_are_marked(tmp_path: Path) -> None:
    root, out = lvos_root(tmp_path, count=8), tmp_path / "out"
    write_maps(tmp_path / "masks", videos(), LVOS_FRAMES)
    assert score(tmp_path / "masks", "--data", "lvos", f"data.root={root}", "--output", out, "--official") == 0
    found = scores_in(out)
    assert found["official"] and "quirks are reproduced" in found["notes"][0]
    assert found["videos"]["beta"]["objects"]["1"]["J"] == pytest.approx(5 / 6), "a zero for a frame nobody has"


def test_the_help_lists_every_protocol_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    said = "".join(capsys.readouterr().out.split())  # lines are wrapped anywhere
    assert list(PROTOCOLS) == list(PROTOCOL_TITLES)
    assert all(f"{name}:{''.join(title.split())}" in said for name, title in PROTOCOL_TITLES.items())


def test_the_worst_objects_are_pictures_where_the_frames_are_there(davis: Path, masks: Path, tmp_path: Path) -> None:
    words = ("--data", "davis17", f"data.root={davis}", "--output")
    assert score(masks, *words, tmp_path / "without") == 0
    assert "data:image" not in (tmp_path / "without" / "report.html").read_text()
    for frame in PLAIN_FRAMES:
        path = davis / "JPEGImages" / "480p" / "alpha" / f"{frame}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", TRUTH.shape[::-1], (90, 90, 90)).save(path)
    assert score(masks, *words, tmp_path / "with") == 0
    page = (tmp_path / "with" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2, "alpha has frames, beta none"
    assert page.index("alpha, object 1") < page.index("data:image/jpeg") < page.index("beta, object 1")


@pytest.mark.parametrize("protocol", ["vost", "mosev2", "visor", "mose", "youtube_vos19"])
def test_every_layout_is_found(protocol: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    inside = {"visor": "Annotations/480p", "mose": "valid/Annotations", "youtube_vos19": "jjvalid/Annotations"}
    truth = root / inside.get(protocol, "Annotations")
    write_maps(truth, {"alpha": [TRUTH] * 6, "beta": [TRUTH] * 6}, PLAIN_FRAMES)
    write_maps(tmp_path / "masks", videos(), PLAIN_FRAMES)
    lists = root / "ImageSets" / ("2022" if protocol == "visor" else "")
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("alpha\nbeta\n")
    objects: Any = ["1", "2"]
    if protocol == "youtube_vos19":
        objects = {one: {"category": "dog", "frames": PLAIN_FRAMES} for one in ("1", "2")}
    meta = {"videos": {video: {"length": 6, "objects": objects} for video in ("alpha", "beta")}}
    (truth.parent / "meta.json").write_text(json.dumps(meta))
    out = tmp_path / "out"
    assert score(tmp_path / "masks", "--data", protocol, f"data.root={root}", "--output", out) == 0
    found = scores_in(out)["videos"]
    assert found["beta"]["objects"]["1"]["J"] == 1
    assert found["alpha"]["objects"]["1"]["J"] == pytest.approx(0.5, abs=0.01)


def sav_root(tmp_path: Path) -> Path:
    for root in ("gt/Annotations_6fps", "masks"):
        for one in ("000", "001"):
            for frame in PLAIN_FRAMES:
                path = tmp_path / root / "sav_1" / one / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                mask = labels((1, 5, 5, 20, 20 if one == "000" or root != "masks" else 10))
                Image.fromarray(mask * 255).save(path)
    return tmp_path / "gt"


def test_sa_v_has_a_folder_per_object_and_objects_that_overlap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = sav_root(tmp_path), tmp_path / "out"
    words = ("--data", "sav", f"data.root={root}", "--output", out)
    assert score(tmp_path / "masks", *words) == 0
    objects = scores_in(out)["videos"]["sav_1"]["objects"]
    assert {name: one["J"] for name, one in objects.items()} == {"000": 1, "001": 0.5}
    for path in (tmp_path / "masks" / "sav_1" / "001").iterdir():
        path.unlink()
    assert score(tmp_path / "masks", *words) == 1
    assert "sav_1/001 (all 4 frames)" in capsys.readouterr().err
    write_maps(tmp_path / "maps", {"sav_1": [TRUTH] * 6}, PLAIN_FRAMES)
    assert score(tmp_path / "maps", *words) == 1
    assert "do not say which object is which" in capsys.readouterr().err


def test_files_per_object_that_overlap_cannot_be_one_label_map(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for video in ("alpha", "beta"):
        for one in ("1", "2"):
            for frame in PLAIN_FRAMES:
                path = tmp_path / "apart" / video / one / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels((1, 5, 5, 20, 20)) * 255).save(path)
    assert score(tmp_path / "apart", "--data", "davis17", f"data.root={davis}", "--output", tmp_path / "out") == 1
    assert "objects 1 and 2 overlap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "davis71", "data.root=x"], "did you mean"),
        (["--data", "davis17"], "data.root=FOLDER is missing"),
        (["--data", "davis17", "data.rot=x"], "data.rot"),
        (["data.root=x"], "which protocol?"),
        (["--data", "davis17", "data.root=nowhere"], "there is no such list"),
        (["--data", "davis17", "data.root=x", "data.ends=perhaps"], "true or false"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(
    words: list[str], message: str, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(masks, *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_masks_that_belong_to_no_video_of_the_data_are_refused(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_maps(tmp_path / "other", {"gamma": [TRUTH] * 6}, PLAIN_FRAMES)
    assert score(tmp_path / "other", "--data", "davis17", f"data.root={davis}") == 1
    assert "no folder of any video of the data set (such as alpha, beta)" in capsys.readouterr().err


def test_the_results_never_replace_the_masks(davis: Path, masks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(masks, "--data", "davis17", f"data.root={davis}", "--output", masks) == 2
    assert "would be overwritten" in capsys.readouterr().err


def test_frames_are_read_ahead_each_once_and_an_error_comes_with_its_own_frame() -> None:
    read: list[str] = []

    def load(frame: str) -> str:
        read.append(frame)
        if frame == "c":
            raise VOSError("c is broken")
        return frame.upper()

    with reading_threads() as pool:
        ahead = ReadAhead(load, "abcdefgh", pool)
        assert [ahead("a"), ahead("b")] == ["A", "B"]
        with pytest.raises(VOSError, match="c is broken"):
            ahead("c")
        assert [ahead(frame) for frame in "defgh"] == list("DEFGH") and sorted(read) == list("abcdefgh")
        assert ahead("a") == "A" and ahead("x") == "X", "frames may be asked for again, and others, too"
