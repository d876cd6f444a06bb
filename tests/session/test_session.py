"""What a session computes, when, and what it shows."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from tests.helpers.contract_settings import Video
from vos_zoo.model import VOSModel
from vos_zoo.session.session import Session
from vos_zoo.types import Box, Points, UsageError


def given(model: VOSModel, video: Video, *frames: int, **options) -> Session:
    session = model.session(video.frames, **options)
    for frame in frames:
        session.give(frame, video.labels[frame])
    return session


def shown(session: Session) -> list[np.ndarray]:
    return [result.labels for result in session.results()]


def test_a_mask_in_the_middle_is_followed_both_ways(model: VOSModel, video: Video) -> None:
    session = given(model, video, 8)
    assert session.result(3) is None and session.stale() == list(range(20))
    assert session.run() == [*range(8, 20), *range(8, -1, -1)]
    assert session.stale() == session.stale(1) == session.stale(-1) == []
    assert [result.index for result in session.results()] == list(range(20))
    result = session.result(8)
    assert result is not None and np.array_equal(result.labels, video.labels[8]) and result.given == (1, 2)
    assert not result.stale and result.probabilities.shape == (2, *video.labels[8].shape)
    assert session.run() == []


def test_a_forward_pass_is_what_tracking_gives(model: VOSModel, clips: VOSModel, video: Video) -> None:
    for each in (model, clips):
        session = given(each, video, 0)
        found = {}
        session.run(direction=1, on_result=lambda result: found.__setitem__(result.index, result))  # noqa: B023
        for result in each.track(video.frames, {0: video.labels[0]}):
            assert torch.equal(found[result.index].probabilities, result.probabilities)
            assert np.array_equal(session.part(result.index, 1).labels, result.label_map())


def test_only_what_a_correction_changes_is_computed_again(model: VOSModel, video: Video) -> None:
    session = given(model, video, 0, 19, checkpoint_every=5)
    session.run()
    before = shown(session)
    session.give(12, video.labels[12] == 2, object=2)
    assert session.stale(1) == list(range(12, 20)) and session.stale(-1) == list(range(13))
    assert session.stale() == list(range(20)), "both parts of a frame are merged"
    corrected = session.result(12)
    assert corrected is not None and corrected.stale and (corrected.labels == 2)[video.labels[12] == 2].all()
    forward = session.run(direction=1)
    assert forward[0] >= 9 and forward[-1] == 19, "the pass goes on from the state before the prompt"
    assert session.stale(1) == []
    session.run(direction=-1)
    fresh = given(model, video, 0, 19)
    fresh.give(12, video.labels[12] == 2, object=2)
    fresh.run()
    assert all(np.array_equal(a, b) for a, b in zip(shown(session), shown(fresh), strict=True))
    session.undo()
    session.run()
    assert all(np.array_equal(a, b) for a, b in zip(shown(session), before, strict=True))


def test_between_two_given_frames_the_nearer_one_counts_more(model: VOSModel, video: Video) -> None:
    session = given(model, video, 0, 19)
    session.run()
    shares = [session.result(t).forward_share[1] for t in range(20)]
    assert shares[0] == 1 and shares[19] == 1 and shares[2] > 0.5 > shares[17] > 0
    one = session.result(10)
    total = one.probabilities.sum(axis=0)
    assert total.max() <= 1 + 1e-6 and one.probabilities.min() >= 0
    parts = [session.part(10, direction).probabilities[0] / 255 for direction in (1, -1)]
    assert (one.probabilities[0] <= np.maximum(*parts) + 1e-6).all()


def test_frames_of_an_unfinished_clip_are_shown_and_computed_again(clips: VOSModel, video: Video) -> None:
    session = given(clips, video, 0)
    assert session.run(0, 6, 1) == [0, 1, 2, 3, 4, 5] and session.stale(1, 0, 6) == []
    assert session.run(6, 8, 1) == [4, 5, 6, 7]
    whole = given(clips, video, 0)
    whole.run(direction=1)
    session.run(direction=1)
    assert all(np.array_equal(a, b) for a, b in zip(shown(session), shown(whole), strict=True))


def test_a_prompt_changes_the_frames_of_the_clip_that_it_ends(clips: VOSModel, video: Video) -> None:
    session = given(clips, video, 0)
    session.run(direction=1)
    session.give(5, video.labels[5] == 1, object=1)
    stale = session.stale(1)
    assert stale[0] == 4 and stale[-1] == 19, "frames 4 to 6 were one clip"


def test_objects_come_and_go(model: VOSModel, video: Video) -> None:
    session = given(model, video, 0)
    session.run()
    session.rename(2, 40)
    assert session.stale() == [] and session.ids == [1, 40]
    assert session.result(6).ids == (1, 40) and 40 in np.unique(session.result(0).labels)
    session.restrict(40, 0, 5)
    assert session.result(6).ids == (1,) and session.result(4).ids == (1, 40)
    assert session.stale() == list(range(5, 20))
    session.run()
    assert session.part(6, 1).keys == (1,) and session.part(4, 1).keys == (1, 2)
    with pytest.raises(UsageError, match="exists from frame 0 to 5 only"):
        session.give(9, video.labels[9] == 2, object=40)
    session.remove(1)
    assert session.ids == [40] and session.result(2).ids == (40,) and session.result(2).stale
    while session.undo():
        pass
    assert session.ids == [] and session.given == {}
    assert session.redo() and session.ids == [1, 2]


def test_two_objects_become_one(model: VOSModel, video: Video) -> None:
    session = given(model, video, 0)
    session.give(6, video.labels[6] == 1, object=1)
    session.run()
    here = session.result(6).labels > 0
    session.merge(2, into=1)
    assert session.ids == [1] and session.given == {0: (1,), 6: (1,)}
    masks = session.book.now.given
    assert np.array_equal(masks[0][1].hint.unpacked(), video.labels[0] > 0)
    assert np.array_equal(masks[6][1].hint.unpacked(), here), "where object 2 was not given, its result counts"
    with pytest.raises(UsageError, match="with itself"):
        session.merge(1, into=1)


def test_masks_boxes_and_points_may_be_given_in_one_frame(model: VOSModel, video: Video) -> None:
    session = model.session(video.frames)
    session.give(4, video.labels[4] == 1, object=1)
    session.give(4, Box(50, 20, 15, 15), object=2)
    session.give(4, {3: Points([(80, 10)], [(5, 5)])})
    session.run()
    assert session.result(4).ids == session.result(0).ids == (1, 2, 3)
    assert session.result(4).given == (1, 2, 3) and session.result(4).scores.keys() <= {1, 2, 3}
    session.take_back(4, [3])
    assert session.given == {4: (1, 2)} and session.stale() == list(range(20))
    with pytest.raises(UsageError, match="object 3 is not given in frame 4"):
        session.take_back(4, [3])


def test_a_run_that_is_stopped_keeps_what_was_found_and_goes_on(model: VOSModel, video: Video) -> None:
    session, seen = given(model, video, 0), []

    def stop(result) -> None:
        seen.append(result.index)
        if len(seen) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run(on_result=stop)
    assert session.stale() == list(range(7, 20))
    assert session.run() == list(range(7, 20))


def test_wrong_requests_are_named(model: VOSModel, clips: VOSModel, video: Video) -> None:
    session = model.session(video.frames)
    for call, message in (
        (lambda: session.run(), "nothing to track"),
        (lambda: session.give(20, video.labels[0]), "there is no frame 20"),
        (lambda: session.give(0, np.zeros_like(video.labels[0])), "holds no object"),
        (lambda: session.give(0, video.labels[0][:-1]), "the frame"),
        (lambda: session.give(0, {1: (90, 60, 30, 30)}), "not inside"),
        (lambda: session.stale(1, 5, 30), "not in the video"),
        (lambda: session.save(), "temporary"),
        (lambda: clips.session(video.frames).give(0, {1: Points([(3, 3)])}), "masks, not points"),
        (lambda: model.session(video.frames, no_such_setting=1), "no_such_setting"),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    session.give(0, video.labels[0])
    with pytest.raises(UsageError, match="direction is 2"):
        session.run(direction=2)


def test_a_temporary_folder_goes_with_its_session(model: VOSModel, video: Video) -> None:
    session = given(model, video, 0)
    session.run(0, 2)
    folder = session.folder
    assert folder.is_dir()
    del session
    gc.collect()
    assert not folder.exists()


def test_memory_and_files_are_bounded(model: VOSModel, video: Video) -> None:
    session = model.session(lambda t: video.frames[t % 20], length=120, cache_bytes=4 * video.frames[0].nbytes)
    for frame in range(0, 120, 20):
        session.give(frame, video.labels[frame % 20])
    session.run(0, 30)
    held = session._runner.passes[1].stream.nbytes
    session.run()
    assert session._runner.passes[1].stream.nbytes == held
    assert len(session.frames._cache) <= 4 and len(session.checkpoints.held) <= 2 * session.checkpoints.limit
    files = list(session.folder.rglob("*.npz"))
    assert len(files) == len(set(session.store.files())) == 120 + 101
    assert len(list(session.folder.rglob("*.safetensors"))) == len(session.checkpoints.held)
