"""Ordered clips stay inside their video, keep gaps and course, and depend on nothing but the clip's number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_datamodule import Recorder, trainer
from tests.data.test_frame_clips import small
from tests.data.test_sampling import DrawnVideo, Videos
from vos_zoo.config.settings.clips import SamplingSettings
from vos_zoo.config.settings.frames import GapSettings
from vos_zoo.data.clips.gaps import OrderedSampler, chain, jump
from vos_zoo.types import UsageError, VOSError

PER_CLIP = GapSettings(limits=((0, 5), (0.1, 10), (0.2, 15), (0.9, 5)), part=3, reverse=0.5)
LINEAR = GapSettings(
    limits=((0, 5), (0.4, 25), (0.9, 25), (0.9, 5)), change="ramp", rounding="up", shortest=4, repeat=False
)


def video(name: str, length: int) -> DrawnVideo:
    return DrawnVideo(name, length, {1: list(range(length))})


def ordered(gaps: GapSettings, *lengths: int, query: int = 6, **options: Any) -> OrderedSampler:
    videos = Videos(*(video(f"v{number}", length) for number, length in enumerate(lengths)))
    return OrderedSampler([videos], SamplingSettings(1, query), gaps, **options)


@given(st.integers(1, 60), st.lists(st.integers(1, 25), min_size=1, max_size=8), st.integers(0, 2**32))
def test_a_chain_stays_in_its_video_in_order_and_within_its_gaps(length: int, gaps: list[int], seed: int) -> None:
    frames = chain(length, gaps, np.random.default_rng(seed))
    steps = np.diff(frames)
    assert len(frames) == len(gaps) + 1
    assert 0 <= min(frames) <= max(frames) < length
    assert (steps <= gaps).all()
    if sum(gaps) < length:
        assert steps.tolist() == gaps
    elif length > len(gaps):  # shrunk no more than needed
        assert (steps >= 1).all()
        assert steps.sum() == length - 1
    else:
        assert set(frames) == set(range(length))
        assert (steps >= 0).all()


def test_gaps_that_do_not_fit_shrink_from_the_largest_on() -> None:
    assert np.diff(chain(10, [9, 1, 3], np.random.default_rng(0))).tolist() == [5, 1, 3]
    assert chain(3, [4, 4, 4, 4], np.random.default_rng(0)) == (0, 1, 2, 2, 2)


@given(st.integers(1, 80), st.integers(1, 25), st.integers(0, 2**32))
def test_a_jump_follows_the_published_limits(length: int, limit: int, seed: int) -> None:
    first, second, third = jump(length, limit, np.random.default_rng(seed))
    reach = min(length, limit)
    assert 0 <= first <= second <= third < length
    assert first <= length - reach
    assert second <= min(length - reach, length - 1)
    assert third <= length - reach // 2
    assert second - first <= reach + 1
    assert third - second <= reach + 1


def test_jumps_reach_every_published_value_and_repeat_frames_at_the_end_only() -> None:
    drawn = [jump(40, 4, np.random.default_rng(seed)) for seed in range(4000)]
    assert {second - first for first, second, _ in drawn} == {0, 1, 2, 3, 4, 5}
    assert {first for first, _, _ in drawn} == set(range(37))
    assert min(first for first, second, _ in drawn if first == second) == 36
    assert max(third for *_, third in drawn) == 38


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 70), st.sampled_from([1, 5]), st.integers(0, 2**20), st.integers(1, 2**20))
def test_clips_of_parts_keep_the_limits_of_their_moment(length: int, frame_step: int, item: int, total: int) -> None:
    sampler = ordered(PER_CLIP, length, frame_steps=[frame_step])
    sampler.total = total
    plan = sampler.plan(0, 0, item, sampler.random(item))
    order = np.array(plan.reference + plan.query)
    assert len(plan.reference) == 1
    assert plan.ids == ()
    assert 0 <= order.min() <= order.max() < length
    steps = np.diff(order)
    assert (steps >= 0).all() or (steps <= 0).all()
    if length >= 7:
        assert (steps != 0).all()
    share = item / total
    limit = 15 if 0.2 <= share < 0.9 else 10 if 0.1 <= share < 0.2 else 5
    before, inside = max(1, limit // frame_step), max(1, 5 // frame_step)
    forwards = steps if steps.sum() >= 0 else -steps[::-1]
    assert (forwards <= [before, inside, inside, before, inside, inside]).all()
    again = ordered(PER_CLIP, length, frame_steps=[frame_step])
    again.total = total
    assert again.plan(0, 0, item, again.random(item)) == plan


def test_half_the_clips_run_backwards_where_asked_and_the_reference_is_their_first_frame() -> None:
    sampler = ordered(PER_CLIP, 60)
    plans = [sampler.plan(0, 0, item, sampler.random(item)) for item in range(400)]
    backwards = [plan for plan in plans if plan.reference[0] > plan.query[0]]
    assert 150 < len(backwards) < 250
    assert all(plan.reference[0] == max(plan.reference + plan.query) for plan in backwards)
    sampler = ordered(GapSettings(), 60)
    assert all(sampler.plan(0, 0, item, sampler.random(item)).query[0] > 0 for item in range(50))


@pytest.mark.parametrize(
    ("share", "limit", "davis", "youtube"),
    [
        (0, 5, 5, 1),
        (0.2, 15, 15, 3),
        (0.21, 15.5, 16, 4),
        (0.4, 25, 25, 5),
        (0.8999, 25, 25, 5),
        (0.9, 5, 5, 1),
        (1, 5, 5, 1),
    ],
)
def test_a_ramp_rises_evenly_stays_and_falls_at_once(share: float, limit: float, davis: int, youtube: int) -> None:
    assert LINEAR.limit(share) == pytest.approx(limit)
    assert LINEAR.steps(LINEAR.limit(share), 1) == davis
    assert LINEAR.steps(LINEAR.limit(share), 5) == youtube


def test_steps_hold_until_the_next_point_and_are_divided_downwards() -> None:
    limits = [PER_CLIP.limit(share) for share in (0, 0.0999, 0.1, 0.2, 0.5, 0.9, 1)]
    assert limits == [5, 5, 10, 15, 15, 5, 5]
    assert [PER_CLIP.steps(limit, 5) for limit in (3, 5, 9, 10, 15)] == [1, 1, 1, 2, 3]


def test_every_gap_up_to_the_limit_is_drawn() -> None:
    sampler = ordered(LINEAR, 100, query=3)
    sampler.total = 1000
    for item, top in ((0, 5), (200, 15), (600, 25), (950, 5)):
        random = np.random.default_rng(item)
        gaps = np.diff([sampler.frames(100, 1, item, random) for _ in range(600)], axis=1)
        assert set(gaps.reshape(-1).tolist()) == set(range(1, top + 1))


def test_short_videos_are_used_or_left_out_as_asked_and_none_left_is_an_error() -> None:
    sampler = ordered(PER_CLIP, 2, 3, 8)
    assert {sampler.video(sampler.random(item))[1] for item in range(60)} == {1, 2}
    sampler = ordered(LINEAR, 3, 4, 8, query=3)
    assert {sampler.video(sampler.random(item))[1] for item in range(60)} == {1, 2}
    with pytest.raises(VOSError, match=r"no video has 4 frames.*data\.gaps\.shortest"):
        ordered(LINEAR, 2, 3, query=3)


def test_only_frames_with_masks_are_drawn_and_gaps_count_them() -> None:
    sparse = video("sparse", 40)
    sparse.annotated = tuple(range(0, 40, 5))  # type: ignore[attr-defined]
    sampler = OrderedSampler([Videos(sparse)], SamplingSettings(1, 2), GapSettings(limits=((0, 2),)))
    for item in range(40):
        plan = sampler.plan(0, 0, item, sampler.random(item))
        order = np.array(plan.reference + plan.query)
        assert not (order % 5).any()
        assert set(np.diff(order).tolist()) <= {5, 10}


def test_data_sets_are_drawn_by_weight_and_divide_by_their_own_frame_step() -> None:
    one, two = Videos(video("a", 50)), Videos(video("b", 50), video("c", 50))
    two.frame_step = 5
    sampler = OrderedSampler([one, two], SamplingSettings(1, 3), GapSettings(limits=((0, 25),)), 0, [1, 3])
    assert sampler.frame_steps == (1, 5)
    drawn = [sampler.video(sampler.random(item)) for item in range(800)]
    assert 150 < sum(dataset == 0 for dataset, _ in drawn) < 250
    gaps = {0: 0, 1: 0}
    for item, (dataset, number) in enumerate(drawn):
        plan = sampler.plan(dataset, number, item, np.random.default_rng(item))
        gaps[dataset] = max(gaps[dataset], int(np.diff(plan.reference + plan.query).max()))
    assert gaps[1] == 5
    assert gaps[0] > 20


CURRICULUM: dict[str, Any] = {"limits": [[0, 1], [0.5, 6]], "shortest": 12}


def spans(model: Recorder) -> list[float]:
    """How far the frames of each batch move on average."""
    return [float((batch.frames[:, 0] - batch.frames[:, -1]).abs().mean()) for batch in model.seen]


def test_the_course_is_the_length_of_the_run_and_resuming_goes_on_in_it(tmp_path: Path) -> None:
    still = {
        "area": [1, 1],
        "ratio": [1.3, 1.4],
        "rotation": 0,
        "shear": 0,
        "common_colour": [0] * 3,
        "colour": [0] * 3,
    }

    def data() -> Any:
        augment = {"flip": 0, "grayscale": 0}
        return small(gaps=CURRICULUM, frame=still, augment=augment, batches_per_epoch=6)

    class Stopped(Recorder):
        def on_train_epoch_end(self) -> None:
            short.save_checkpoint(tmp_path / "end.ckpt")
            short.should_stop = True

    whole, first, second = Recorder(), Stopped(), Recorder()
    trainer(tmp_path, limit_val_batches=0).fit(whole, datamodule=data())
    short = trainer(tmp_path, limit_val_batches=0)
    short.fit(first, datamodule=data())
    trainer(tmp_path, limit_val_batches=0).fit(second, datamodule=data(), ckpt_path=tmp_path / "end.ckpt")
    seen = first.seen + second.seen
    assert [batch.names for batch in seen] == [batch.names for batch in whole.seen]
    assert all(torch.equal(one.frames, two.frames) for one, two in zip(seen, whole.seen, strict=True))
    early, late = np.mean(spans(whole)[:6]), np.mean(spans(whole)[6:])
    assert late > 1.3 * early


@pytest.mark.parametrize(
    ("options", "clips"),
    [
        ({"max_epochs": 3}, 3 * 3 * 2),
        ({"max_epochs": 3, "limit_train_batches": 2}, 3 * 2 * 2),
        ({"max_epochs": 3, "limit_train_batches": 0.34}, 3 * 1 * 2),
        ({"max_epochs": -1, "max_steps": 5}, 5 * 2),
        ({"max_epochs": 2, "max_steps": 5, "accumulate_grad_batches": 2}, 2 * 3 * 2),
    ],
)
def test_the_length_of_a_run_comes_from_the_trainer(tmp_path: Path, options: dict[str, Any], clips: int) -> None:
    totals: list[int | None] = []

    class Asked(Recorder):
        def on_train_start(self) -> None:
            totals.append(data.clips().sampler.total)  # type: ignore[union-attr]
            self.trainer.should_stop = True

    data = small(gaps=CURRICULUM)
    trainer(tmp_path, limit_val_batches=0, **options).fit(Asked(), datamodule=data)
    assert totals == [clips]


def test_a_course_in_a_run_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        trainer(tmp_path, max_epochs=-1, limit_val_batches=0).fit(Recorder(), datamodule=small(gaps=CURRICULUM))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "walk"}, r"'data.gaps.rule' is 'walk', expected one of: chain, jump"),
        ({"change": "jump"}, "data.gaps.change"),
        ({"limits": ((0.1, 5),)}, "must begin at 0"),
        ({"limits": ((0, 5), (0.4, 5), (0.3, 5))}, "by share"),
        ({"limits": ((0, 0),)}, "at least 1"),
        ({"limits": (5,)}, "expected pairs"),
        ({"part": 0}, "'data.gaps.part' is 0, expected at least 1"),
        ({"reverse": 2}, "'data.gaps.reverse' is 2, expected at most 1"),
    ],
)
def test_senseless_gaps_are_refused_by_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GapSettings(**changes)


def test_the_rule_of_three_frames_wants_three_frames() -> None:
    with pytest.raises(UsageError, match=r"data\.sampling\.query_frames=2"):
        ordered(GapSettings(rule="jump"), 9, query=3)
    plan = (sampler := ordered(GapSettings(rule="jump"), 9, query=2)).plan(0, 0, 3, sampler.random(3))
    assert len(plan.query) == 2
