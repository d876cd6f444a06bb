"""Saving a session and loading it: safetensors and JSON in a folder, committed by the replacement of one small file.

`session.json` names the state file of the last save; results and checkpoints are files that never change. A save first
writes what is new under new names, then replaces `session.json`, then deletes what nothing refers to any more.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vos_zoo import __version__
from vos_zoo.files.atomic import atomic_file
from vos_zoo.revision import weights_digest
from vos_zoo.session.checkpoints import FOLDER
from vos_zoo.session.follower import Follower
from vos_zoo.session.frames import CACHE_BYTES, FrameStore, Video
from vos_zoo.session.results import PARTS
from vos_zoo.session.state_tree import load_state, save_state
from vos_zoo.types import UsageError, VOSError

_log = logging.getLogger(__name__)
FORMAT = 1
"""Version of the format."""
MANIFEST = "session.json"
"""The file that says which state is the saved one."""


@dataclass(frozen=True)
class Origin:
    """What a session belongs to: results of other weights or another video would not continue it.

    Attributes:
        session: its own random name.
        method: of the model.
        weights: digest of the network's weights.
        video: digest, number of frames and size [height, width].
    """

    method: str
    weights: str
    video: Mapping[str, Any]
    session: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, model: Follower, frames: FrameStore) -> Origin:
        """The origin of a new session."""
        video = {"digest": frames.digest, "frames": frames.length, "size": list(frames.size)}
        return cls(model.method, weights_digest(model.network.state_dict()), video)


@dataclass(frozen=True)
class SavedSession:
    """A session as it was found in a folder.

    Attributes:
        origin: what it belongs to; checked.
        frames: of the video.
        options: small facts that were saved with it.
        state: the value that was saved.
    """

    origin: Origin
    frames: FrameStore
    options: Mapping[str, Any]
    state: Mapping[str, Any]


def is_session(folder: Path) -> bool:
    """Whether a folder holds a saved session."""
    return (folder / MANIFEST).is_file()


def check_target(folder: Path, origin: Origin) -> None:
    """Check that a session may be saved into a folder other than its own.

    Raises:
        UsageError: it holds another session, or something else.
    """
    if is_session(folder):
        if _manifest(folder).get("session") != origin.session:
            raise UsageError(f"{folder}: holds another session; choose another folder")
    elif folder.exists() and not (folder.is_dir() and all(map(_is_ours, folder.iterdir()))):
        raise UsageError(f"{folder}: is not an empty folder; choose another one")


def write_session(
    folder: Path,
    source: Path,
    files: Sequence[Path],
    revision: int,
    state: Mapping[str, Any],
    origin: Origin,
    options: Mapping[str, Any],
) -> None:
    """Save a session: whenever this is interrupted, the folder holds the former session or this one.

    Args:
        folder: where it is saved.
        source: folder of `files`.
        files: results and checkpoints that belong to the session.
        revision: a number of which `folder` has no state.
        state, origin, options: see `SavedSession`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.samefile(source):
        _transfer(files, source, folder)
    path = folder / f"state-{revision}.safetensors"
    save_state(path, state)
    manifest = {
        "format": FORMAT,
        "vos_zoo": __version__,
        "torch": str(torch.__version__),
        "session": origin.session,
        "method": origin.method,
        "weights": origin.weights,
        "video": dict(origin.video),
        "options": dict(options),
        "state": path.name,
    }
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _clean(folder, [path, *files])


def read_session(folder: Path, model: Follower, video: Video | FrameStore, cache_bytes: int | None) -> SavedSession:
    """A saved session, see `Session.load`.

    Raises:
        UsageError: it is no session, or the weights or the video differ.
        VOSError: the folder is damaged.
    """
    if not is_session(folder):
        raise UsageError(f"{folder}: holds no session ({MANIFEST} is missing); give a folder written by session.save")
    manifest = _manifest(folder)
    if manifest.get("format") != FORMAT:
        raise UsageError(
            f"{folder}: has format {manifest.get('format')!r}, this version reads {FORMAT}; update vos-zoo"
        )
    try:
        saved = Origin(manifest["method"], manifest["weights"], manifest["video"], manifest["session"])
        length = saved.video["frames"] if callable(video) else None
        frames = video if isinstance(video, FrameStore) else FrameStore(video, length, cache_bytes or CACHE_BYTES)
        _compare(folder, saved, Origin.of(model, frames))
        options, name = manifest["options"], manifest["state"]
        if manifest["torch"] != str(torch.__version__):
            _log.warning("%s was saved by torch %s; results may differ in the last bits", folder, manifest["torch"])
    except (KeyError, TypeError, AttributeError) as error:
        raise VOSError(f"{folder / MANIFEST}: is damaged ({error!r}); restore it from a copy") from error
    return SavedSession(saved, frames, options, read_state(model, folder / name))


def read_state(model: Follower, path: Path) -> Any:
    """A state of this model in a file, on the model's device.

    Raises:
        VOSError: the file is missing or damaged.
    """
    return load_state(path, {"vos_zoo", type(model.network).__module__.split(".")[0]}, model.device)


def _compare(folder: Path, saved: Origin, found: Origin) -> None:
    """Refuse other weights and another video."""
    if (saved.method, saved.weights) != (found.method, found.weights):
        raise UsageError(
            f"{folder}: was made with other weights ({saved.method}, {saved.weights[:12]}) than these "
            f"({found.method}, {found.weights[:12]}); load the session with its own"
        )
    if dict(saved.video) != dict(found.video):
        ours, theirs = (
            f"{video['frames']} frames of {video['size'][1]}x{video['size'][0]}, digest {video['digest'][:12]}"
            for video in (saved.video, found.video)
        )
        raise UsageError(f"{folder}: was made with another video ({ours}) than this one ({theirs})")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise VOSError(f"{folder / MANIFEST}: cannot be read ({error}); restore it from a copy") from error


def _is_ours(path: Path) -> bool:
    """Whether an entry of a folder was written by a save, perhaps one that was killed."""
    name = path.name.removeprefix(".")
    return name in (PARTS, FOLDER) or name.startswith(("state-", MANIFEST))


def _transfer(files: Iterable[Path], source: Path, target: Path) -> None:
    """Files of one folder in another, under the same names: links where that is possible, else copies."""
    for path in files:
        to = target / path.relative_to(source)
        if to.exists():
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            with atomic_file(to) as temporary:
                shutil.copyfile(path, temporary)


def _clean(folder: Path, keep: Iterable[Path]) -> None:
    """Delete the files of earlier states that nothing refers to."""
    kept = {path.name for path in keep}
    for part in (folder, folder / PARTS / "forward", folder / PARTS / "backward", folder / FOLDER):
        for path in part.iterdir() if part.is_dir() else ():
            ours = part != folder or (_is_ours(path) and path.name != MANIFEST)
            if ours and path.is_file() and path.name not in kept:
                path.unlink(missing_ok=True)
