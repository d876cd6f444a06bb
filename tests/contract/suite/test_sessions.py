"""Every method in sessions: both ways, corrections, cut and resumed, undone, and how certain it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.contract_sessions import LENGTH, annotated, assert_same
from tests.helpers.contract_sessions import run_session as run
from tests.helpers.contract_settings import Video, moving_squares
from vos_zoo.engine.target_model import TargetModel
from vos_zoo.model import VOSModel

PRESETS = ("paper", "stream")
CUTS = (1, 4, 6, 9, 10)
"""Clips of three frames start in frame 0, and again behind the corrections in frames 5 and 8."""


@pytest.fixture(scope="module")
def video() -> Video:
    return moving_squares(LENGTH)


def test_a_session_that_is_cut_anywhere_gives_the_uncut_one_to_the_bit(
    model: VOSModel, video: Video, tmp_path: Path
) -> None:
    for preset in {model.track_settings(preset): preset for preset in PRESETS}.values():
        assert_cuts_change_nothing(model, video, preset, tmp_path / preset)


def assert_cuts_change_nothing(model: VOSModel, video: Video, preset: str, folder: Path) -> None:
    """A session that is saved and loaded at every cut equals one that is not."""
    whole = annotated(model, video, preset=preset)
    results = run(whole, 0, LENGTH, 1) | {-1 - t: r for t, r in run(whole, 0, LENGTH, -1).items()}
    cut, found = annotated(model, video, folder, preset=preset), {}
    for direction in (1, -1):
        stops = [*CUTS, LENGTH] if direction > 0 else [LENGTH - cut for cut in CUTS] + [0]
        for stop in stops:
            span = (0, stop) if direction > 0 else (stop, LENGTH)
            found.update({t if direction > 0 else -1 - t: r for t, r in run(cut, *span, direction).items()})
            cut.save()
            cut = model.load_session(folder, video.frames)
    assert found.keys() == results.keys()
    for frame in results:
        assert found[frame].ids == results[frame].ids
        assert torch.equal(found[frame].probabilities, results[frame].probabilities), frame
    assert_same(cut, whole)
    assert cut.stale() == whole.stale() == []


def test_the_reversed_video_forward_is_the_original_backward_to_the_bit(model: VOSModel, video: Video) -> None:
    turned = Video(video.frames[::-1], video.labels[::-1])
    ours, theirs = model.session(turned.frames), model.session(video.frames)
    for session, labels, last in ((ours, turned.labels, LENGTH - 1), (theirs, video.labels, 0)):
        for frame in (2, 5, 6):
            session.give(abs(last - frame), labels[abs(last - frame)])
    forward, backward = run(ours, 0, LENGTH, 1), run(theirs, 0, LENGTH, -1)
    assert [LENGTH - 1 - t for t in forward] == list(backward) == [6, 5, 4, 3, 2, 1, 0]
    for frame, result in forward.items():
        other = backward[LENGTH - 1 - frame]
        assert result.ids == other.ids and torch.equal(result.probabilities, other.probabilities)


def test_a_correction_is_the_result_of_its_frame_and_teaches_the_object(model: VOSModel, video: Video) -> None:
    found = {}
    for name, restart in (("taught", False), ("restarted", True)):
        session = model.session(video.frames)
        session.give(0, video.labels[0])
        session.give(6, video.labels[6] == 1, object=1, restart=restart)
        found[name] = run(session, 0, LENGTH, 1)
        covered = video.labels[6] == 1
        assert (found[name][6].label_map() == 1)[covered].mean() > 0.9, "what is given wins in its frame"
        assert (session.result(6).labels == 1)[covered].all()
        assert session._runner.passes[1].stream.ids == [1, 2]
    plain = model.session(video.frames)
    plain.give(0, video.labels[0])
    without = run(plain, 0, LENGTH, 1)
    later = range(7, LENGTH)
    assert any(not torch.equal(found["taught"][t].probabilities, without[t].probabilities) for t in later)
    assert any(not torch.equal(found["taught"][t].probabilities, found["restarted"][t].probabilities) for t in later)


def test_given_frames_stay_in_memory_however_many_frames_follow(model: VOSModel) -> None:
    video = moving_squares(22)
    session = model.session(video.frames, preset="stream")
    for frame in range(4):
        session.give(frame, video.labels[frame])
    session.run(0, 17, 1)
    held = session._runner.passes[1].stream.nbytes
    session.run(17, 22, 1)
    assert session._runner.passes[1].stream.nbytes == held, "predicted frames do not add up"


def test_results_after_undo_are_the_former_ones_to_the_bit(model: VOSModel) -> None:
    video = moving_squares(5)
    session, former = (model.session(video.frames, checkpoint_every=every) for every in (100, 0))
    for each in (session, former):
        each.give(1, video.labels[1])
        each.run()
    session.give(3, video.labels[3])
    session.restrict(2, 0, 4)
    session.merge(2, into=1)
    session.run()
    assert session.ids == [1] and session.stale() == []
    assert [session.undo() for _ in range(3)] == [True] * 3 and session.stale() != []
    session.run()
    for frame in range(5):
        direction = 1 if frame >= 1 else -1
        ours, theirs = session.part(frame, direction), former.part(frame, direction)
        assert ours is not None and theirs is not None
        assert ours.keys == theirs.keys and ours.evidence == theirs.evidence
        assert np.array_equal(ours.probabilities, theirs.probabilities)


def test_results_say_how_certain_each_object_is_and_which_masks_to_correct(model: VOSModel) -> None:
    video = moving_squares(7)
    session = model.session(video.frames)
    session.give(1, video.labels[1])
    session.give(5, video.labels[5])
    session.run()
    own = type(model.network).evidence is not TargetModel.evidence
    for frame in (2, 3, 4):
        result = session.result(frame)
        assert result is not None and set(result.evidence) == {1, 2}
        assert all(0 < share < 1 for share in result.forward_share.values()), "both directions count"
        for evidence in result.evidence.values():
            assert 0 <= evidence["expected_iou"] <= 1
            assert np.isfinite(evidence["evidence"]) == own, "a method without evidence of its own has the general one"
    found = session.suggest(3)
    assert all(each.frame not in (1, 5) and each.object in (1, 2) and each.gain > 0 for each in found)
    (frame,) = session.suggest(1, together=True)
    assert frame.object == 0 and frame.gain >= max(each.gain for each in found)
