"""What corrections are worth, in sessions of a small method on drifting squares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.contract_settings import build_lively, moving_squares, toy_installed
from tests.helpers.threads import one_thread
from vos_zoo.evaluation.simulation import CorrectedVideo, annotation_curve, area, choose, mean_curve
from vos_zoo.model import VOSModel
from vos_zoo.types import Frame, LabelMap, UsageError, VideoSequence

LENGTH = 10
VIDEO = moving_squares(LENGTH, objects=2, hidden=range(0, 3))


class Squares(VideoSequence):
    """Two squares, of which the second appears in frame 3."""

    name, frame_names, object_ids = "squares", tuple(f"{t:05d}" for t in range(LENGTH)), (1, 2)

    def frame(self, index: int) -> Frame:
        return VIDEO.frames[index]

    def labels(self, index: int) -> LabelMap:
        return VIDEO.labels[index]

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self.labels(0), 3: self.labels(3)}


@pytest.fixture(scope="module")
def model() -> Iterator[VOSModel]:
    with one_thread(), toy_installed():
        yield build_lively("clicks")


@pytest.fixture(scope="module")
def video(model: VOSModel) -> CorrectedVideo:
    return CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length))


def test_results_are_those_of_a_session_in_which_people_give_the_same_masks(
    video: CorrectedVideo, model: VOSModel
) -> None:
    video.correct([7, 5])
    own = model.session(VIDEO.frames)
    own.give(0, VIDEO.only(1))
    own.give(3, VIDEO.only(2, frame=3))
    own.restrict(2, 3)
    own.give(5, VIDEO.labels[5])
    own.give(7, VIDEO.labels[7])
    own.run()
    for frame in range(LENGTH):
        ours, theirs = video.session.result(frame), own.result(frame)
        assert ours is not None and theirs is not None
        assert ours.ids == theirs.ids and np.array_equal(ours.probabilities, theirs.probabilities)


def test_corrected_frames_are_right_and_scores_do_not_depend_on_the_order_of_corrections(
    video: CorrectedVideo, model: VOSModel
) -> None:
    scores = video.scores([5, 8])
    assert (scores[:, [5, 8]] == 1).all() and (scores[:, [4, 6]] < 1).any()
    assert np.isnan(scores[0]).tolist() == [True] + [False] * (LENGTH - 1)
    assert np.isnan(scores[1]).tolist() == [True] * 4 + [False] * (LENGTH - 4), "scored after it was given"
    other = CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length))
    for given in ([8], [2, 8], [8, 5]):
        found = other.scores(given)
    np.testing.assert_array_equal(found, scores)


def test_only_what_is_stale_is_computed_again(model: VOSModel, monkeypatch: pytest.MonkeyPatch) -> None:
    video = CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length))
    session, run, stale = video.session, video.session.run, []
    monkeypatch.setattr(session, "run", lambda: (stale.append((session.stale(1), session.stale(-1))), run()))
    for given in ([], [7], [7]):
        video.correct(given)
    assert stale == [([*range(LENGTH)], [0, 1, 2]), ([7, 8, 9], [*range(7)]), ([], [])]


def test_scores_along_the_suggestions_need_no_further_run(model: VOSModel, monkeypatch: pytest.MonkeyPatch) -> None:
    video = CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length))
    chosen = list(choose(video, "suggest", 2, np.random.default_rng(0)))
    monkeypatch.setattr(video.session, "run", lambda: pytest.fail("tracked again"))
    assert video.score(chosen[0]) < video.score(chosen[1])


def test_policies_choose_frames_that_are_not_given_yet(video: CorrectedVideo) -> None:
    for policy in ("suggest", "random", "worst"):
        chosen = list(choose(video, policy, 4, np.random.default_rng(0)))
        assert [len(set(frames)) for frames in chosen] == [0, 1, 2, 3, 4]
        assert all(set(before) <= set(after) for before, after in pairwise(chosen))
    assert list(choose(video, "uniform", 3, np.random.default_rng(0)))[1:] == [[5], [3, 7], [2, 5, 7]]


def test_a_suggestion_is_that_of_the_session(video: CorrectedVideo) -> None:
    chosen = list(choose(video, "suggest", 1, np.random.default_rng(0)))[1]
    video.correct([])
    (best,) = video.session.suggest(1, frames=video.correctable, together=True)
    assert chosen == [best.frame] and best.object == 0


def test_the_worst_frame_has_the_lowest_score_and_the_oracle_is_at_least_as_good(video: CorrectedVideo) -> None:
    worst = list(choose(video, "worst", 1, np.random.default_rng(0)))[1]
    means = np.nanmean(video.scores([])[:, 1:], axis=0)
    assert means[worst[0] - 1] == means.min()
    best = list(choose(video, "oracle", 1, np.random.default_rng(0)))[1]
    assert video.score(best) == max(video.score([t]) for t in range(1, LENGTH))


def test_curves_rise_end_at_one_when_every_frame_is_right_and_repeat(video: CorrectedVideo) -> None:
    levels = (0, LENGTH - 1)
    curve = annotation_curve(video, "random", levels, draws=2)
    assert curve[0] < curve[LENGTH - 1] == 1.0
    assert curve == annotation_curve(video, "random", levels, draws=2)
    assert mean_curve([{0: 0.5, 2: 0.7}, {0: 0.7, 2: 0.7}]) == pytest.approx({0: 0.6, 2: 0.7})
    assert area({0: 0.5, 2: 0.7, 4: 0.9}) == pytest.approx(0.7)


def test_every_second_frame_can_be_left_out(model: VOSModel) -> None:
    video = CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length), step=2)
    assert (video.frames, video.first) == ([0, 2, 4, 6, 8], {1: 0, 2: 2})
    assert video.correctable == [1, 2, 3, 4]
    assert video.scores([]).shape == (2, 5)


def test_an_unknown_policy_and_a_video_without_a_second_frame_are_refused(
    video: CorrectedVideo, model: VOSModel
) -> None:
    with pytest.raises(UsageError, match="policy 'best' is not known"):
        annotation_curve(video, "best")
    with pytest.raises(UsageError, match="squares: has not two frames"):
        CorrectedVideo(Squares(), lambda frame, length: model.session(frame, length=length), step=LENGTH)
