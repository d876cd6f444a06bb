"""Results folders scored against YouTube-VOS: the local estimate of G."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.result_folders import moving, square
from vos_zoo.metrics import evaluate_youtube_vos
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask


class YouTube:
    """A YouTube-VOS folder with one video: a person from the start, a sheep from the third annotated frame on."""

    def __init__(self, folder: Path) -> None:
        self.dataset, self.results = folder / "train", folder / "results"
        self.frames = [f"{5 * index:05d}" for index in range(6)]
        self.truth = moving((4,))
        self.truth[2:] = [np.maximum(labels, square(9, 30, 40)) for labels in self.truth[2:]]
        objects = {
            "9": {"category": "sheep", "frames": self.frames[2:]},
            "4": {"category": "person", "frames": self.frames},
        }
        self.meta = {"videos": {"vid": {"objects": objects}}}
        self.write(self.truth)

    def write(self, prediction: list[np.ndarray], top: str = "") -> None:
        for frame, true, predicted in zip(self.frames, self.truth, prediction, strict=True):
            write_mask(self.dataset / "Annotations" / "vid" / f"{frame}.png", true)
            write_mask(self.results / top / "vid" / f"{frame}.png", predicted)
        (self.dataset / "meta.json").write_text(json.dumps(self.meta))


@pytest.fixture
def youtube(tmp_path: Path) -> YouTube:
    return YouTube(tmp_path)


def test_each_object_is_scored_after_its_first_appearance(youtube: YouTube) -> None:
    report = evaluate_youtube_vos(youtube.results, youtube.dataset)
    assert {one.object_id: one.frames for one in report.objects} == {
        4: tuple(youtube.frames[1:]),
        9: tuple(youtube.frames[3:]),
    }
    (youtube.results / "vid" / "00000.png").unlink()  # nothing is scored there
    assert evaluate_youtube_vos(youtube.results, youtube.dataset).scores["G"] == 1.0
    with pytest.raises(VOSError, match=r"vid.00000\.png"):
        evaluate_youtube_vos(youtube.results, youtube.dataset, frames="nothing_excluded")


def test_the_last_frame_can_be_excluded_and_an_unknown_choice_is_refused(youtube: YouTube) -> None:
    report = evaluate_youtube_vos(youtube.results, youtube.dataset, frames="first_and_last_excluded")
    assert report.objects[1].frames == tuple(youtube.frames[3:-1])
    with pytest.raises(UsageError, match="'last_excluded' is unknown; choose one of first_frame_excluded"):
        evaluate_youtube_vos(youtube.results, youtube.dataset, frames="last_excluded")  # type: ignore[arg-type]


def test_an_object_listed_before_it_is_visible_starts_where_it_is_visible(youtube: YouTube) -> None:
    youtube.meta["videos"]["vid"]["objects"]["9"]["frames"] = youtube.frames
    youtube.write(youtube.truth)
    report = evaluate_youtube_vos(youtube.results, youtube.dataset)
    assert report.objects[1].frames == tuple(youtube.frames[3:])


def test_groups_follow_the_categories_and_an_empty_group_is_said(youtube: YouTube) -> None:
    wrong = [np.where(labels == 9, 0, labels).astype(np.uint8) for labels in youtube.truth]
    youtube.write(wrong)
    report = evaluate_youtube_vos(youtube.results, youtube.dataset)
    assert report.scores == {"J_seen": 0.5, "F_seen": 0.5, "G": 0.5}
    assert "no object has an unseen category" in str(report)
    assert "local estimate (frames: first_frame_excluded)" in str(report)
    split = evaluate_youtube_vos(youtube.results, youtube.dataset, seen_categories=["person"])
    assert split.scores == {"J_seen": 1.0, "F_seen": 1.0, "J_unseen": 0.0, "F_unseen": 0.0, "G": 0.5}


def test_an_object_that_left_the_view_stays_in_the_mean(youtube: YouTube) -> None:
    youtube.truth[5] = moving((4,))[5]
    youtube.write([*youtube.truth[:5], np.maximum(youtube.truth[5], square(9, 30, 40))])
    report = evaluate_youtube_vos(youtube.results, youtube.dataset)
    assert list(report.objects[1].J) == [1.0, 1.0, 0.0]


def test_an_archives_top_folder_is_accepted(youtube: YouTube) -> None:
    youtube.results = youtube.results.parent / "zip"
    youtube.write(youtube.truth, top="Annotations")
    assert evaluate_youtube_vos(youtube.results, youtube.dataset).scores["G"] == 1.0


def test_unknown_labels_of_youtube_vos_are_named_and_may_be_dropped_visibly(youtube: YouTube) -> None:
    youtube.write([np.maximum(labels, square(30, 30, 2, 4)) for labels in youtube.truth])
    with pytest.raises(VOSError, match=r"sequence vid, frame 00005.*label 30.*objects are 4, 9;"):
        evaluate_youtube_vos(youtube.results, youtube.dataset)
    report = evaluate_youtube_vos(youtube.results, youtube.dataset, drop_unknown_labels=True)
    assert "vid label 30 (5 frames)" in str(report)
    assert report.dropped == {("vid", 30): 5}


def test_objects_without_a_frame_to_score_are_said(youtube: YouTube) -> None:
    youtube.meta["videos"]["vid"]["objects"]["5"] = {"category": "cat", "frames": youtube.frames[:1]}
    youtube.write(youtube.truth)
    report = evaluate_youtube_vos(youtube.results, youtube.dataset)
    assert report.unscored == (("vid", 5),)
    assert "no frame to score: vid/5" in str(report)


def test_what_is_wrong_with_a_youtube_vos_folder_is_named(youtube: YouTube, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"meta\.json: there is no such file"):
        evaluate_youtube_vos(youtube.results, tmp_path)
    with pytest.raises(UsageError, match="there is no video 'cow'"):
        evaluate_youtube_vos(youtube.results, youtube.dataset, videos=["cow"])
    with pytest.raises(UsageError, match="missing: there is no such folder"):
        evaluate_youtube_vos(tmp_path / "missing", youtube.dataset)
    (youtube.dataset / "Annotations" / "vid" / "00010.png").unlink()
    with pytest.raises(VOSError, match=r"train.Annotations.vid.00010\.png"):
        evaluate_youtube_vos(youtube.results, youtube.dataset)
    (youtube.dataset / "meta.json").write_text('{"clips": {}}')
    with pytest.raises(UsageError, match=r"meta\.json: is not of the form"):
        evaluate_youtube_vos(youtube.results, youtube.dataset)
