"""What corrections are worth, with a tracker whose masks get worse with every frame after a given one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pytest
import torch

from vos_zoo.evaluation.simulation import CorrectedVideo, annotation_curve, area, choose
from vos_zoo.types import Confidence, Frame, FrameResult, LabelMap, UsageError, VideoSequence

LENGTH, SIDE = 12, 32


class Square(VideoSequence):
    """A square that stands still; frames show their number."""

    name, frame_names, object_ids = "square", tuple(f"{t:05d}" for t in range(LENGTH)), (1,)

    def frame(self, index: int) -> Frame:
        return np.full((SIDE, SIDE, 3), index, np.uint8)

    def labels(self, index: int) -> LabelMap:
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[4:20, 4:20] = 1
        return labels

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self.labels(0)}


def drifting(frames: Iterable[Frame], prompts: Mapping[int, LabelMap]) -> Iterator[FrameResult]:
    """Loses two columns of the square for each frame, and from frame 6 of the video on all but one row; it knows."""
    for index, frame in enumerate(frames):
        labels = np.roll(prompts[0], 2 * index, axis=1)
        if index and frame[0, 0, 0] >= 6:
            labels[5:] = 0
        own = torch.from_numpy((labels == 1).astype(np.float32))
        expected = torch.tensor([0.1 if index and frame[0, 0, 0] >= 6 else 1 - 0.1 * index])
        none, no = torch.zeros(1), torch.zeros(1, dtype=torch.bool)
        confidence = Confidence(expected, none, none, none, none, none, no, no)
        yield FrameResult(index, (1,), torch.stack([1 - own, own]), confidence=confidence)


@pytest.fixture(scope="module")
def video() -> CorrectedVideo:
    return CorrectedVideo(Square(), drifting)


def test_a_corrected_frame_is_right_and_helps_the_frames_after_it_only(video: CorrectedVideo) -> None:
    before, after = video.joined([])[0][0], video.joined([4])[0][0]
    assert after[4] == 1 > before[4]
    assert np.array_equal(after[:4], before[:4])
    assert after[5] > before[5]


def test_each_frame_is_tracked_from_the_last_given_frame_before_it(video: CorrectedVideo) -> None:
    scores = video.joined([3, 8])[0]
    assert np.array_equal(scores[:, 3:8], video.run_from(3)[0][:, 3:8])
    assert np.array_equal(scores[:, 8:], video.run_from(8)[0][:, 8:])


def test_suggestions_are_made_where_the_tracker_is_unsure(video: CorrectedVideo) -> None:
    chosen = list(choose(video, "suggest", 2, np.random.default_rng(0)))
    assert [len(frames) for frames in chosen] == [0, 1, 2]
    assert chosen[1] == [6]


def test_the_worst_frame_is_that_of_the_lowest_score_and_the_oracle_is_at_least_as_good(video: CorrectedVideo) -> None:
    worst = list(choose(video, "worst", 1, np.random.default_rng(0)))[1]
    scores = video.joined([])[0][0]
    assert scores[worst[0]] == scores[1:].min()
    best = list(choose(video, "oracle", 1, np.random.default_rng(0)))[1]
    assert video.score(best) == max(video.score([t]) for t in range(1, LENGTH))


def test_uniform_corrections_are_spaced_evenly(video: CorrectedVideo) -> None:
    assert list(choose(video, "uniform", 3, np.random.default_rng(0)))[1:] == [[6], [4, 8], [3, 6, 9]]


def test_curves_rise_end_at_one_when_every_frame_is_right_and_repeat(video: CorrectedVideo) -> None:
    curve = annotation_curve([video], "random", levels=(0, 2, LENGTH - 1), seeds=3)
    assert curve[0] < curve[2] < curve[LENGTH - 1] == 1.0
    assert curve == annotation_curve([video], "random", levels=(0, 2, LENGTH - 1), seeds=3)
    assert area({0: 0.5, 2: 0.7, 4: 0.9}) == pytest.approx(0.7)


def test_every_second_frame_can_be_left_out() -> None:
    video = CorrectedVideo(Square(), drifting, step=2)
    assert (video.frames, video.correctable) == ([0, 2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    assert video.run_from(0)[0].shape == (1, 6)


def test_an_unknown_policy_is_refused(video: CorrectedVideo) -> None:
    with pytest.raises(UsageError, match="policy 'best' is not known"):
        annotation_curve([video], "best")
