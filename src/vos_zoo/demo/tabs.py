"""The projects of the open tabs, by an id that only the tab knows; the one unused for longest makes room."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from vos_zoo.demo.project import Project
from vos_zoo.types import UsageError

MAX_TABS = 8
"""Number of projects that are held at a time."""


class Tabs:
    """Projects by id; safe to use from several threads.

    Args:
        make: own folder -> a new project.
        folder: where the projects' folders are made.
    """

    def __init__(self, make: Callable[[Path], Project], folder: Path) -> None:
        self._make, self._folder = make, folder
        self._projects: OrderedDict[str, Project] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, known: str = "") -> str:
        """Make a project and return its id; if there are too many, the one unused for longest is closed.

        Args:
            known: id of a project to go on with, if it is still there.

        Raises:
            VOSError: the video cannot be opened.
        """
        with self._lock:
            if known in self._projects:
                return known
        identity = secrets.token_urlsafe(16)
        folder = self._folder / identity
        folder.mkdir(parents=True)
        project = self._make(folder)
        with self._lock:
            self._projects[identity] = project
            surplus = [] if len(self._projects) <= MAX_TABS else [self._projects.popitem(last=False)[1]]
        for old in surplus:
            _close(old)
        return identity

    def project(self, identity: str) -> Project:
        """The project of an id.

        Raises:
            UsageError: there is none.
        """
        with self._lock:
            if identity not in self._projects:
                raise UsageError(
                    f"this tab's work was closed ({MAX_TABS} tabs are kept); reload the page to start anew"
                )
            self._projects.move_to_end(identity)
            return self._projects[identity]

    def close(self) -> None:
        """Stop and forget all projects."""
        with self._lock:
            projects, self._projects = list(self._projects.values()), OrderedDict()
        for project in projects:
            _close(project)


def _close(project: Project) -> None:
    project.close()
    shutil.rmtree(project.folder, ignore_errors=True)
