"""Files that the page sends: a video is kept while it is open, a mask is read and deleted."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from vos_zoo.demo.actions import about_video, counted
from vos_zoo.demo.project import Project
from vos_zoo.types import UsageError, VOSError


async def receive(project: Project, name: str, chunks: AsyncIterator[bytes]) -> Path:
    """Store what is sent as a file in a new folder of its own.

    Args:
        project: whose folder.
        name: the file's name at the sender.
        chunks: its content.

    Raises:
        VOSError: it cannot be stored.
    """
    path = project.folder / "uploads" / secrets.token_hex(8) / (Path(name).name or "upload")
    try:
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            async for chunk in chunks:
                await run_in_threadpool(file.write, chunk)
    except OSError as error:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise VOSError(f"{path.name}: cannot be stored ({error.strerror}); give its path instead") from error
    return path


def open_received_video(project: Project, path: Path) -> str:
    """Open a received video, delete the one before it, and return what it is.

    Raises:
        VOSError: it is no video; it is deleted, and the open one stays.
    """
    try:
        with _called_by_name(path):
            project.open(path)
    except VOSError:
        shutil.rmtree(path.parent)
        raise
    for folder in path.parent.parent.iterdir():
        if folder != path.parent:
            shutil.rmtree(folder)
    return about_video(project)


def load_received_mask(project: Project, path: Path, frame: int) -> str:
    """Draw the objects of a received mask in a frame, and return how many there are.

    Raises:
        VOSError: it is no mask of this video.
    """
    try:
        with _called_by_name(path):
            found = project.load_mask(frame, path)
    finally:
        shutil.rmtree(path.parent)
    return f"{path.name}: {counted(len(found), 'object')}"


@contextmanager
def _called_by_name(path: Path) -> Iterator[None]:
    """Errors name the file as the sender does."""
    try:
        yield
    except VOSError as error:
        raise UsageError(str(error).replace(str(path), path.name)) from error
