"""The evaluation protocols: which frames are scored and reported, by data set; the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.known_trackers import Squares, perfect
from tests.helpers.late_videos import DAVIS, YOUTUBE, quiet
from tests.helpers.youtube_videos import Late, lagging, write_meta
from vos_zoo.config.layers import load_config
from vos_zoo.evaluation import copy_first_mask, format_table, protocol_of
from vos_zoo.evaluation.gallery import chosen_frames, write_gallery
from vos_zoo.evaluation.protocols import only_sampled
from vos_zoo.metrics import evaluate_davis, evaluate_youtube_vos
from vos_zoo.training.validation import track_and_score
from vos_zoo.video.masks import read_mask, write_mask

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
        (one.object_id, one.frames, list(one.J), list(one.F)) for one in report.objects
    ]
    assert np.array_equal(kept[0], video.prompts()[0]) and set(np.unique(kept[3])) == {0, 1, 5}


def test_only_frames_that_are_asked_for_are_written_and_a_tracker_that_can_skip_the_rest_is_told(
    tmp_path: Path,
) -> None:
    video, told = Late(), []

    def tracker(frames: Any, prompts: Any, output_frames: Any = None) -> Iterator[Any]:
        told.append(sorted(output_frames))
        return (result for result in lagging(frames, prompts) if result.index in output_frames)

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
