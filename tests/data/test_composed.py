"""Clips composed of photographs: exact masks, soft borders, reproducible to the byte, look-alikes."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.composed_clips import COLOURS, DrawnVideo, blobs, video
from vos_zoo.config.settings.generated import ComposedSettings
from vos_zoo.data.composed.render import Painter
from vos_zoo.data.composed.sources import MIN_FRAMES, Found, Shot, Sources, extent_of
from vos_zoo.data.composed.sprites import Treatment, make_sprite
from vos_zoo.data.composed.videos import COUNT_STEP, ComposedDataset, ComposedSequence
from vos_zoo.types import UsageError, VideoDataset

SMALL = ComposedSettings(size=(64, 96), frames=12, min_objects=1, max_objects=4, late_objects=0.4)


class Videos(VideoDataset):
    """A list of videos."""

    def __init__(self, videos: list[DrawnVideo]) -> None:
        self.name, self.videos = "drawn", videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        return self.videos[index]


def pictures(count: int = 8, objects: int = 2) -> Videos:
    drawn = [blobs(seed, objects) for seed in range(count)]
    return Videos([DrawnVideo(f"picture{k}", [frame], [labels]) for k, (frame, labels) in enumerate(drawn)])


def sources(**options: Any) -> Sources:
    return Sources([pictures(**options)], [Videos([video(20, 15), video(21, 5)])])


def digest(sequence: ComposedSequence) -> str:
    told = hashlib.sha256()
    for index in range(len(sequence)):
        told.update(sequence.frame(index).tobytes() + sequence.labels(index).tobytes())
    return told.hexdigest()


def test_a_clip_depends_on_seed_split_and_number_alone() -> None:
    first = digest(ComposedSequence(3, sources(), SMALL))
    shared = sources()
    for other in range(3):
        ComposedSequence(other, shared, SMALL).frame(2)  # what was drawn before changes nothing
    assert digest(ComposedSequence(3, shared, SMALL)) == first
    others = [ComposedSequence(4, shared, SMALL), ComposedSequence(3, shared, SMALL, "val")]
    others.append(ComposedSequence(3, shared, dataclasses.replace(SMALL, seed=1)))
    assert len({first, *map(digest, others)}) == 4


def test_frames_drawn_alone_and_in_any_order_are_those_of_the_whole_clip() -> None:
    for number in range(6):
        whole = ComposedSequence(number, sources(), SMALL)
        frames = [(whole.frame(index), whole.labels(index)) for index in range(len(whole))]
        for index in (11, 0, 5, 4, 11):
            alone = ComposedSequence(number, sources(), SMALL)
            np.testing.assert_array_equal(alone.labels(index), frames[index][1])
            np.testing.assert_array_equal(alone.frame(index), frames[index][0])
            np.testing.assert_array_equal(alone.labels(index), frames[index][1])
    np.testing.assert_array_equal(whole.frame(-1), frames[-1][0])
    with pytest.raises(IndexError, match="no frame 12"):
        whole.frame(12)


def test_a_clip_and_its_data_set_can_be_sent_to_a_loader_process() -> None:
    dataset = ComposedDataset(sources(), 5, settings=SMALL)
    before = dataset[2].frame(7)
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset.sources)) == len(pickle.dumps(sources()))
    np.testing.assert_array_equal(copy[2].frame(7), before)


def plain(scene: Any) -> Any:
    """The scene in constant light, without blur, noise and compression."""
    from vos_zoo.data.synthetic.motion import Wave

    one = Wave(1.0)
    light = dataclasses.replace(
        scene.light, gains=(one, one, one), gradient=(Wave(), Wave()), defocus=Wave(), shutter=0.0, noise=0.0
    )
    return dataclasses.replace(scene, light=light, jpeg=None)


def test_masks_are_the_pixels_that_the_objects_paint() -> None:
    """With one solid colour per object on black, its colour is found inside its mask and nowhere else."""
    import cv2

    checked = 0
    black = DrawnVideo("black", [np.zeros((80, 110, 3), np.uint8)], [np.zeros((80, 110), np.uint8)])
    source = Sources([pictures(count=6)], [Videos([black])])
    for number in range(12):
        asked = dataclasses.replace(SMALL, in_place=0.0, video_share=0.0)
        scene = plain(ComposedSequence(number, source, asked).scene)
        solid = []
        for actor in scene.actors:
            matrix = np.zeros((3, 4), np.float32)
            matrix[:, 3] = COLOURS[actor.label] if actor.label else (128, 128, 128)
            solid.append(dataclasses.replace(actor, treatment=dataclasses.replace(actor.treatment, colour=matrix)))
        ground = dataclasses.replace(scene.ground, shot=Shot(1, 0, (0,)))
        painter = Painter(source, dataclasses.replace(scene, ground=ground, actors=tuple(solid)))
        for time in (0, 5, 11):
            frame, labels = painter.picture(time)
            for identity in np.unique(labels)[1:]:
                mask, near = (labels == identity).astype(np.uint8), np.ones((7, 7), np.uint8)
                distance = np.abs(frame.astype(int) - COLOURS[identity]).max(axis=-1)
                outer = cv2.dilate(mask, near) == 0
                inner = cv2.erode(mask, near, borderType=cv2.BORDER_CONSTANT, borderValue=0.0) > 0
                assert (distance[inner] < 60).all()
                assert not inner.any() or distance[inner].mean() < 7
                assert (distance[outer] > 60).all()
                checked += int(inner.sum())
    assert checked > 5000


def test_labels_follow_objects_that_stay_in_the_background() -> None:
    followed = 0
    for number in range(20):
        source = sources(count=6, objects=1)
        asked = dataclasses.replace(SMALL, in_place=1.0, max_objects=1, look_alike=0.0, video_share=0.0, difficulty=0.5)
        sequence = ComposedSequence(number, source, asked)
        scene = dataclasses.replace(plain(sequence.scene), actors=())
        assert scene.ground.labels == {1: 1}
        painter = Painter(source, scene)
        for time in (0, 6, 11):
            frame, labels = painter.picture(time)
            grey = np.ptp(frame.astype(int), axis=-1) < 60
            assert (labels[~grey] == 1).mean() > 0.9
            assert (labels[grey] == 0).mean() > 0.97
            followed += int((labels == 1).sum())
    assert followed > 10000


def test_borders_of_cut_outs_are_soft_and_show_none_of_their_old_background() -> None:
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[..., 1] = 255  # a green screen
    labels = np.zeros((80, 80), np.uint8)
    labels[20:60, 25:55] = 1
    frame[labels == 1] = (200, 0, 100)
    source = Sources([Videos([DrawnVideo("a", [frame], [labels])])])
    extent = extent_of(labels)
    assert extent is not None
    found = Found(Shot(0, 0, (0,)), 1, extent)
    for height in (20.0, 40.0):
        sprite = make_sprite(source, found, Treatment(height, False, 1.0, np.eye(3, 4, dtype=np.float32)), 0)
        assert sprite is not None
        cover = sprite.cover.astype(np.float32)
        assert not cover[[0, -1]].any() and not cover[:, [0, -1]].any()
        middle = cover[cover.shape[0] // 2]
        rising = middle[: len(middle) // 2]
        assert (np.diff(rising) >= 0).all()
        assert ((rising > 10) & (rising < 245)).sum() >= 2
        there = cover > 60
        colours = sprite.pixels[there][:, :3] / cover[there][:, None] * 255
        assert np.abs(colours - (200, 0, 100)).max() < 8
        area = (sprite.cover > 127).sum()
        assert area == pytest.approx(height * height * 0.75, rel=0.12)


def test_objects_leave_the_frame_and_return() -> None:
    left = returned = 0
    asked = ComposedSettings(size=(64, 96), frames=24, max_objects=3)
    for number in range(40):
        counts = ComposedSequence(number, sources(), asked).pixel_counts()
        for areas in counts.values():
            gone = np.flatnonzero((areas == 0) & (np.cumsum(areas) > 0))
            left += len(gone) > 0
            returned += len(gone) > 0 and bool((areas[gone[0] :] > 30).any())
    assert left >= 8
    assert returned >= 4


def test_look_alikes_come_as_often_as_asked_for() -> None:
    source = sources(count=60, objects=3)

    def twins(share: float) -> float:
        asked = dataclasses.replace(SMALL, look_alike=share, difficulty=0.0, min_objects=2)
        found = 0
        for number in range(80):
            cutting = ComposedSequence(number, source, asked).cutting
            shots = [thing.shot for thing in (*cutting.in_place[:1], *cutting.objects, *cutting.extras)]
            found += len(shots) > len(set(shots))
        return found / 80

    assert twins(0.0) < 0.15  # two cut-outs of 60 pictures may be of the same one
    assert twins(1.0) == 1.0
    assert 0.35 < twins(0.5) < 0.7


def test_a_look_alike_is_another_object_or_background() -> None:
    asked = dataclasses.replace(SMALL, look_alike=1.0, difficulty=0.0, min_objects=3, in_place=0.0)
    cuttings = [ComposedSequence(number, sources(), asked).cutting for number in range(40)]
    annotated = [not cutting.extras for cutting in cuttings]
    assert 8 < sum(annotated) < 32
    assert any(cutting.objects[0] == cutting.objects[1] for cutting in cuttings if not cutting.extras)


@given(
    height=st.integers(32, 70),
    width=st.integers(32, 100),
    frames=st.integers(1, 12),
    objects=st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted),
    chances=st.tuples(*[st.floats(0, 1)] * 4),
    difficulty=st.floats(0, 4),
    seed=st.integers(0, 10**9),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_for_all_settings_objects_are_visible_where_they_start_and_absent_before(
    height: int, width: int, frames: int, objects: list[int], chances: Any, difficulty: float, seed: int
) -> None:
    asked = ComposedSettings((height, width), frames, *objects, *chances, difficulty, seed)
    sequence = ComposedSequence(seed % 7, sources(), asked)
    assert sequence.object_ids == tuple(range(1, len(sequence.starts) + 1))
    assert 1 <= len(sequence.object_ids) <= objects[1]
    assert sequence.starts[0] == 0 and sorted(sequence.starts) == list(sequence.starts)
    labels = [sequence.labels(index) for index in range(frames)]
    counts = sequence.pixel_counts()
    for identity, start in zip(sequence.object_ids, sequence.starts, strict=True):
        assert not any((before == identity).any() for before in labels[:start])
        assert (labels[start] == identity).sum() >= 10
        for time, count in enumerate(counts[identity]):
            assert count % COUNT_STEP**2 == 0
            assert (labels[time] == identity).sum() >= count / COUNT_STEP**2  # what counts is visible
    assert set(np.unique(labels)) <= {0, *sequence.object_ids}
    frame = sequence.frame(frames - 1)
    assert frame.shape == (height, width, 3) and frame.dtype == np.uint8
    given_ids = [int(k) for prompt in sequence.prompts().values() for k in np.unique(prompt)[1:]]
    assert tuple(given_ids) == sequence.object_ids
    assert sequence.has_labels(range(len(sequence))) and sequence.has_truth == (len(sequence) > 2)


def test_with_the_usual_size_no_object_is_left_out() -> None:
    asked = ComposedSettings(min_objects=6, max_objects=6, in_place=0.0)
    for number in range(10):
        assert len(ComposedSequence(number, sources(), asked).object_ids) == 6


def test_videos_are_played_to_and_fro_and_short_ones_stand_still() -> None:
    shot = Shot(0, 0, (3, 4, 5, 6), first=2)
    assert [shot.frame(time) for time in range(8)] == [5, 6, 5, 4, 3, 4, 5, 6]
    assert Shot(0, 0, (7,)).frame(5) == 7
    source = Sources([], [Videos([video(1, MIN_FRAMES), video(2, MIN_FRAMES - 1)])])
    random = np.random.default_rng(0)
    shots = [source.shot(random, 0.0) for _ in range(40)]
    assert {(shot.video, len(shot.frames)) for shot in shots} == {(0, MIN_FRAMES), (1, 1)}


def test_a_cut_out_of_a_video_moves_as_it_does_there() -> None:
    frames, maps = [], []
    for k in range(MIN_FRAMES):  # a bar that grows
        labels = np.zeros((90, 90), np.uint8)
        labels[20:60, 30 : 56 + 2 * k] = 1
        frame = np.full((90, 90, 3), 100, np.uint8)
        frame[labels == 1] = 200
        frames.append(frame)
        maps.append(labels)
    source = Sources([], [Videos([DrawnVideo("bar", frames, maps)])])
    extent = extent_of(maps[0])
    assert extent is not None
    found = Found(Shot(0, 0, tuple(range(MIN_FRAMES))), 1, extent)
    treatment = Treatment(40.0, False, 1.0, np.eye(3, 4, dtype=np.float32))
    widths = []
    for time in range(MIN_FRAMES):
        sprite = make_sprite(source, found, treatment, time)
        assert sprite is not None
        widths.append((sprite.cover > 127).any(axis=0).sum())
        assert sprite.offset == pytest.approx((0, 0), abs=0.6)
    assert np.abs(np.diff(widths) - 2).max() <= 1
    maps[4][:] = 0
    assert make_sprite(source, found, treatment, 4) is None


def test_decoded_pictures_are_kept_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos_zoo.data.composed.sources._CACHED_BYTES", 100_000)
    source = sources()
    for number in range(10):
        ComposedSequence(number, source, SMALL).frame(3)
    assert sum(pixels.nbytes for pixels in source._cache.values()) == source._cached <= 100_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (16, 90)}, r"'data\.composed\.size' is \[16, 90\], expected at least 32"),
        ({"frames": 0}, r"'data\.composed\.frames' is 0, expected at least 1"),
        ({"min_objects": 3, "max_objects": 2}, r"data\.composed: 3 to 2 objects; need 1 <= min_objects"),
        ({"max_objects": 7}, r"'data\.composed\.max_objects' is 7, expected at most 6"),
        ({"look_alike": 1.5}, r"'data\.composed\.look_alike' is 1\.5, expected at most 1"),
        ({"in_place": -1}, r"'data\.composed\.in_place' is -1, expected at least 0"),
        ({"difficulty": 9}, r"'data\.composed\.difficulty' is 9, expected at most 4"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ComposedSettings(**wrong)
