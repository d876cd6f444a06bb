"""Saved sessions: whole or not at all, refused with other weights or another video, and never lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.contract_settings import Video, build_lively
from vos_zoo.model import VOSModel
from vos_zoo.session import saving
from vos_zoo.session.session import Session
from vos_zoo.types import UsageError, VOSError


@pytest.fixture
def session(model: VOSModel, video: Video, tmp_path: Path) -> Session:
    """A session that is saved, corrected, and run on: the folder holds its first state."""
    session = model.session(video.frames, tmp_path / "session", checkpoint_every=4)
    session.give(0, video.labels[0])
    session.run(0, 10)
    session.save()
    session.give(5, video.labels[5] == 1, object=1)
    session.run()
    return session


def facts(session: Session) -> tuple[object, ...]:
    """What a saved session must give again: prompts, what is stale, and every result."""
    results = [None if r is None else r.labels.tobytes() for r in map(session.result, range(len(session)))]
    return session.given, session.stale(), session.stale(1), results


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run an action in a child process that is killed at its n-th write to the disk; whether it got that far."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count(usual: Callable[..., object]) -> Callable[..., object]:
            def counted(*args: object, **options: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return usual(*args, **options)

            return counted

        os.replace, os.fsync, os.link = count(os.replace), count(os.fsync), count(os.link)  # type: ignore[assignment]
        Path.unlink, Path.write_text = count(Path.unlink), count(Path.write_text)  # type: ignore[assignment]
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_save_that_is_killed_anywhere_leaves_the_former_or_the_new_state(
    session: Session, model: VOSModel, video: Video, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "session", tmp_path / "copy"
    former, new = facts(model.load_session(folder, video.frames)), facts(session)
    assert former != new
    step, found = 0, []
    while killed_at(step, session.save):
        found.append(facts(model.load_session(folder, video.frames)))
        step += 1
    assert step > 8 and all(each in (former, new) for each in found)
    commits = [each == new for each in found]
    assert commits == sorted(commits) and commits[0] is False and commits[-1] is True
    assert facts(model.load_session(folder, video.frames)) == new
    for step in (5, 20):
        assert killed_at(step, lambda: session.save(copy)) and not (copy / saving.MANIFEST).exists()
    session.save(copy)
    assert facts(model.load_session(copy, video.frames)) == new
    assert not list(copy.rglob("*.tmp"))


def test_what_is_run_after_a_save_does_not_touch_what_was_saved(
    session: Session, model: VOSModel, video: Video, tmp_path: Path
) -> None:
    again = model.load_session(tmp_path / "session", video.frames)
    assert again.given == {0: (1, 2)} and again.stale(1) == list(range(10, 20))
    assert again.run() == list(range(10, 20))
    plain = model.session(video.frames)
    plain.give(0, video.labels[0])
    plain.run()
    for frame in range(20):
        assert np.array_equal(again.result(frame).labels, plain.result(frame).labels)


def test_only_what_is_needed_stays_in_the_folder(session: Session, tmp_path: Path) -> None:
    session.save()
    files = {path for path in (tmp_path / "session").rglob("*") if path.is_file()}
    state = json.loads((tmp_path / "session" / saving.MANIFEST).read_text())["state"]
    expected = {tmp_path / "session" / name for name in (saving.MANIFEST, state)}
    assert files == expected | set(session.store.files()) | set(session.checkpoints.files())


def test_a_session_is_saved_elsewhere_too(session: Session, model: VOSModel, video: Video, tmp_path: Path) -> None:
    session.save(tmp_path / "copy")
    assert facts(model.load_session(tmp_path / "copy", video.frames)) == facts(session)
    session.undo()
    session.save(tmp_path / "copy")
    assert model.load_session(tmp_path / "copy", video.frames).given == {0: (1, 2)}
    assert session.redo()


def test_undo_goes_on_after_loading(session: Session, model: VOSModel, video: Video, tmp_path: Path) -> None:
    session.save()
    again = model.load_session(tmp_path / "session", video.frames)
    assert again.undo() and again.given == {0: (1, 2)} and again.redo() and again.given == session.given
    again.give(7, video.labels[7] == 2, object=2)
    assert again.ids == [1, 2]


def test_other_weights_and_other_videos_are_refused(
    session: Session, model: VOSModel, video: Video, tmp_path: Path
) -> None:
    folder = tmp_path / "session"
    with pytest.raises(UsageError, match="other weights"):
        build_lively("clicks", seed=1).load_session(folder, video.frames)
    with pytest.raises(UsageError, match="other weights"):
        build_lively("toy").load_session(folder, video.frames)
    changed = video.frames.copy()
    changed[13, 5, 5, 1] ^= 1
    for other in (changed, video.frames[:-1], video.frames[:, :, :-8]):
        with pytest.raises(UsageError, match="another video"):
            model.load_session(folder, other)


def test_folders_with_something_else_in_them_are_refused(
    session: Session, model: VOSModel, video: Video, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(UsageError, match="not an empty folder"):
            session.save(folder)
        with pytest.raises(UsageError, match="not an empty folder"):
            model.session(video.frames, folder)
    with pytest.raises(UsageError, match="holds a session"):
        model.session(video.frames, tmp_path / "session")
    other = model.session(video.frames)
    other.give(0, video.labels[0])
    with pytest.raises(UsageError, match="holds another session"):
        other.save(tmp_path / "session")
    with pytest.raises(UsageError, match="holds no session"):
        model.load_session(tmp_path / "mine", video.frames)


def test_a_damaged_folder_and_a_newer_format_are_named(
    session: Session, model: VOSModel, video: Video, tmp_path: Path
) -> None:
    session.save()
    manifest = tmp_path / "session" / saving.MANIFEST
    told = json.loads(manifest.read_text())

    def load() -> None:
        model.load_session(tmp_path / "session", video.frames)

    manifest.write_text(json.dumps({**told, "format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        load()
    for broken in ("{", "[]", json.dumps({"format": 1})):
        manifest.write_text(broken)
        with pytest.raises(VOSError):
            load()
    manifest.write_text(json.dumps(told))
    next(session.store.files()).unlink()
    with pytest.raises(VOSError, match="is missing"):
        load()
    (tmp_path / "session" / told["state"]).unlink()
    with pytest.raises(VOSError, match="cannot be read"):
        load()
