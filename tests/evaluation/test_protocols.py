"""The evaluation protocols: what is scored, reported and submitted, and what the worst objects look like."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.test_evaluation import Squares, perfect
from tests.helpers.contract_settings import settings_of
from tests.helpers.youtube_videos import SIZE, Late, lagging, write_meta
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config
from vos_zoo.create import create_model
from vos_zoo.evaluation import check_submission, copy_first_mask, evaluate, format_table, protocol_of, write_archive
from vos_zoo.evaluation.gallery import chosen_frames, write_gallery
from vos_zoo.evaluation.protocols import only_sampled
from vos_zoo.metrics import evaluate_davis, evaluate_youtube_vos
from vos_zoo.registry import available_methods
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import read_mask, write_mask

quiet = partial(evaluate, progress=False)
DAVIS, YOUTUBE = protocol_of("davis", 2017), protocol_of("youtube_vos", 2019)


# -- which data set means which protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reader", "year", "title"),
    [("davis16", "davis", 2016, "DAVIS 2016"), ("davis17", "davis", 2017, "DAVIS 2017")],
)
def test_the_name_of_an_edition_chooses_reader_year_and_protocol(name: str, reader: str, year: int, title: str) -> None:
    config = load_config("lwl", data=name, overrides=["data.root=X"])
    assert (config.data.name, config.data.year) == (reader, year)
    assert protocol_of(config.data.name, config.data.year).name == title
    assert load_config("lwl", overrides=[f"data.name={name}", "data.root=X"]).data.name == reader


def test_videos_of_no_known_set_are_scored_by_the_davis_rule_and_go_to_no_server() -> None:
    plain = protocol_of("folder", 2017)
    assert (plain.rule, plain.numbers, plain.form.server) == ("davis", "means", "")


# -- scores ----------------------------------------------------------------------------------------------------------


def test_the_seven_davis_numbers_and_the_toolkits_files_come_out_of_the_run(tmp_path: Path) -> None:
    sequences = [Squares("a", starts={1: 0, 2: 0}), Squares("b", starts={1: 0}, step=1, count=12)]
    for sequence in sequences:
        for index, name in enumerate(sequence.frame_names):
            write_mask(tmp_path / "Annotations" / "480p" / sequence.name / f"{name}.png", sequence._all(index))
    report = quiet(copy_first_mask, sequences, output=tmp_path / "out", protocol=DAVIS)
    official = evaluate_davis(tmp_path / "out" / "masks", tmp_path, sequences=["a", "b"], official=True)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    for name, value in official.scores.items():
        assert scores[name.removesuffix("-Mean")] == pytest.approx(value, abs=1e-12), name
    assert (tmp_path / "out" / "global_results.csv").read_text() == official.csv()
    lines = (tmp_path / "out" / "per-sequence_results.csv").read_text().splitlines()
    assert sorted(lines) == sorted(official.objects_csv().splitlines())
    assert "DAVIS 2017: J-Recall" in format_table(report)


def test_g_of_a_run_is_that_of_the_folder_evaluation(tmp_path: Path) -> None:
    videos = [Late("abc"), Late("xyz", starts={3: 0}, kinds={3: "dog"})]
    write_meta(videos, tmp_path / "truth")
    report = quiet(lagging, videos, output=tmp_path / "out", protocol=YOUTUBE)
    expected = evaluate_youtube_vos(tmp_path / "out" / "masks", tmp_path / "truth").scores
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    assert 0 < expected["G"] < 1
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    by_id = {(one.sequence, one.object_id): one for one in report.youtube_vos.objects}  # type: ignore[union-attr]
    assert by_id["abc", 7].frames == ("00010", "00015", "00020"), (
        "all annotated ones after the given mask, the last too"
    )
    assert by_id["abc", 2].frames == ("00015", "00020")
    with (tmp_path / "out" / "objects.csv").open() as file:
        assert [row["category"] for row in csv.DictReader(file)] == ["person", "jellyfish", "dog"]
    with (tmp_path / "out" / "sequences.csv").open() as file:
        assert [(row["sequence"], row["objects"]) for row in csv.DictReader(file)] == [("abc", "2"), ("xyz", "1")]
    assert any("local estimate" in note for note in report.notes)
    seen = quiet(lagging, videos[1:], protocol=YOUTUBE)
    assert seen.scores["G"] == pytest.approx((seen.scores["J_seen"] + seen.scores["F_seen"]) / 2)  # type: ignore[operator]
    assert any("no object has an unseen category" in note for note in seen.notes)


def test_validation_in_training_and_the_evaluation_give_the_same_values() -> None:
    video = Squares(starts={1: 0, 5: 3})
    scores, kept = track_and_score(copy_first_mask, video, keep=[0, 3])
    report = quiet(copy_first_mask, [video])
    assert scores is not None
    assert [(one.object_id, one.frames, one.J.tolist(), one.F.tolist()) for one in scores.objects] == [
        (one.id, one.frames, list(one.j), list(one.f)) for one in report.objects
    ]
    assert np.array_equal(kept[0], video.prompts()[0]) and set(np.unique(kept[3])) == {0, 1, 5}


def test_only_frames_that_are_asked_for_are_written_and_a_tracker_that_can_skip_the_rest_is_told(
    tmp_path: Path,
) -> None:
    video, told = Late(), []

    def tracker(frames: Any, prompts: Any, wanted: Any = None) -> Iterator[Any]:
        told.append(sorted(wanted))
        return (result for result in lagging(frames, prompts) if result.index in wanted)

    quiet(tracker, [video], output=tmp_path / "told", protocol=YOUTUBE)
    quiet(lagging, [video], output=tmp_path / "all", protocol=YOUTUBE)
    assert told == [[0, 5, 10, 15]], "counted from the first given mask, which lies in frame 5"
    for folder in ("told", "all"):
        masks = sorted((tmp_path / folder / "masks" / "abc").iterdir())
        assert [path.stem for path in masks] == ["00005", "00010", "00015", "00020"]
    for path in masks:
        assert np.array_equal(read_mask(path), read_mask(tmp_path / "told" / "masks" / "abc" / path.name))


def test_a_run_on_the_sampled_frames_alone_says_that_it_costs_points() -> None:
    assert only_sampled(("00000", "00005", "00010")) and not only_sampled(("00000", "00001", "00005"))
    assert not only_sampled(("a", "b")) and not only_sampled(("00000",))
    assert any(
        "only the sampled frames" in note for note in quiet(lagging, [Late(sampled=True)], protocol=YOUTUBE).notes
    )
    assert not any("sampled" in note for note in quiet(lagging, [Late()], protocol=YOUTUBE).notes)
    assert not any("sampled" in note for note in quiet(copy_first_mask, [Squares()], protocol=DAVIS).notes)


def test_another_rule_is_another_result(tmp_path: Path) -> None:
    quiet(lagging, [Late(sampled=True)], output=tmp_path, protocol=YOUTUBE)
    again = quiet(lagging, [Late(sampled=True)], output=tmp_path, protocol=DAVIS)
    assert not again.sequences[0].reused
    assert quiet(lagging, [Late(sampled=True)], output=tmp_path, protocol=DAVIS).sequences[0].reused


# -- archives --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(tmp_path: Path) -> tuple[list[Late], Path]:
    """Two videos without public truth, and the masks of a run."""
    videos = [Late("abc", truth=False), Late("xyz", starts={3: 0}, kinds={3: "dog"}, truth=False)]
    quiet(lagging, videos, output=tmp_path / "out", protocol=YOUTUBE)
    return videos, tmp_path / "out" / "masks"


def test_the_youtube_archive_has_one_top_folder_and_the_listed_frames_only(
    hidden: tuple[list[Late], Path], tmp_path: Path
) -> None:
    videos, masks = hidden
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "one.zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names == [f"Annotations/abc/{t:05d}.png" for t in (5, 10, 15, 20)] + [
            f"Annotations/xyz/{t:05d}.png" for t in (0, 5, 10, 15, 20)
        ]
        with Image.open(archive.open(names[0])) as image:
            assert image.mode == "P" and image.size == (SIZE[1], SIZE[0])
    assert check_submission(path, videos, YOUTUBE.form).sound
    assert write_archive(masks, videos, YOUTUBE.form, tmp_path / "two.zip").read_bytes() == path.read_bytes()
    (masks / "abc" / "00015.png").unlink()
    with pytest.raises(VOSError, match=r"00015\.png"):
        write_archive(masks, videos, YOUTUBE.form, tmp_path / "three.zip")
    assert not list(tmp_path.glob("*three*")) and not list(tmp_path.glob("*.tmp"))


def test_the_davis_archive_has_the_sequences_at_its_top_and_every_frame(tmp_path: Path) -> None:
    videos = [Squares("a", truth=False), Squares("b", truth=False)]
    quiet(perfect, videos, output=tmp_path, protocol=DAVIS)
    path = write_archive(tmp_path / "masks", videos, DAVIS.form, tmp_path / "s.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{v.name}/{name}.png" for v in videos for name in v.frame_names]
    checked = check_submission(path, videos, DAVIS.form)
    assert checked.sound and (checked.sequences, checked.masks) == (2, 16)


def repack(source: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """A copy of an archive whose entries were changed."""
    with zipfile.ZipFile(source) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target


def png(labels: Any, mode: str = "P", palette: bool = True) -> bytes:
    from io import BytesIO

    from vos_zoo.video.masks import davis_palette

    image = Image.fromarray(np.asarray(labels, dtype=np.uint8))
    if mode == "P":
        image.putpalette(davis_palette() if palette else [value for i in range(256) for value in (i, i, i)])
    buffer = BytesIO()
    (image.convert("RGB") if mode == "RGB" else image).save(buffer, format="PNG")
    return buffer.getvalue()


A, LAST = "Annotations/abc/00005.png", "Annotations/abc/00020.png"
FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a missing frame": (lambda e: e.pop(LAST), r"abc: 1 masks are missing, the first is 00020\.png"),
    "a missing video": (
        lambda e: [e.pop(name) for name in list(e) if "/xyz/" in name],
        "xyz: the sequence is missing",
    ),
    "an unknown video": (lambda e: e.update({"Annotations/other/00000.png": e[A]}), "is not in a folder of a sequence"),
    "an unknown frame": (lambda e: e.update({"Annotations/abc/99999.png": e[LAST]}), "belong to no frame"),
    "another size": (lambda e: e.update({LAST: png(np.zeros((20, 32)))}), "is 32x20 .* the frame 64x40"),
    "a colour picture": (lambda e: e.update({LAST: png(np.zeros(SIZE), "RGB")}), "mode RGB, not a palette PNG"),
    "a grey picture": (lambda e: e.update({LAST: png(np.zeros(SIZE), "L")}), "is a grey PNG"),
    "an unknown id": (lambda e: e.update({LAST: png(np.full(SIZE, 9))}), "has the ids 9; given up to this frame: 2, 7"),
    "an id before its time": (
        lambda e: e.update({A: png(np.full(SIZE, 2))}),
        "has the ids 2; given up to this frame: 7",
    ),
    "another first mask": (lambda e: e.update({A: png(np.zeros(SIZE))}), r"00005\.png: differs from the given mask"),
    "a broken picture": (lambda e: e.update({LAST: e[LAST][:60]}), "cannot be read as an image"),
    "rubbish of a system": (lambda e: e.update({"__MACOSX/._x": b""}), "does not belong in an archive"),
    "no top folder": (
        lambda e: [e.update({name.removeprefix("Annotations/"): e.pop(name)}) for name in list(e)],
        "must be in one folder 'Annotations'",
    ),
    "another top folder": (
        lambda e: [e.update({name.replace("Annotations", "results"): e.pop(name)}) for name in list(e)],
        "in the folder 'results'",
    ),
    "a path that climbs": (lambda e: e.update({"Annotations/../abc.png": b""}), "is not in a folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_archive_is_refused_with_the_reason(
    hidden: tuple[list[Late], Path], tmp_path: Path, fault: str
) -> None:
    videos, masks = hidden
    change, message = FAULTS[fault]
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "sound.zip")
    checked = check_submission(repack(path, tmp_path / "spoiled.zip", change), videos, YOUTUBE.form)
    assert not checked.sound
    assert re.search(message, str(checked)), str(checked)


def test_what_does_no_harm_is_only_noted(hidden: tuple[list[Late], Path], tmp_path: Path) -> None:
    videos, masks = hidden
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "sound.zip")
    more = {"Annotations/abc/00011.png": png(np.full(SIZE, 7)), LAST: png(np.full(SIZE, 7), palette=False)}
    checked = check_submission(repack(path, tmp_path / "more.zip", lambda e: e.update(more)), videos, YOUTUBE.form)
    assert checked.sound
    assert "1 masks are not requested" in str(checked) and "another colour table" in str(checked)


def test_a_common_folder_above_the_davis_sequences_is_refused(tmp_path: Path) -> None:
    videos = [Squares("a", truth=False)]
    quiet(perfect, videos, output=tmp_path, protocol=DAVIS)
    path = write_archive(tmp_path / "masks", videos, DAVIS.form, tmp_path / "s.zip")
    spoiled = repack(path, tmp_path / "t.zip", lambda e: [e.update({f"davis/{n}": e.pop(n)}) for n in list(e)])
    checked = check_submission(spoiled, videos, DAVIS.form)
    assert not checked.sound and "must be at the top" in str(checked)
    assert len(checked.faults) == 1, "the rest is looked at all the same, and is in order"


def test_a_folder_of_one_object_masks_may_say_255(tmp_path: Path) -> None:
    video = Squares("a", starts={1: 0})
    for index, name in enumerate(video.frame_names):
        write_mask(tmp_path / "a" / f"{name}.png", np.where(video._all(index) > 0, 255, 0))
    assert check_submission(tmp_path, [video], protocol_of("davis", 2016).form, server=False).sound
    assert check_submission(tmp_path, [video], protocol_of("folder", 2017).form, server=False).sound
    assert not check_submission(tmp_path, [video], DAVIS.form).sound
    write_mask(tmp_path / "a" / f"{video.frame_names[-1]}.png", 2 * (video._all(len(video) - 1) > 0))
    assert not check_submission(tmp_path, [video], protocol_of("davis", 2016).form, server=False).sound


def test_what_is_no_archive_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(UsageError, match="is not a readable zip"):
        check_submission(tmp_path / "x.zip", [Squares()], DAVIS.form)
    with pytest.raises(UsageError, match="there is no such archive"):
        check_submission(tmp_path / "y.zip", [Squares()], DAVIS.form)


# -- the report ------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what a page would load, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        assert tag != "script"
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Shapes of the curves."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h3":
            self.headings.append(data)


def test_the_report_shows_the_worst_objects_first_and_opens_offline(tmp_path: Path) -> None:
    videos = [Squares(f"still{i}", step=0) for i in range(5)] + [Squares("moves", step=2), Squares("<fast>", step=3)]
    report = quiet(copy_first_mask, videos, output=tmp_path, protocol=DAVIS)
    shown = write_gallery(report, videos, tmp_path / "masks", tmp_path / "report.html", title="A & B")
    assert (
        len(shown) == 10 and {name for name, _ in shown[:2]} == {"<fast>"} and {n for n, _ in shown[2:4]} == {"moves"}
    )
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == [] and page.headings[0] == "<fast>, object 1"
    assert len(page.loaded) == 10 and all(link.startswith("data:image/jpeg;base64,") for link in page.loaded)
    assert "url(" not in text and "@import" not in text and "A &amp; B" in text
    assert len(text) < 2_000_000


def test_a_report_without_scores_has_no_gallery(tmp_path: Path) -> None:
    videos = [Squares("hidden", truth=False)]
    report = quiet(perfect, videos, output=tmp_path, protocol=DAVIS)
    assert write_gallery(report, videos, tmp_path / "masks", tmp_path / "report.html") == []
    assert "it has no ground truth" in (tmp_path / "report.html").read_text()


def test_the_frames_of_a_strip_include_first_last_worst_and_the_fall() -> None:
    values = np.array([0.9] * 20 + [0.1] * 30 + [0.05] + [0.2] * 10)
    assert {0, 19, 50, 60} <= set(chosen_frames(values, 6)) and len(chosen_frames(values, 6)) == 6
    assert chosen_frames(np.array([0.5]), 6) == [0]
    assert chosen_frames(np.array([0.5, 0.5]), 6) == [0, 1]


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    small = {"backbone": "timm:resnet10t", "feature_channels": 16, "label_channels": 4, "label_widths": [4, 4, 8]}
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model = create_model("lwl", track={"size": (32, 64), "first_iterations": 1}, decoder_width=4, **small)
    model.save_pretrained(folder)
    return folder


def test_an_archive_of_a_split_without_truth_is_written_by_test_and_checked_by_its_command(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["data.synthetic.size=[48,80]", "data.synthetic.frames=5", "data.synthetic.test_videos=2"]
    settings += ["data.synthetic.train_videos=1", "data.synthetic.val_videos=1", "data.synthetic.late_objects=0"]
    assert main(["make-data", "synthetic", "--output", str(tmp_path / "davis"), *settings]) == 0
    for folder in (tmp_path / "davis" / "Annotations" / "480p").iterdir():
        for mask in sorted(folder.iterdir())[1:] if "test" in folder.name else []:
            mask.unlink()
    data = ["--data", "davis17", f"data.root={tmp_path / 'davis'}", "data.test_split=test"]
    words = ["test", "--weights", str(tiny), "--output", str(tmp_path / "out"), *data]
    assert main([*words, "trainer.accelerator=cpu"]) == 0
    text = capsys.readouterr().out
    assert "no ground truth" in text and "can be submitted" in text and "submission.zip" in text
    assert main(["check-submission", str(tmp_path / "out" / "submission.zip"), *data]) == 0
    assert main(["check-submission", str(tmp_path / "out" / "masks"), *data]) == 0
    shutil.rmtree(next((tmp_path / "out" / "masks").iterdir()))
    assert main(["check-submission", str(tmp_path / "out" / "masks"), *data]) == 1
    assert "the sequence is missing" in capsys.readouterr().out


def write_youtube(root: Path) -> None:
    """A folder of YouTube-VOS: one held-out training video, one of valid with its frames at full rate."""
    held = Late("031ccc99b1", sampled=True)
    write_meta([held], root / "train")
    write_frames(held, root / "train")
    hidden = Late("2bf8bf0a3c", truth=False, count=18)
    write_meta([Late("2bf8bf0a3c", count=18)], root / "valid")
    for mask in (root / "valid" / "Annotations" / hidden.name).iterdir():
        given = hidden.prompts().get(int(mask.stem))
        mask.unlink()
        if given is not None:
            write_mask(mask, given)
    write_frames(hidden, root / "valid", every=5)
    write_frames(hidden, root / "valid_all_frames")


def write_frames(video: Late, folder: Path, every: int = 1) -> None:
    for index, name in list(enumerate(video.frame_names))[::every]:
        path = folder / "JPEGImages" / video.name / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(video.frame(index)).save(path)


@pytest.mark.parametrize("method", available_methods())
def test_every_method_writes_a_sound_archive_of_late_objects_and_of_wanted_frames(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(method)
    create_model(method, track=dict(settings.track), **settings.model).save_pretrained(tmp_path / "model")
    write_youtube(tmp_path)
    data = ["--data", "youtube_vos18", f"data.root={tmp_path}", "trainer.accelerator=cpu"]
    assert main(["test", "--weights", str(tmp_path / "model"), *data, "--output", str(tmp_path / "run")]) == 0
    assert "can be submitted" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "run" / "submission.zip") as archive:
        assert archive.namelist() == [f"Annotations/2bf8bf0a3c/{t:05d}.png" for t in (5, 10, 15)]


def test_youtube_vos_gives_an_archive_where_the_server_knows_and_g_where_the_truth_is_here(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_youtube(tmp_path)
    data = ["--data", "youtube_vos19", f"data.root={tmp_path}"]
    words = ["test", "--weights", str(tiny), *data, "trainer.accelerator=cpu", "--output"]
    assert main([*words, str(tmp_path / "valid_run")]) == 0
    text = capsys.readouterr().out
    assert "can be submitted" in text and "only the sampled frames" not in text
    with zipfile.ZipFile(tmp_path / "valid_run" / "submission.zip") as archive:
        assert archive.namelist() == [f"Annotations/2bf8bf0a3c/{t:05d}.png" for t in (5, 10, 15)]
    assert main(["check-submission", str(tmp_path / "valid_run" / "submission.zip"), *data]) == 0
    capsys.readouterr()
    assert main([*words, str(tmp_path / "sampled"), "data.test_split=valid"]) == 0
    assert "only the sampled frames" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "held"), "data.test_split=jjvalid"]) == 0
    assert "YouTube-VOS 2019: J_seen" in capsys.readouterr().out
    scores = json.loads((tmp_path / "held" / "scores.json").read_text())["scores"]
    expected = evaluate_youtube_vos(tmp_path / "held" / "masks", tmp_path / "train").scores
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert (tmp_path / "held" / "report.html").is_file() and not (tmp_path / "held" / "submission.zip").exists()
