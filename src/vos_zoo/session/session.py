"""A session: a video, what was given in it, and the results, which follow each other both ways."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.target_model import TrackSettings
from vos_zoo.prompts import PromptParser
from vos_zoo.session.checkpoints import Checkpoints
from vos_zoo.session.editing import Editing
from vos_zoo.session.follower import Follower
from vos_zoo.session.frames import CACHE_BYTES, FrameStore, Video
from vos_zoo.session.passes import Pass
from vos_zoo.session.prompt_book import PromptBook
from vos_zoo.session.reading import FrameReader, SessionResult
from vos_zoo.session.results import Part, ResultStore
from vos_zoo.session.runner import DIRECTIONS, Runner
from vos_zoo.session.saving import (
    Origin,
    SavedSession,
    check_target,
    is_session,
    read_session,
    read_state,
    write_session,
)
from vos_zoo.session.suggesting import suggest_corrections
from vos_zoo.suggestions import Suggestion
from vos_zoo.types import FrameResult, UsageError, VOSError

OnResult = Callable[[FrameResult], None]
"""Called with each result of a pass, in the order in which frames are finished."""


class Session(Editing):
    """Masks of objects in a video that are given, tracked both ways, corrected, saved and continued.

    Made by `VOSModel.session` and `VOSModel.load_session`. What is given in a frame stays in the model's memory for
    good; a new mask of a known object teaches it. Forward and backward passes learn what is given when they come to
    it, so a correction changes the frames after it in the forward pass and those before it in the backward pass;
    between given frames the results of both are merged. Results are files in the session's folder.

    Args:
        model: follows the objects.
        frames: of the video.
        folder: where results are written; it exists. None: a temporary folder, deleted with the session.
        settings: inference settings.
        mask_threshold: see `VOSModel.track`.
        checkpoint_every: frames from one stored state of a pass to the next; 0: none.

    Attributes:
        folder: where results are written.
        is_temporary: whether it is deleted with the session.
    """

    def __init__(
        self,
        model: Follower,
        frames: FrameStore,
        folder: Path | None,
        settings: TrackSettings,
        mask_threshold: int | None = None,
        checkpoint_every: int = 100,
    ) -> None:
        self.model = model
        self.frames = frames
        self.settings = settings
        self.mask_threshold = mask_threshold
        self.is_temporary = folder is None
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="vos-zoo-session-", ignore_cleanup_errors=True)
            weakref.finalize(self, temporary.cleanup)
            folder = Path(temporary.name)
        self.folder = folder
        self.book = PromptBook()
        self.store = ResultStore(self.folder, len(self))
        self.checkpoints = Checkpoints(self.folder, checkpoint_every)
        self._origin: Origin | None = None
        self._parser = PromptParser(mask_threshold)
        self._boxes = self._make_stream().boxes
        self._runner = Runner(
            frames,
            self.book,
            self.store,
            self.checkpoints,
            self._make_stream,
            model.evaluating,
            partial(read_state, model),
        )
        self._reader = FrameReader(self._runner)

    @classmethod
    def start(
        cls,
        model: Follower,
        video: Video,
        folder: str | Path | None = None,
        *,
        length: int | None = None,
        preset: str | None = None,
        mask_threshold: int | None = None,
        cache_bytes: int | None = None,
        checkpoint_every: int = 100,
        **overrides: Any,
    ) -> Session:
        """A new session.

        Args:
            model: follows the objects.
            video: a video file, a folder of frames, an array ``(T, H, W, 3)``, a sequence of frames, or a function of
                a frame's number.
            folder: empty or new folder for the results; None: a temporary one, deleted with the session.
            length: frames of the video; needed for a function.
            preset: see `VOSModel.track`, as the next two.
            mask_threshold: turns masks with soft edges into one object.
            overrides: single inference settings.
            cache_bytes: frames kept in memory at most; None: 256 MiB.
            checkpoint_every: frames from one stored state of a pass to the next; 0: none, so that a correction
                starts the pass again.

        Raises:
            UsageError: the video cannot be opened, a setting is unknown, or the folder is not empty.
        """
        settings = model.track_settings(preset, **overrides)
        if folder is not None:
            folder = Path(folder)
            if is_session(folder):
                raise UsageError(f"{folder}: holds a session; continue it (load_session), or choose another folder")
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise UsageError(f"{folder}: is not an empty folder; choose another one for the session")
        frames = FrameStore(video, length, cache_bytes or CACHE_BYTES)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return cls(model, frames, folder, settings, mask_threshold, checkpoint_every)

    def _make_stream(self) -> Propagator:
        return self.model.stream(self.settings, self.mask_threshold)

    def __len__(self) -> int:
        """Frames of the video."""
        return self.frames.length

    # -- results -----------------------------------------------------------------------------------------------------

    def run(
        self,
        start: int = 0,
        stop: int | None = None,
        direction: int | None = None,
        on_result: OnResult | None = None,
    ) -> list[int]:
        """Compute the stale frames of ``[start, stop)``.

        A pass reads the video from its first prompt on, so frames before `start` are computed, too, as far as no
        state of the pass is at hand.

        Args:
            start: the first frame.
            stop: the frame behind the last; None: to the end.
            direction: 1 forward, -1 backward, None: both, one after the other.
            on_result: called with each frame's result after it was stored. An exception ends the run; what was
                computed is kept.

        Returns:
            Numbers of the frames computed, in this order.

        Raises:
            UsageError: nothing is given yet, or the frames or the direction are invalid.
            VOSError: a frame cannot be read.
        """
        found = []
        for result in self.steps(start, stop, direction):
            found.append(result.index)
            if on_result is not None:
                on_result(result)
        return found

    def steps(self, start: int = 0, stop: int | None = None, direction: int | None = None) -> Iterator[FrameResult]:
        """As `run`, one result at a time: nothing is computed unless it is iterated over, and it may be left early."""
        stop = self._check_range(start, stop)
        if direction not in (None, *DIRECTIONS):
            raise UsageError(f"direction is {direction!r}; choose 1 (forward), -1 (backward) or None (both)")
        if not self.book.now.given:
            raise UsageError("nothing to track; give a mask or a box in at least one frame (session.give)")
        return self._steps(start, stop, DIRECTIONS if direction is None else (direction,))

    def _steps(self, start: int, stop: int, directions: tuple[int, ...]) -> Iterator[FrameResult]:
        objects = self.book.now.objects
        for direction in directions:
            for result in self._runner.run(direction, start, stop):
                yield replace(result, ids=tuple(objects[key].identity for key in result.ids))

    def stale(self, direction: int | None = None, start: int = 0, stop: int | None = None) -> list[int]:
        """Frames of ``[start, stop)`` that are not up to date, ascending.

        Args:
            direction: 1 or -1: the frames that a run in this direction would compute; None: the frames whose
                result depends on prompts that have changed since, or lacks an object.
            start: the first frame.
            stop: the frame behind the last; None: to the end.
        """
        stop = self._check_range(start, stop)
        if direction is not None:
            return sorted(self._runner.stale(direction, start, stop))
        return [frame for frame in range(start, stop) if self._reader.is_stale(frame)]

    def result(self, frame: int) -> SessionResult | None:
        """What is known of a frame; None if nothing is.

        Masks that are given in the frame are part of it whether it was run since or not. Parts that are stale are used
        where there is no other.
        """
        self._check_frame(frame)
        return self._reader.result(frame)

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[SessionResult]:
        """What is known of the frames ``[start, stop)``, read one by one; frames without a result are left out."""
        for frame in range(start, self._check_range(start, stop)):
            found = self.result(frame)
            if found is not None:
                yield found

    def part(self, frame: int, direction: int) -> Part | None:
        """The stored result of one direction, with keys in place of ids; None if there is none.

        For evidence that compares both directions.
        """
        return self.store.get(direction, frame)

    def suggest(
        self, count: int = 1, *, frames: Collection[int] | None = None, together: bool = False
    ) -> list[Suggestion]:
        """The masks whose correction is expected to help most, the best first; see `vos_zoo.suggestions.suggest`.

        By the expected IoU of the results, and the agreement of both directions where there are two. Every result is
        read once; frames without one are not suggested.

        Args:
            count: how many.
            frames: frames that may be suggested; None: all.
            together: suggest frames in which all objects are corrected, instead of single masks.

        Raises:
            UsageError: `count` is less than 1.
        """
        return suggest_corrections(self._runner, len(self), self.given, count, frames, together)

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path | None = None) -> Path:
        """Save everything: prompts with undo and redo, results, and the passes' exact states.

        Written atomically: whenever it is interrupted, the folder holds this state or the one that was saved before.

        Args:
            folder: an empty or new folder, or one in which this session was saved; None: the session's own folder.

        Returns:
            The folder.

        Raises:
            UsageError: the folder holds something else, or none is given and the session's own is temporary.
        """
        if folder is None and self.is_temporary:
            raise UsageError("this session's folder is temporary; name one: session.save('FOLDER')")
        target = self.folder if folder is None else Path(folder)
        self._origin = self._origin or Origin.of(self.model, self.frames)
        own = target.exists() and target.samefile(self.folder)
        if not own:
            check_target(target, self._origin)
        files = [*self.store.files(), *self.checkpoints.files()]
        options = {"mask_threshold": self.mask_threshold, "checkpoint_every": self.checkpoints.every}
        revision = self.store.revision()
        write_session(target, self.folder, files, revision, self._state(), self._origin, options)
        if own:
            self.store.protected = self.checkpoints.protected = revision
        return target

    @classmethod
    def load(
        cls,
        model: Follower,
        folder: str | Path,
        video: Any,
        cache_bytes: int | None = None,
    ) -> Session:
        """Continue a saved session exactly where it was.

        Args:
            model: with the weights that the session was made with.
            folder: a folder of `save`; further results are written into it, too.
            video: the same video, see `vos_zoo.session.frames.Video`.
            cache_bytes: see `FrameStore`.

        Raises:
            UsageError: it is no session, or the weights or the video differ.
            VOSError: the folder is damaged.
        """
        folder = Path(folder)
        saved = read_session(folder, model, video, cache_bytes)
        session = cls(model, saved.frames, folder, saved.state["settings"], **saved.options)
        session._restore(saved)
        missing = [path for path in (*session.store.files(), *session.checkpoints.files()) if not path.is_file()]
        if missing:
            raise VOSError(f"{missing[0]}: is missing; restore the folder from a copy")
        return session

    def _state(self) -> dict[str, Any]:
        """Everything but the files of results and checkpoints, as a value."""
        return {
            "settings": self.settings,
            "book": self.book.contents(),
            "ids_seen": self._parser._ids_seen,
            "results": self.store.state(),
            "passes": [held.state() for held in self._runner.passes.values()],
            "checkpoints": self.checkpoints.held,
        }

    def _restore(self, saved: SavedSession) -> None:
        """Continue from a saved state."""
        state, self._origin = saved.state, saved.origin
        self.book.set_contents(state["book"])
        self._parser._ids_seen = state["ids_seen"]
        self.store.set_state(state["results"])
        self.checkpoints.held = list(state["checkpoints"])
        self.store.protected = self.checkpoints.protected = self.store.revision()
        for held in state["passes"]:
            self._runner.passes[held["direction"]] = Pass.restored(self._make_stream, held)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _check_range(self, start: int, stop: int | None) -> int:
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise UsageError(f"frames {start} to {stop} are not in the video, which has {len(self)}")
        return stop
