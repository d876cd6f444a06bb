"""Sessions, for every registered method and those of another package: both ways, corrections, cut and resumed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.contract_settings import OUTSIDE, Video, build_lively, moving_squares, toy_installed
from tests.helpers.threads import one_thread
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.session.session import Session
from vos_zoo.session.state_tree import Flattened
from vos_zoo.types import FrameResult

METHODS = [*available_models(), *OUTSIDE]
PRESETS = ("paper", "stream")
LENGTH = 12
CUTS = (1, 4, 6, 9, 10)
"""Clips of three frames start in frame 0, and again behind the corrections in frames 5 and 8."""


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    with one_thread(), toy_installed():
        yield


@pytest.fixture(scope="module", params=METHODS)
def model(request: pytest.FixtureRequest) -> VOSModel:
    return build_lively(request.param)


@pytest.fixture(scope="module")
def video() -> Video:
    return moving_squares(LENGTH)


def annotated(model: VOSModel, video: Video, folder: Path | None = None, **options: Any) -> Session:
    """A session in which two objects are given, both are corrected, one with a restart, and one comes back later."""
    session = model.session(video.frames, folder, checkpoint_every=0, **options)
    session.give(2, video.labels[2])
    session.give(5, video.labels[5] == 1, object=1)
    session.give(8, video.labels[8])
    session.give(8, video.labels[8] == 2, object=2, restart=True)
    return session


def run(session: Session, start: int, stop: int, direction: int) -> dict[int, FrameResult]:
    """The last result of each frame."""
    found: dict[int, FrameResult] = {}
    session.run(start, stop, direction, lambda result: found.__setitem__(result.index, result))
    return found


def state_of(session: Session) -> list[tuple[Any, Any]]:
    """Tree and tensors of every pass."""
    flat = [Flattened(own.state()) for own in session._runner.passes.values()]
    return [(own.tree, own.tensors) for own in flat]


def assert_same(ours: Session, theirs: Session) -> None:
    """Results on disk and states of the passes are equal to the bit."""
    for direction in (1, -1):
        for frame in range(LENGTH):
            a, b = ours.part(frame, direction), theirs.part(frame, direction)
            assert (a is None) == (b is None), (direction, frame)
            if a is not None and b is not None:
                assert a.keys == b.keys and a.evidence == b.evidence, (direction, frame)
                assert np.array_equal(a.labels, b.labels) and np.array_equal(a.probabilities, b.probabilities)
    for (_, a), (_, b) in zip(state_of(ours), state_of(theirs), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name])


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


def test_another_process_goes_on_to_the_bit(video: Video, tmp_path: Path) -> None:
    models = {method: build_lively(method) for method in METHODS}
    for method, model in models.items():
        cut = annotated(model, video, tmp_path / method)
        cut.run(0, 7, 1)
        cut.save()
    code = f"from tests.contract.test_sessions import go_on; go_on({str(tmp_path)!r}, {METHODS!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    for method, model in models.items():
        whole = annotated(model, video)
        whole.run(direction=1)
        assert_same(model.load_session(tmp_path / method, video.frames), whole)


def go_on(folder: str, methods: list[str]) -> None:
    """Run in another process: continue the sessions in a folder to the end, and save them."""
    torch.set_num_threads(1)
    video = moving_squares(LENGTH)
    with toy_installed():
        for method in methods:
            session = build_lively(method).load_session(Path(folder) / method, video.frames)
            session.run(direction=1)
            session.save()
