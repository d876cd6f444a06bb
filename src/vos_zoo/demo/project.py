"""Everything that one tab of the page can do: open a video, draw, track, correct, undo, export."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vos_zoo.demo.annotations import Annotations
from vos_zoo.demo.drawing import Stroke
from vos_zoo.demo.exports import export, export_name
from vos_zoo.demo.frames import FrameStore
from vos_zoo.demo.jobs import Job, Worker
from vos_zoo.demo.results import ResultStore
from vos_zoo.demo.shelf import ModelShelf
from vos_zoo.demo.tracking import Run, is_stale, mask_in_box, track
from vos_zoo.files.names import camera_number
from vos_zoo.prompts import PromptParser, objects_in
from vos_zoo.types import Box, Frame, LabelMap, UsageError
from vos_zoo.video.masks import read_mask
from vos_zoo.video.reader import open_video


class Project:
    """One video with its objects, drawings and results; its methods may be called from several threads.

    Args:
        shelf: the models.
        folder: an own folder for results and exports.
        source: the first video.

    Attributes:
        video: the source of the frames.
        length: number of frames.
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
        self.open(source)

    def open(self, source: str | Path) -> None:
        """Open a video file or a folder of frames; objects, drawings and results of the last one are gone.

        Raises:
            VOSError: it cannot be opened; the last one stays.
        """
        if not str(source).strip():
            raise UsageError("no video is named; give the path of a video file or of a folder of frames")
        if camera_number(source) is not None:
            raise UsageError(f"{source}: a camera has no frames to go back to; use: vos-zoo track {source}")
        path = Path(source).expanduser()
        video = open_video(path)
        length = sum(1 for _ in video) if video.length is None else video.length
        self.close()
        with self._lock:
            self.worker = Worker()
            self.video, self.length, self._path = video, length, path
            self.annotations = Annotations(video.size, length)
            self._frames = FrameStore(video)
            self._results = ResultStore(self.folder / "results")
            self._runs: list[Run] = []
            self._exports = self.folder / "exports"
            self._exports.mkdir()
            self.version += 1
            self.number += 1

    def close(self) -> None:
        """Stop what is running and delete results and exports."""
        self.worker.stop(wait=True)
        for name in ("results", "exports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def choose_weights(self, name: str) -> None:
        """Track with other weights from now on.

        Raises:
            UsageError: they are not offered, or something is running.
        """
        self.worker.check_idle()
        self.weights = self._shelf.check(name)

    # -- what is shown -----------------------------------------------------------------------------------------------

    def frame(self, number: int) -> Frame:
        """Frame `number`, uint8 RGB ``(H, W, 3)``.

        Raises:
            VOSError: there is none, or it cannot be read.
        """
        return self._frames.frame(self.annotations.check_frame(number))

    def labels(self, number: int) -> LabelMap | None:
        """The label map of a frame, uint8 ``(H, W)``: what is drawn over what was tracked; None: nothing is known."""
        with self._lock:
            return self.annotations.shown(number, self._tracked(number))

    def _tracked(self, number: int) -> LabelMap | None:
        return self._results.get(number, self.annotations.sheet.objects)

    def tracked_frames(self) -> tuple[list[int], list[int]]:
        """Frames with results, and those of them that may change if they are tracked again; ascending."""
        with self._lock:
            frames = sorted(self._results.runs)
            return frames, [number for number in frames if self._is_stale(number)]

    def _is_stale(self, number: int) -> bool:
        run = self._results.runs[number]
        return is_stale(number, run, self._runs, self.annotations.sheet.drawings, self.weights)

    # -- drawing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def editing(self) -> Iterator[Annotations]:
        """The annotations, to be changed; nothing else changes meanwhile.

        Raises:
            UsageError: something is running.
        """
        with self._lock:
            self.worker.check_idle()
            yield self.annotations
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
            labels = read_mask(path, size=self.video.size)
            given = PromptParser().parse_one(labels, annotations.check_frame(number), self.video.size, needed=True)
            assert given is not None, "refused where it holds no object"
            masks = {i: mask for i, mask in objects_in(given).items() if isinstance(mask, np.ndarray)}
            annotations.set_masks(number, masks)
        return list(masks)

    # -- work in the background --------------------------------------------------------------------------------------

    def track(self, number: int, step: int = 1) -> None:
        """Start to track from a frame to the end of the video, or with `step` -1 to its start.

        Frames whose results are up to date are not tracked again: tracking goes on where they end. A frame without
        masks, or with outdated ones, is reached from the nearest drawn frame on its other side.

        Raises:
            UsageError: there is nothing to track, all frames are up to date, or something is running.
        """
        with self._lock:
            self.worker.check_idle()
            start = self._start(self.annotations.check_frame(number), step)
            while self._is_fresh(start + step):
                start += step
            frames = range(start, self.length) if step > 0 else range(start, -1, -1)
            if len(frames) < 2:
                raise UsageError(f"every frame from {number} on is tracked; correct a mask or choose other weights")
            self.worker.start(Job("track", len(frames)), lambda job: self._track(frames))

    def _start(self, number: int, step: int) -> int:
        """The frame with masks to track from."""
        drawn = [n for n, drawing in self.annotations.sheet.drawings.items() if drawing.visible]
        shown = self.labels(number)
        if shown is not None and shown.any() and (number in drawn or self._is_fresh(number)):
            return number
        behind = [n for n in drawn if (n - number) * step < 0]
        if not behind:
            where = "an earlier one" if step > 0 else "a later one"
            raise UsageError(f"nothing to track: draw an object on frame {number} or on {where} first")
        return max(behind) if step > 0 else min(behind)

    def _is_fresh(self, number: int) -> bool:
        return number in self._results.runs and not self._is_stale(number)

    def _track(self, frames: range) -> Generator[int]:
        model = self._shelf.model(self.weights)
        start = frames[0]
        with self._lock:
            first, sheet = self.labels(start), self.annotations.sheet
            drawn = sheet.drawings[start].objects if start in sheet.drawings else frozenset[int]()
            source = None if sheet.objects.keys() <= drawn else self._results.runs.get(start)
            keep = source is not None and not self._is_stale(start)
            self._runs.append(Run(self.weights, start, sheet.drawings, source))
            run = len(self._runs) - 1
        assert first is not None
        read = FrameStore(open_video(self._path)).frame  # its own, since the page jumps to other frames meanwhile
        for number, labels in track(model, self._shelf.lock, read, frames, first, sheet.drawings):
            with self._lock:
                if number != start or not keep:
                    self._results.put(number, labels, run)
                self.version += 1
            yield number

    def export(self, kind: str) -> None:
        """Start to write a file with all masks; `worker.job.result` names it when it is finished.

        Raises:
            UsageError: `kind` is unknown, nothing is drawn or tracked, or something is running.
        """
        with self._lock:
            self.worker.check_idle()
            name, sheet = export_name(kind, self.video), self.annotations.sheet
            if not sheet.drawings and not self._results.runs:
                raise UsageError("there is no mask to export; draw an object and track it first")
            path = self._exports / name

            def work(job: Job) -> Generator[int]:
                source = open_video(self._path)  # its own, whose times nobody else resets
                yield from export(kind, source, self.length, self.labels, sheet.objects, path)
                job.result = name

            self.worker.start(Job("export", self.length), work)

    def export_file(self, name: str) -> Path:
        """The file of a finished export.

        Raises:
            UsageError: there is none of this name.
        """
        path = self._exports / Path(name).name
        if not path.is_file():
            raise UsageError(f"there is no exported file {name!r}; export again")
        return path
