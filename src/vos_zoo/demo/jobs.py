"""Work in the background, one piece at a time: it reports its progress and can be stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

from vos_zoo.types import UsageError, VOSError

_LOG = logging.getLogger(__name__)


@dataclass
class Job:
    """The progress of a piece of work.

    Attributes:
        kind: "track" or "export".
        total: number of steps; 0: not known yet.
        done: steps that are finished.
        frame: the frame that was finished last; None: none yet.
        running: whether it goes on.
        stopping: whether it was asked to stop.
        error: why it failed, one line; empty: it did not.
        result: name of the file that it wrote; empty: none.
    """

    kind: str
    total: int = 0
    done: int = 0
    frame: int | None = None
    running: bool = True
    stopping: bool = False
    error: str = ""
    result: str = ""


class Worker:
    """Runs one job at a time in a thread.

    Attributes:
        job: the current or last job; None: there was none.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self.job is not None and self.job.running

    def check_idle(self) -> None:
        """Check that no job is running.

        Raises:
            UsageError: one is.
        """
        if self.busy:
            raise UsageError("wait until the work in progress is finished, or stop it")

    def start(self, job: Job, work: Callable[[Job], Generator[int | None]]) -> None:
        """Start a job.

        Args:
            job: what is shown of it.
            work: yields the number of every frame that it finished, None after other steps; it is closed where it is
                stopped.

        Raises:
            UsageError: another one is running.
        """
        with self._lock:
            self.check_idle()
            self.job = job
            self._thread = threading.Thread(target=self._run, args=(job, work), daemon=True, name=f"vos-zoo {job.kind}")
            self._thread.start()

    def _run(self, job: Job, work: Callable[[Job], Generator[int | None]]) -> None:
        steps = work(job)
        try:
            for frame in steps:
                if frame is not None:
                    job.done, job.frame = job.done + 1, frame
                if job.stopping:
                    break
        except VOSError as error:
            job.error = " ".join(str(error).split())
        except Exception as error:  # shown on the page; the thread has nobody to raise it to
            _LOG.exception("%s failed", job.kind)
            job.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
        finally:
            steps.close()
            job.running = False

    def stop(self, wait: bool = False) -> None:
        """Stop the job after its current frame; nothing happens if none is running.

        Args:
            wait: return when it has ended.
        """
        if self.job is not None:
            self.job.stopping = True
        if wait and self._thread is not None:
            self._thread.join()
