"""What was given in a session: masks, boxes and points by frame and object, with undo and redo.

Objects have keys, 1..254, which never change and are those of the stream; users see them by the id of each object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.prompts import ObjectPrompt, check_id
from vos_zoo.types import Box, Points, UsageError

MAX_STEPS = 1000
"""Steps that can be undone."""


@dataclass(frozen=True)
class PackedMask:
    """A mask, bool ``(H, W)``, one bit per pixel."""

    bits: bytes
    height: int
    width: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> PackedMask:
        """Pack a mask ``(H, W)``."""
        return cls(np.packbits(mask).tobytes(), *mask.shape)

    def unpacked(self) -> NDArray[np.bool_]:
        """The mask, bool ``(H, W)``."""
        count = self.height * self.width
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=count)
        return bits.astype(bool).reshape(self.height, self.width)


@dataclass(frozen=True)
class GivenPrompt:
    """What is given of one object in one frame.

    Attributes:
        hint: its mask, box or points.
        restart: the object starts anew from it.
    """

    hint: PackedMask | Box | Points
    restart: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that matters to results."""
        return hashlib.sha256(repr((self.hint, self.restart)).encode()).hexdigest()

    def unpacked(self) -> ObjectPrompt:
        """The prompt as the stream takes it."""
        return self.hint.unpacked() if isinstance(self.hint, PackedMask) else self.hint


@dataclass(frozen=True)
class ObjectInfo:
    """An object: its id, and the frames ``[start, stop)`` in which it exists; stop None: to the end."""

    identity: int
    start: int = 0
    stop: int | None = None

    def exists_in(self, frame: int) -> bool:
        """Whether the object exists in a frame."""
        return frame >= self.start and (self.stop is None or frame < self.stop)


Frames = Mapping[int, Mapping[int, GivenPrompt]]
"""Frame -> key -> what is given."""


@dataclass(frozen=True)
class BookState:
    """Everything that was given, at one point of time; never changed.

    Attributes:
        objects: by key.
        given: by frame and key.
    """

    objects: Mapping[int, ObjectInfo] = field(default_factory=dict)
    given: Frames = field(default_factory=dict)

    def key_of(self, identity: int) -> int:
        """The key of an object.

        Raises:
            UsageError: there is no object of this id.
        """
        for key, info in self.objects.items():
            if info.identity == identity:
                return key
        raise UsageError(f"there is no object {identity!r}; known objects are {self.ids}")

    @property
    def ids(self) -> list[int]:
        """Ids of the objects, ascending."""
        return sorted(info.identity for info in self.objects.values())

    def with_given(self, frame: int, given: Mapping[int, GivenPrompt]) -> BookState:
        """The state in which a frame has exactly these prompts, by key."""
        frames = {**self.given, frame: dict(given)}
        return replace(self, given={t: frames[t] for t in sorted(frames) if frames[t]})

    def without(self, key: int) -> BookState:
        """The state without an object and its prompts."""
        frames = {t: {k: g for k, g in given.items() if k != key} for t, given in self.given.items()}
        objects = {k: info for k, info in self.objects.items() if k != key}
        return BookState(objects, {t: given for t, given in frames.items() if given})

    def with_object(self, key: int, info: ObjectInfo) -> BookState:
        """The state with a new object, or one that has changed.

        Raises:
            UsageError: another object has the id, or something is given outside of the object's range.
        """
        check_id(info.identity, "object")
        if any(k != key and other.identity == info.identity for k, other in self.objects.items()):
            raise UsageError(f"there is an object {info.identity} already; merge the two, or choose another id")
        if (info.stop is not None and info.stop <= info.start) or info.start < 0:
            raise UsageError(f"object {info.identity}: frames {info.start} to {info.stop} are no range")
        outside = [t for t, given in self.given.items() if key in given and not info.exists_in(t)]
        if outside:
            raise UsageError(
                f"object {info.identity} is given in frame {outside[0]}, outside of the range from {info.start} to "
                f"{info.stop}; remove that prompt first"
            )
        return replace(self, objects={**self.objects, key: info})


class PromptBook:
    """The states of a session's prompts, the current one among them."""

    def __init__(self) -> None:
        self.states: list[BookState] = [BookState()]
        self.position = 0
        self.used: list[int] = []

    @property
    def now(self) -> BookState:
        """The current state."""
        return self.states[self.position]

    def contents(self) -> dict[str, Any]:
        """Everything in the book, as a value."""
        return {"states": self.states, "position": self.position, "used": self.used}

    def set_contents(self, contents: Mapping[str, Any]) -> None:
        """Replace everything in the book."""
        self.states, self.position = list(contents["states"]), contents["position"]
        self.used = list(contents["used"])

    def change(self, state: BookState) -> None:
        """Make a state the current one; what was undone before is forgotten."""
        self.states = [*self.states[: self.position + 1], state][-MAX_STEPS:]
        self.position = len(self.states) - 1

    def undo(self) -> bool:
        """Return to the state before the last change; False if there is none."""
        if self.position == 0:
            return False
        self.position -= 1
        return True

    def redo(self) -> bool:
        """Take back an undo; False if there is none."""
        if self.position == len(self.states) - 1:
            return False
        self.position += 1
        return True

    def new_key(self, identity: int) -> int:
        """The key of a new object: its id if no object ever had it, so that no older result is taken for its own.

        Raises:
            UsageError: all are in use.
        """
        held = {key for state in self.states for key in state.objects}
        candidates = [identity, *range(MIN_ID, MAX_ID + 1)]
        free = [key for key in candidates if key not in self.used] or [key for key in candidates if key not in held]
        if not free:
            raise UsageError(f"a session holds at most {MAX_ID} objects")
        self.used = sorted({*self.used, free[0]})
        return free[0]
