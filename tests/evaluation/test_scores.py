"""The runner's scores, with trackers whose results are known beforehand; the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.known_trackers import SIZE, Squares, blind, perfect, quiet, result, spy
from vos_zoo.evaluation import copy_first_mask, format_table, protocol_of
from vos_zoo.evaluation.baselines import prompt_labels
from vos_zoo.metrics import evaluate_davis
from vos_zoo.metrics.streaming import NO_TRUTH
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import Box, Frame, FrameResult, LabelMap
from vos_zoo.video.masks import read_mask, write_mask

# -- scores ----------------------------------------------------------------------------------------------------------


def test_a_perfect_tracker_scores_one_and_a_blind_one_zero() -> None:
    report = quiet(perfect, [Squares("a"), Squares("b", step=0)])
    assert (report.j, report.f, report.jf) == (1.0, 1.0, 1.0)
    assert len(report.objects) == 4 and report.exit_code == 0
    assert quiet(blind, [Squares()]).jf == 0.0


def test_copying_the_first_mask_is_right_where_nothing_moves_and_wrong_where_things_do() -> None:
    assert quiet(copy_first_mask, [Squares(step=0)]).jf == 1.0
    report = quiet(copy_first_mask, [Squares(step=2)])
    overlaps = [(14 - 2 * index) / (14 + 2 * index) for index in range(1, 7)]  # widths: intersection, union
    assert pytest.approx(overlaps) == report.objects[0].J
    assert report.j == pytest.approx(np.mean(overlaps))


def test_the_first_and_the_last_frame_are_not_scored() -> None:
    def wrong_at_the_ends(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for index, frame in enumerate(frames):
            labels = np.zeros(SIZE, np.uint8) if index in (0, 7) else frame[..., 0] // 40
            yield result(index, labels, (1, 5))

    report = quiet(wrong_at_the_ends, [Squares(count=8)])
    assert report.jf == 1.0
    assert report.objects[0].frames == ("00005", "00010", "00015", "00020", "00025", "00030")


def test_a_late_object_is_scored_from_the_frame_after_its_mask() -> None:
    report = quiet(perfect, [Squares(starts={1: 0, 5: 3})])
    early, late = report.objects
    assert (early.object_id, early.start, len(early.frames)) == (1, "00000", 6)
    assert (late.object_id, late.start, late.frames) == (5, "00015", ("00020", "00025", "00030"))
    assert report.jf == 1.0


def test_the_tracker_starts_at_the_first_given_mask_and_counts_from_there(tmp_path: Path) -> None:
    calls: list[Any] = []
    report = quiet(spy(calls), [Squares(starts={1: 2, 5: 4})], output=tmp_path)
    assert calls == [([0, 2], {})]
    assert report.sequences[0].tracked == 6
    masks = {file.stem: read_mask(file) for file in (tmp_path / "masks" / "squares").iterdir()}
    assert sorted(masks) == [f"{5 * index:05d}" for index in range(8)]
    assert not masks["00000"].any() and not masks["00005"].any()
    assert set(np.unique(masks["00010"])) == {0, 1} and set(np.unique(masks["00020"])) == {0, 1, 5}


def test_an_object_nobody_gave_is_scored_too() -> None:
    first = np.where(Squares()._all(0) == 1, np.uint8(1), np.uint8(0))
    report = quiet(copy_first_mask, [Squares(step=0, given={0: first})])
    assert [score.region.mean for score in report.objects] == [1.0, 0.0]


def test_a_sequence_of_others_that_calls_an_object_255_is_refused_with_the_cure() -> None:
    class White(Squares):
        def _all(self, index: int) -> LabelMap:
            return np.where(super()._all(index) > 0, np.uint8(255), np.uint8(0))

    report = quiet(copy_first_mask, [White(step=0, starts={255: 0})])
    assert "id 255; ids go from 1 to 254" in report.failures[0].message


def test_sequences_without_truth_are_run_but_not_scored_and_the_report_says_so(tmp_path: Path) -> None:
    videos = [Squares("hidden", truth=False), Squares("open"), Squares("late", starts={1: 7})]
    report = quiet(perfect, videos, output=tmp_path)
    assert report.unscored == ("hidden", "late") and report.jf == 1.0 and report.exit_code == 0
    assert len(list((tmp_path / "masks" / "hidden").iterdir())) == 8
    table = format_table(report)
    assert "not scored (it has no ground truth): hidden" in table
    assert "not scored (no frame is scored: its objects start in the last frames): late" in table
    alone = quiet(perfect, [Squares(truth=False)])
    assert (alone.j, alone.f, alone.jf) == (None, None, None)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("truth", [True, False])
def test_a_video_too_short_for_the_rule_is_run_and_named_as_that(count: int, truth: bool) -> None:
    video = Squares("short", count=count, truth=truth)
    report = quiet(perfect, [video, Squares("long", count=3)])
    assert not video.has_truth and report.unscored == ("short",) and report.jf == 1.0
    said = "the first and the last frame are left out, and it has " + ("1 frame", "2 frames")[count - 1]
    assert f"not scored (it is too short to be scored: {said}): short" in format_table(report)


def test_two_frames_are_enough_where_the_last_one_is_scored() -> None:
    rule = protocol_of("youtube_vos", 2019)
    report = quiet(perfect, [Squares("two", count=2), Squares("one", count=1)], protocol=rule)
    assert report.jf == 1.0 and report.unscored == ("one",)
    assert "too short to be scored: the first frame is left out, and it has 1 frame): one" in format_table(report)
    assert quiet(perfect, [Squares("two", count=2, truth=False)], protocol=rule).sequences[0].note == NO_TRUTH


def test_validation_scores_only_what_an_evaluation_would_score() -> None:
    for video in (Squares(truth=False), Squares(count=2), Squares(starts={1: 0, 5: 4}, truth=False)):
        assert track_and_score(perfect, video)[0] is None
    scores, _ = track_and_score(perfect, Squares(count=3))
    assert scores is not None and len(scores.frames) == 1


def test_the_scores_are_those_the_davis_evaluation_gives_for_the_written_masks(tmp_path: Path) -> None:
    sequences = [Squares("a"), Squares("b", step=1, count=12)]
    for sequence in sequences:
        for index, name in enumerate(sequence.frame_names):
            write_mask(tmp_path / "Annotations" / "480p" / sequence.name / f"{name}.png", sequence._all(index))
    ours = quiet(copy_first_mask, sequences, output=tmp_path / "out")
    theirs = evaluate_davis(tmp_path / "out" / "masks", tmp_path, sequences=["a", "b"])
    means = theirs.scores
    assert (ours.jf, ours.j, ours.f) == pytest.approx((means["J&F-Mean"], means["J-Mean"], means["F-Mean"]), abs=1e-12)


# -- the baseline ----------------------------------------------------------------------------------------------------


def test_the_baseline_keeps_masks_adds_late_objects_on_top_and_moves_corrected_ones() -> None:
    frames = [np.zeros((4, 6, 3), np.uint8)] * 5
    first = np.zeros((4, 6), np.uint8)
    first[:2] = 7
    late = np.zeros((4, 6), np.uint8)
    late[1:3, :2] = 3
    moved = np.zeros((4, 6), np.uint8)
    moved[3] = 7
    results = list(copy_first_mask(frames, {1: first, 2: late, 4: moved}))
    assert [item.ids for item in results] == [(), (7,), (7, 3), (7, 3), (7, 3)]
    assert not results[0].label_map().any()
    assert np.array_equal(results[1].label_map(), first)
    assert np.array_equal(results[3].label_map(), np.where(late > 0, late, first))
    assert np.array_equal(results[4].label_map(), np.where(late > 0, late, moved))
    assert all(torch.equal(item.probabilities.sum(0), torch.ones(4, 6)) for item in results)


def test_boxes_become_filled_rectangles() -> None:
    labels = prompt_labels({2: Box(1, 0, 3, 2), 4: (3.4, 1, 2, 9)}, (4, 6))
    assert labels.tolist() == [[0, 2, 2, 2, 0, 0], [0, 2, 2, 4, 4, 0], [0, 0, 0, 4, 4, 0], [0, 0, 0, 4, 4, 0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_allocated_memory_is_reported() -> None:
    def on_gpu(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        ballast = torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
        for item in perfect(frames, prompts):
            yield FrameResult(item.index, item.ids, item.probabilities.to(ballast.device))

    torch.zeros(1, device="cuda")
    outcome = quiet(on_gpu, [Squares()]).sequences[0]
    assert outcome.memory_kind == "cuda" and 64 * 2**20 <= outcome.peak_memory < 80 * 2**20
