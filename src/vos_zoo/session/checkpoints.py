"""States of the passes at earlier frames, on disk, so that a correction does not start the video again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vos_zoo.session.events import Events
from vos_zoo.session.passes import Pass
from vos_zoo.session.state_tree import save_state

FOLDER = "checkpoints"
"""Folder of the files."""


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a pass.

    Attributes:
        direction: of the pass.
        newest: the frame that was read last.
        stamp: digest of what happened up to it.
        revision: number in the name of its file.
    """

    direction: int
    newest: int
    stamp: str
    revision: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{'forward' if self.direction > 0 else 'backward'}-{self.newest:06d}-{self.revision}.safetensors"


class Checkpoints:
    """A bounded number of checkpoints per direction.

    Args:
        folder: of the session.
        every: frames from one checkpoint to the next; 0: none are made.
        limit: checkpoints per direction; where there are more, the one whose neighbours are closest is deleted.
    """

    def __init__(self, folder: Path, every: int, limit: int = 4) -> None:
        self.folder = folder / FOLDER
        self.every = every
        self.limit = limit
        self.held: list[Checkpoint] = []
        self.protected = 0

    def is_due(self, current: Pass, events: Events) -> bool:
        """Whether a pass has gone far enough since its start, or will learn from a prompt in the next frame."""
        if not self.every or current.newest is None:
            return False
        return abs(current.newest - current.origin) % self.every == self.every - 1 or bool(events.given(current.next))

    def add(self, current: Pass, revision: int) -> None:
        """Save the state of a pass, unless it is saved already."""
        assert current.newest is not None
        fresh = Checkpoint(current.direction, current.newest, current.stamp, revision)
        if any(
            (own.direction, own.newest, own.stamp) == (fresh.direction, fresh.newest, fresh.stamp) for own in self.held
        ):
            return
        self.folder.mkdir(exist_ok=True)
        save_state(self.folder / fresh.name, current.state())
        self.held.append(fresh)
        own = sorted((held for held in self.held if held.direction == fresh.direction), key=lambda held: held.newest)
        if len(own) > self.limit:
            self._delete(self._redundant(own, fresh))

    def _redundant(self, own: list[Checkpoint], fresh: Checkpoint) -> Checkpoint:
        """The checkpoint to delete: one of another history, else the one whose neighbours are closest."""
        other = [held for held in own if held is not fresh and held.stamp != fresh.stamp]
        twice = [held for held in other if sum(held.newest == one.newest for one in own) > 1]
        if twice:
            return twice[0]
        inner = range(1, len(own) - 1)
        return own[min(inner, key=lambda place: own[place + 1].newest - own[place - 1].newest)]

    def best(self, direction: int, events: Events, first: int) -> Checkpoint | None:
        """The newest valid checkpoint before frame `first`, in the order of the direction."""
        found = [
            held
            for held in self.held
            if held.direction == direction
            and (first - held.newest) * direction > 0
            and held.stamp == events.stamp(held.newest)
        ]
        return max(found, key=lambda held: held.newest * direction, default=None)

    def load(self, checkpoint: Checkpoint, read: Callable[[Path], Any]) -> Any:
        """The state of a checkpoint, read by `read`."""
        return read(self.folder / checkpoint.name)

    def _delete(self, checkpoint: Checkpoint) -> None:
        self.held.remove(checkpoint)
        if checkpoint.revision > self.protected:
            (self.folder / checkpoint.name).unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """Files of the checkpoints that are held."""
        return [self.folder / held.name for held in self.held]
