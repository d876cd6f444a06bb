"""Results of a session on disk: a file per frame and direction, and an index of a few bytes per frame in memory.

Files are never changed: a newer result has a name of its own, so that a saved session keeps its results.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vos_zoo.files.atomic import write_bytes
from vos_zoo.types import FrameResult, LabelMap, VOSError

PARTS = "results"
"""Folder of the result files."""
_FOLDERS = {1: "forward", -1: "backward"}
_LEVELS = 255


@dataclass(frozen=True)
class Part:
    """What one direction found in a frame.

    Attributes:
        keys: objects, in the order of `probabilities`.
        labels: the most probable key of every pixel, uint8 ``(H, W)``, 0 = background.
        probabilities: of the objects in steps of 1/255, uint8 ``(N, H, W)``.
        scores: float32 ``(N,)`` of each object being in sight; None from methods that do not say.
        evidence: name -> a number per object, see `vos_zoo.session.evidence`.
    """

    keys: tuple[int, ...]
    labels: LabelMap
    probabilities: NDArray[np.uint8]
    scores: NDArray[np.float32] | None = None
    evidence: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, result: FrameResult, evidence: Mapping[str, list[float]]) -> Part:
        """The part of a stream's result, whose ids are keys."""
        levels = (result.probabilities[1:].cpu().numpy() * _LEVELS + 0.5).astype(np.uint8)
        scores = None if result.scores is None else result.scores.cpu().numpy().astype(np.float32)
        return cls(result.ids, result.label_map(), levels, scores, dict(evidence))


class ResultStore:
    """The parts of all frames, in a folder.

    Args:
        folder: where files are written; it exists.
        length: frames of the video.

    Attributes:
        index: direction -> "revision" (int64, 0: no result), "head" (int32: the newest frame that was read when the
            result was made), "stamp" (int32, in `stamps`) and "partial" (bool: made of a clip that was not full),
            ``(length,)`` each.
        stamps: digests of what results depend on.
        protected: files of revisions up to this one belong to a saved session and stay until the next save.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.folder = folder
        self.index: dict[int, dict[str, NDArray[Any]]] = {
            direction: {
                "revision": np.zeros(length, np.int64),
                "head": np.zeros(length, np.int32),
                "stamp": np.zeros(length, np.int32),
                "partial": np.zeros(length, bool),
            }
            for direction in _FOLDERS
        }
        self.stamps: list[str] = [""]
        self.protected = 0
        self._revision = time.time_ns()
        for name in _FOLDERS.values():
            (folder / PARTS / name).mkdir(parents=True, exist_ok=True)

    def revision(self) -> int:
        """A number that no earlier file of the folder has."""
        self._revision += 1
        return self._revision

    def put(self, direction: int, frame: int, part: Part, head: int, stamp: str, partial: bool) -> None:
        """Store a result."""
        if self.stamps[-1] != stamp:
            self.stamps.append(stamp)
        own, revision = self.index[direction], self.revision()
        former = int(own["revision"][frame])
        header = {"keys": part.keys, "evidence": part.evidence}
        arrays: dict[str, Any] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "labels": part.labels,
            "probabilities": part.probabilities,
        }
        if part.scores is not None:
            arrays["scores"] = part.scores
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path = self.path(direction, frame, revision)
        write_bytes(path, content.getvalue())
        own["revision"][frame], own["head"][frame] = revision, head
        own["stamp"][frame], own["partial"][frame] = len(self.stamps) - 1, partial
        if former > self.protected:
            self.path(direction, frame, former).unlink(missing_ok=True)

    def get(self, direction: int, frame: int) -> Part | None:
        """The stored result; None if there is none.

        Raises:
            VOSError: its file is missing or damaged.
        """
        revision = int(self.index[direction]["revision"][frame])
        if not revision:
            return None
        path = self.path(direction, frame, revision)
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                scores = stored.get("scores")
                labels, levels = stored["labels"], stored["probabilities"]
            return Part(tuple(header["keys"]), labels, levels, scores, header["evidence"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise VOSError(f"{path}: cannot be read as a result ({error}); run the frame again") from error

    def stamp(self, direction: int, frame: int) -> tuple[int, str, bool] | None:
        """Newest frame read, digest and whether its clip was not full, of a stored result; None if there is none."""
        own = self.index[direction]
        if not own["revision"][frame]:
            return None
        return int(own["head"][frame]), self.stamps[own["stamp"][frame]], bool(own["partial"][frame])

    def path(self, direction: int, frame: int, revision: int) -> Path:
        """File of a result."""
        return self.folder / PARTS / _FOLDERS[direction] / f"{frame:06d}-{revision}.npz"

    def files(self) -> Iterator[Path]:
        """Files of the index."""
        for direction, own in self.index.items():
            for frame in np.flatnonzero(own["revision"]):
                yield self.path(direction, int(frame), int(own["revision"][frame]))

    def state(self) -> dict[str, Any]:
        """The index, to be saved."""
        return {"index": self.index, "stamps": self.stamps}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved index."""
        self.index, self.stamps = dict(state["index"]), list(state["stamps"])
