"""Every method tracks: lengths, sizes, objects that start late, vanish, come back or are dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.contract import assert_informative, check, difference, run
from tests.helpers.contract_settings import (
    Video,
    moving_squares,
)
from vos_zoo.engine.target_model import TargetModel
from vos_zoo.model import VOSModel

# -- running ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 5, 7], ids=lambda n: f"{n} frames")
def test_videos_of_any_length_get_one_result_per_frame(model: VOSModel, length: int) -> None:
    video = moving_squares(length)
    check(run(model, video), video)


@pytest.mark.parametrize("size", [(67, 91), (64, 64), (91, 67), (33, 95)], ids=str)
def test_odd_sizes_come_back_at_the_size_of_the_video(model: VOSModel, size: tuple[int, int]) -> None:
    video = moving_squares(4, size)
    check(run(model, video), video)


def test_the_given_mask_is_the_answer_where_it_was_given(model: VOSModel) -> None:
    video = moving_squares(3)
    first = run(model, video)[0].label_map()
    assert (first == video.labels[0]).mean() > 0.97


def test_probabilities_differ_between_frames_and_objects(model: VOSModel) -> None:
    assert_informative(run(model, moving_squares(5)))


def test_an_object_may_start_late(model: VOSModel) -> None:
    video = moving_squares(8)
    results = run(model, video, {0: video.only(1), 4: video.only(2, frame=4)})
    check(results, video)
    assert [result.ids for result in results] == [(1,)] * 4 + [(1, 2)] * 4
    seen = results[4].label_map() == 2
    assert (seen == (video.labels[4] == 2)).mean() > 0.97


def test_the_frames_before_an_object_starts_do_not_know_of_it(model: VOSModel) -> None:
    video = moving_squares(8)
    late = run(model, video, {0: video.only(1), 6: video.only(2, frame=6)})
    alone = run(model, video, {0: video.only(1)})
    assert difference(late[:6], alone[:6]) <= 1e-3


def test_frames_before_the_first_prompt_are_background(model: VOSModel) -> None:
    video = moving_squares(5)
    results = run(model, video, {2: video.labels[2]})
    check(results, video)
    assert all(result.ids == () and (result.label_map() == 0).all() for result in results[:2])


def test_an_object_can_be_dropped_and_the_others_go_on(model: VOSModel) -> None:
    video = moving_squares(8, objects=3)
    engine = model.propagator()
    results = [r for t in range(4) for r in engine.push(video.frames[t], video.labels[0] if t == 0 else None)]
    results += engine.drop([2])
    results += [r for t in range(4, 8) for r in engine.push(video.frames[t])] + engine.flush()
    check(results, video)
    assert [result.ids for result in results] == [(1, 2, 3)] * 4 + [(1, 3)] * 4


def test_a_dropped_object_id_can_come_back(model: VOSModel) -> None:
    video = moving_squares(6)
    engine = model.propagator()
    results = engine.push(video.frames[0], video.labels[0]) + engine.push(video.frames[1])
    results += engine.drop([1])
    results += engine.push(video.frames[2], video.only(1, frame=2))
    results += [r for t in range(3, 6) for r in engine.push(video.frames[t])] + engine.flush()
    check(results, video)
    assert results[-1].ids == (2, 1)


def test_dropping_every_object_leaves_background_and_no_memory(model: VOSModel) -> None:
    video = moving_squares(4)
    engine = model.propagator()
    results = engine.push(video.frames[0], video.labels[0]) + engine.push(video.frames[1]) + engine.drop([1, 2])
    results += engine.push(video.frames[2]) + engine.push(video.frames[3], video.labels[3]) + engine.flush()
    check(results, video)
    assert results[2].ids == ()
    assert results[3].ids == (1, 2)


def test_an_object_can_be_corrected_and_starts_anew(model: VOSModel) -> None:
    video = moving_squares(7)
    wrong = np.roll(video.labels[0], 30, axis=1)
    results = run(model, video, {0: wrong, 3: video.labels[3]})
    check(results, video)
    assert results[-1].ids == (1, 2)
    assert (results[3].label_map() == video.labels[3]).mean() > 0.97
    fresh = Video(video.frames[3:], video.labels[3:])
    anew = run(model, fresh)
    later = [r.probabilities for r in results[3:]]
    assert max((a - b.probabilities).abs().max().item() for a, b in zip(later, anew, strict=True)) <= 1e-4


def test_correcting_one_object_leaves_the_other_known(model: VOSModel) -> None:
    video = moving_squares(7, objects=3)
    results = run(model, video, {0: video.labels[0], 3: video.only(1, frame=3)})
    check(results, video)
    assert results[-1].ids == (1, 2, 3)
    assert ((results[3].label_map() == 1) >= (video.labels[3] == 1)).mean() > 0.97


def test_an_object_that_vanishes_and_returns_is_followed_without_failing(model: VOSModel) -> None:
    video = moving_squares(9, hidden=range(3, 6))
    results = run(model, video)
    check(results, video)
    assert all(result.ids == (1, 2) for result in results)


def test_an_object_of_one_pixel_and_one_that_fills_the_frame_are_followed(model: VOSModel) -> None:
    video = moving_squares(4)
    labels = np.full_like(video.labels[0], 1)
    labels[30, 40] = 2
    check(run(model, video, {0: labels}), video)


def test_permuting_the_object_ids_permutes_the_outputs(model: VOSModel) -> None:
    video = moving_squares(6, objects=3)
    permuted = np.array([0, 9, 4, 7], dtype=np.uint8)[video.labels]
    straight, swapped = run(model, video), run(model, video, {0: permuted[0]})
    assert_informative(straight)
    assert swapped[0].ids == (4, 7, 9)
    for a, b in zip(straight, swapped, strict=True):
        rows = [0, *(1 + b.ids.index(i) for i in (9, 4, 7))]
        torch.testing.assert_close(a.probabilities, b.probabilities[rows], atol=1e-3, rtol=0)


def test_a_method_says_what_its_evidence_is_or_the_probabilities_count_alone(model: VOSModel) -> None:
    own = type(model.network).evidence is not TargetModel.evidence
    first, *later = run(model, moving_squares(4))
    assert first.confidence is not None and (first.confidence.expected_iou == 1).all(), "the masks are given"
    for result in later:
        assert result.confidence is not None
        assert torch.isnan(result.confidence.evidence).all() == (not own)
        assert torch.isfinite(result.confidence.evidence).all() == own
        if not own:
            soft = torch.logit(result.confidence.soft_iou, 1e-6).clamp(-4, 4).sigmoid()
            torch.testing.assert_close(result.confidence.expected_iou, soft)


def test_an_object_that_starts_leaves_the_confidence_of_the_others_as_it_was(model: VOSModel) -> None:
    video, corner = moving_squares(4), np.zeros((64, 96), np.uint8)
    corner[-4:, -4:] = 2
    alone, joined = (run(model, video, {0: video.only(1), **more})[-1].confidence for more in ({}, {3: corner}))
    assert alone is not None and joined is not None and joined.expected_iou[1] == 1
    assert (alone.soft_iou[0] - joined.soft_iou[0]).abs() < 0.02
