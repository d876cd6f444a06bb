"""Everything that one tab of the page can do: open a video, draw, track, correct, undo, export."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vos_zoo.demo.annotations import Annotations
from vos_zoo.demo.drawing import Stroke
from vos_zoo.demo.exports import export, export_name
from vos_zoo.demo.jobs import Job, Worker
from vos_zoo.demo.shelf import ModelShelf
from vos_zoo.demo.tracker import CHECKPOINT_EVERY, Tracker, mask_in_box
from vos_zoo.prompts import PromptParser, objects_in
from vos_zoo.session.frames import FrameStore
from vos_zoo.types import Box, Frame, LabelMap, UsageError
from vos_zoo.video.masks import read_mask
from vos_zoo.video.reader import open_video

_REFRESH = 1.0  # seconds from one list of stale frames to the next while tracking; it costs some time in long videos
_LET_OTHERS_IN = 0.002  # seconds in which requests that wait for the lock get it


class Project:
    """One video with its objects, drawings and results; its methods may be called from several threads.

    Args:
        shelf: the models.
        folder: an own folder for results and exports.
        source: the first video.

    Attributes:
        frames: of the video.
        annotations: objects and drawings; changed within `editing`.
        worker: what runs in the background.
        weights: name of the chosen weights.
        version: grows with every change of a mask.
        number: counts the opened videos.

    Raises:
        VOSError: the video cannot be opened.
    """

    def __init__(self, shelf: ModelShelf, folder: Path, source: str | Path) -> None:
        self.folder = folder
        self.version = self.number = 0
        self.weights = shelf.names[0]
        self.worker = Worker()
        self._shelf = shelf
        self._lock = threading.RLock()
        self._work = folder / "work"
        self.open(source)

    def open(self, source: str | Path) -> None:
        """Open a video file or a folder of frames; objects, drawings and results of the last one are gone.

        Raises:
            VOSError: it cannot be opened; the last one stays.
        """
        if not str(source).strip():
            raise UsageError("no video is named; give the path of a video file or of a folder of frames")
        path = str(source) if str(source).startswith("camera") else Path(source).expanduser()
        frames = FrameStore(path)
        self.close()
        with self._lock:
            self.worker = Worker()
            self.frames, self._path, self._reading = frames, path, threading.Lock()
            self.annotations = Annotations(frames.size, self.length)
            self._forget()
            self.version += 1
            self.number += 1

    @property
    def length(self) -> int:
        """Number of frames."""
        assert self.frames.length is not None
        return self.frames.length

    def close(self) -> None:
        """Stop what is running and delete results and exports."""
        self.worker.stop(wait=True)
        shutil.rmtree(self._work, ignore_errors=True)

    def _forget(self) -> None:
        """Delete results and exports."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        self._tracker: Tracker | None = None
        self._listed: tuple[list[int], list[int]] = [], []
        self._listed_at = (-1, 0.0)

    def choose_weights(self, name: str) -> None:
        """Track with other weights from now on; the results of the last ones are gone.

        Raises:
            UsageError: they are not offered, or something is running.
        """
        with self.editing():
            if self._shelf.check(name) != self.weights:
                self.weights = name
                self._forget()

    # -- what is shown -----------------------------------------------------------------------------------------------

    def frame(self, number: int) -> Frame:
        """Frame `number`, uint8 RGB ``(H, W, 3)``.

        Raises:
            VOSError: there is none, or it cannot be read.
        """
        with self._reading:
            return self.frames.frame(number)

    def labels(self, number: int) -> LabelMap | None:
        """The label map of a frame, uint8 ``(H, W)``: what is drawn over what was tracked; None: nothing is known."""
        with self._lock:
            return self.annotations.shown(number, self._tracked(number))

    def _tracked(self, number: int) -> LabelMap | None:
        """The label map of a frame without objects that were removed."""
        found = None if self._tracker is None else self._tracker.labels(self.annotations.check_frame(number))
        known = list(self.annotations.sheet.objects)
        return None if found is None else np.where(np.isin(found, known), found, np.uint8(0))

    def tracked_frames(self) -> tuple[list[int], list[int]]:
        """Frames with results, and those of them that are not up to date; ascending.

        While something is running they may be a second old.
        """
        with self._lock:
            version, at = self._listed_at
            recent = self.worker.busy and time.monotonic() - at < _REFRESH
            if self._tracker is not None and version != self.version and not recent:
                self._listed, self._listed_at = self._tracker.frames(), (self.version, time.monotonic())
            return self._listed

    # -- drawing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def editing(self) -> Iterator[Annotations]:
        """The annotations, to be changed; nothing else changes meanwhile.

        Raises:
            UsageError: something is running.
        """
        self.worker.check_idle()
        with self._lock:
            self.worker.check_idle()
            yield self.annotations
            if self._tracker is not None:
                self._tracker.give(self.annotations.sheet.drawings)
            self.version += 1

    def draw(self, number: int, identity: int, stroke: Stroke) -> None:
        """Add a stroke to an object in a frame, or erase it there; on a tracked frame this corrects it.

        Raises:
            UsageError: there is no such frame or object, the stroke is invalid, or something is running.
        """
        with self.editing() as annotations:
            annotations.draw(number, identity, stroke, self._tracked(number))

    def draw_box(self, number: int, identity: int, box: Sequence[float]) -> str:
        """Find the mask of an object in a box of a frame, x y w h in pixels, and draw it.

        Returns:
            Name of the weights that found it.

        Raises:
            UsageError: there is no such frame or object, the box leaves the frame, nothing is found in it, or something
                is running.
        """
        with self.editing() as annotations:
            annotations.sheet.check_known(identity)
            model = self._shelf.model(self.weights)
            mask = mask_in_box(model, self._shelf.lock, self.frame(number), Box(*box))
            annotations.set_masks(number, {identity: mask})
        return model.boxes_drawn_by or self.weights

    def load_mask(self, number: int, path: Path) -> list[int]:
        """Draw the objects of a mask file in a frame; unknown ones are added.

        Returns:
            Ids of the objects.

        Raises:
            VOSError: the file is no mask, has another size or holds no object, or something is running.
        """
        with self.editing() as annotations:
            labels = read_mask(path, size=self.frames.size)
            given = PromptParser().parse_one(labels, annotations.check_frame(number), self.frames.size, needed=True)
            assert given is not None, "refused where it holds no object"
            masks = {i: mask for i, mask in objects_in(given).items() if isinstance(mask, np.ndarray)}
            annotations.set_masks(number, masks)
        return list(masks)

    # -- work in the background --------------------------------------------------------------------------------------

    def track(self, number: int, step: int = 1) -> None:
        """Start to track from a frame to the end of the video, or with `step` -1 to its start.

        Frames that are up to date are not computed again, except on the way from the last stored state.

        Raises:
            UsageError: nothing is drawn, or something is running.
        """
        self.worker.check_idle()
        with self._lock:
            self.worker.check_idle()
            self.annotations.check_frame(number)
            if not any(drawing.visible for drawing in self.annotations.sheet.drawings.values()):
                raise UsageError("nothing to track: draw an object on any frame first")
            self.worker.start(Job("track"), lambda job: self._track(job, number, step))

    def _track(self, job: Job, number: int, step: int) -> Generator[int | None]:
        tracker = self._prepared()
        with self._lock:
            left = set(tracker.to_track(number, step))
        if not left:
            way, side = ("forward", "before") if step > 0 else ("backward", "after")
            raise UsageError(
                f"nothing to track {way} from frame {number}: all is up to date, or no object is drawn {side} it"
            )
        job.total = len(left)
        steps = tracker.steps(number, step)
        while True:
            with self._lock:
                found = next(steps, None)
                self.version += 1
            if found is None:
                return
            yield found if found in left else None
            left.discard(found)
            time.sleep(_LET_OTHERS_IN)

    def _prepared(self) -> Tracker:
        """The tracker with all drawings."""
        model = self._shelf.model(self.weights)
        with self._lock:
            if self._tracker is None:
                folder = self._work / f"session-{uuid.uuid4().hex}"
                session = model.session(self._path, folder, checkpoint_every=CHECKPOINT_EVERY)
                self._tracker = Tracker(session, self._shelf.lock)
            self._tracker.give(self.annotations.sheet.drawings)
            return self._tracker

    def export(self, kind: str) -> None:
        """Start to write a file with all masks; `worker.job.result` names it when it is finished.

        Raises:
            UsageError: `kind` is unknown, nothing is drawn, or something is running.
        """
        self.worker.check_idle()
        with self._lock:
            self.worker.check_idle()
            name, sheet = export_name(kind, self.frames.name), self.annotations.sheet
            if not sheet.drawings:
                raise UsageError("there is no mask to export; draw an object and track it first")
            path = self._work / name

            def work(job: Job) -> Generator[int]:
                source = open_video(self._path)
                yield from export(kind, source, self.length, self.labels, sheet.objects, path)
                job.result = name

            self.worker.start(Job("export", self.length), work)

    def export_file(self, name: str) -> Path:
        """The file of a finished export.

        Raises:
            UsageError: there is none of this name.
        """
        path = self._work / Path(name).name
        if not path.is_file():
            raise UsageError(f"there is no exported file {name!r}; export again")
        return path
