"""Training clips stay inside their video, references come before queries, and every draw can be repeated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.config.settings.clips import SamplingSettings
from vos_zoo.data.clips.sampling import MiniSequenceSampler, choose_frames, visible_pixels
from vos_zoo.types import Frame, LabelMap, UsageError, VideoDataset, VideoSequence, VOSError


class DrawnVideo(VideoSequence):
    """A video given by the frames in which each object shows 20 pixels (or as many as `pixels` says)."""

    def __init__(self, name: str, length: int, shown: dict[int, list[int]], pixels: int = 20) -> None:
        self.name, self.shown, self.pixels = name, shown, pixels
        self.frame_names = tuple(f"{index:05d}" for index in range(length))
        self.object_ids = tuple(shown)
        self.reads = 0

    def frame(self, index: int) -> Frame:
        return np.zeros((8, 64, 3), np.uint8)

    def labels(self, index: int) -> LabelMap:
        self.reads += 1
        labels = np.zeros((8, 64), np.uint8)
        for row, (identity, frames) in enumerate(self.shown.items()):
            if index in frames:
                labels[row, : self.pixels] = identity
        return labels

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self.labels(0)}


class Videos(VideoDataset):
    """A list of videos."""

    def __init__(self, *videos: VideoSequence) -> None:
        self.name, self.videos = "drawn", videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        return self.videos[index]


numbers = st.builds(
    SamplingSettings,
    reference_frames=st.integers(1, 3),
    query_frames=st.integers(1, 4),
    max_gap=st.integers(1, 30),
    gap_step=st.integers(1, 5),
)


@settings(max_examples=60, deadline=None)
@given(
    shown=st.sets(st.integers(0, 79), min_size=1, max_size=60),
    spare=st.integers(0, 20),
    chosen=numbers,
    seed=st.integers(0, 10_000),
)
def test_frames_are_visible_lie_in_the_video_and_references_precede_queries(
    shown: set[int], spare: int, chosen: SamplingSettings, seed: int
) -> None:
    visible = np.array(sorted(shown))
    length = max(shown) + 1 + spare
    found = choose_frames(visible, length, chosen, np.random.default_rng(seed))
    if found is None:
        return
    reference, query = found
    assert len(reference) == chosen.reference_frames
    assert len(query) == chosen.query_frames
    assert set(reference) | set(query) <= shown
    assert list(reference) == sorted(reference)
    assert list(query) == sorted(query)
    assert max(reference) < min(query)
    assert max(query) < length
    assert min(shown) not in {max(reference)}


@settings(max_examples=30, deadline=None)
@given(count=st.integers(9, 60), seed=st.integers(0, 1000))
def test_a_fully_visible_object_always_yields_a_clip(count: int, seed: int) -> None:
    assert choose_frames(np.arange(count), count, SamplingSettings(), np.random.default_rng(seed)) is not None


def test_the_first_visible_frame_is_never_the_base_reference() -> None:
    random = np.random.default_rng(0)
    bases = Counter(choose_frames(np.arange(10), 10, SamplingSettings(), random)[0][0] for _ in range(400))  # type: ignore[index]
    assert set(bases) == {1, 2, 3, 4, 5, 6}


def test_queries_stay_within_the_gap_unless_nothing_else_is_found() -> None:
    random = np.random.default_rng(0)
    near = SamplingSettings(max_gap=4)
    spans = []
    for _ in range(300):
        reference, query = choose_frames(np.arange(40), 40, near, random)  # type: ignore[misc]
        spans.append(query[-1] - reference[0])
    assert min(spans) >= 1
    assert np.mean(np.array(spans) < 4) > 0.9  # the rest rolled the first frame, which makes the gap grow by five
    assert max(spans) < 4 + 5 * 4
    far = np.array([0, 30, 60, 61, 62])
    reference, query = choose_frames(far, 70, near, random)  # type: ignore[misc]
    assert reference[0] in {30, 60, 61, 62}
    assert choose_frames(far[:3], 70, SamplingSettings(max_gap=4, give_up_gap=10), random) is None


def test_queries_are_drawn_with_replacement() -> None:
    found = choose_frames(np.array([0, 1, 2]), 6, SamplingSettings(query_frames=3), np.random.default_rng(0))
    assert found == ((1,), (2, 2, 2))


def test_item_numbers_alone_decide_the_clip() -> None:
    videos = Videos(*(DrawnVideo(f"v{n}", 30, {1: list(range(30)), 4: list(range(5, 30))}) for n in range(3)))
    one, two = MiniSequenceSampler([videos], seed=3), MiniSequenceSampler([videos], seed=3)
    forwards = [one.plan(item) for item in range(40)]
    backwards = [two.plan(item) for item in reversed(range(40))][::-1]
    assert forwards == backwards
    assert len(set(forwards)) > 30
    assert [MiniSequenceSampler([videos], seed=4).plan(item) for item in range(40)] != forwards


def test_every_object_of_every_video_is_equally_likely_and_rarely_seen_ones_are_left_out() -> None:
    often = list(range(30))
    videos = Videos(
        DrawnVideo("many", 30, {1: often, 2: often, 3: often}),
        DrawnVideo("one", 30, {7: often}),
        DrawnVideo("seldom", 30, {1: [0, 3, 5, 7, 9, 11, 13, 15]}),
        DrawnVideo("tiny", 30, {1: often}, pixels=10),
    )
    sampler = MiniSequenceSampler([videos])
    counts = Counter((plan.sequence, plan.ids) for plan in (sampler.plan(item) for item in range(800)))
    assert set(counts) == {(0, (1,)), (0, (2,)), (0, (3,)), (1, (7,))}
    assert min(counts.values()) > 140


def test_several_data_sets_are_drawn_with_their_probabilities() -> None:
    often = list(range(30))
    first, second = Videos(DrawnVideo("a", 30, {1: often})), Videos(DrawnVideo("b", 30, {1: often}))
    sampler = MiniSequenceSampler([first, second], probabilities=[6, 1])
    drawn = Counter(sampler.plan(item).dataset for item in range(700))
    assert 560 < drawn[0] < 640
    with pytest.raises(UsageError, match="one weight"):
        MiniSequenceSampler([first, second], probabilities=[1])
    with pytest.raises(UsageError, match="one weight"):
        MiniSequenceSampler([])


def test_clips_of_several_objects_show_others_that_are_in_the_first_reference() -> None:
    videos = Videos(
        DrawnVideo("crowd", 30, {1: list(range(30)), 2: list(range(30)), 5: list(range(28, 30)), 9: list(range(30))})
    )
    sampler = MiniSequenceSampler([videos], SamplingSettings(objects=3))
    sizes = Counter()
    for item in range(100):
        plan = sampler.plan(item)
        sizes[len(plan.ids)] += 1
        assert len(set(plan.ids)) == len(plan.ids) <= 3
        assert plan.ids[0] != 5
        if plan.reference[0] < 28:
            assert 5 not in plan.ids
    assert sizes[3] == 100
    assert len({sampler.plan(item).ids for item in range(100)}) > 4


def test_masks_are_counted_once_and_only_when_the_video_is_drawn() -> None:
    video, other = DrawnVideo("v", 30, {1: list(range(30))}), DrawnVideo("w", 30, {1: list(range(30))})
    sampler = MiniSequenceSampler([Videos(video), Videos(other)], probabilities=[1, 0])
    for item in range(20):
        sampler.plan(item)
    assert (video.reads, other.reads) == (30, 0)
    assert visible_pixels(video)[1].tolist() == [20] * 30


def test_a_data_set_without_a_usable_object_is_refused_with_the_cure() -> None:
    videos = Videos(DrawnVideo("short", 8, {1: list(range(8))}))
    with pytest.raises(VOSError, match=r"more than 8 frames .* lower data.sampling"):
        MiniSequenceSampler([videos]).plan(0)


@pytest.mark.parametrize("key", ["reference_frames", "query_frames", "max_gap", "gap_step", "objects"])
def test_numbers_below_one_are_refused_by_key(key: str) -> None:
    with pytest.raises(UsageError, match=rf"'data.sampling.{key}' is 0, expected at least 1"):
        SamplingSettings(**{key: 0})
