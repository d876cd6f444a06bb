"""The objects and drawings of a project, with undo and redo."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vos_zoo.demo.drawing import Drawing
from vos_zoo.labels import MAX_ID, MIN_ID
from vos_zoo.types import UsageError

MAX_STEPS = 200
"""Number of steps that can be undone."""
MAX_NAME = 60
"""Longest name of an object, in characters."""


@dataclass(frozen=True)
class Sheet:
    """What the user has given so far. Immutable.

    Attributes:
        objects: id -> name.
        drawings: frame -> what is given there.
    """

    objects: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    drawings: Mapping[int, Drawing] = field(default_factory=lambda: MappingProxyType({}))

    def with_objects(self, more: Mapping[int, str]) -> Sheet:
        """The sheet with objects added or renamed."""
        return replace(self, objects=dict(sorted({**self.objects, **more}.items())))

    def without_object(self, identity: int) -> Sheet:
        """The sheet without an object and its drawings."""
        kept = {frame: drawing.without(identity) for frame, drawing in self.drawings.items()}
        drawings = {frame: drawing for frame, drawing in kept.items() if drawing.objects}
        return Sheet({i: name for i, name in self.objects.items() if i != identity}, drawings)

    def with_drawing(self, frame: int, drawing: Drawing | None) -> Sheet:
        """The sheet with another drawing of a frame; None: with none."""
        others = {number: each for number, each in self.drawings.items() if number != frame}
        return replace(self, drawings=dict(sorted({**others, frame: drawing}.items())) if drawing else others)

    def check_known(self, identity: int) -> int:
        """The id of an object of this sheet.

        Raises:
            UsageError: there is no such object.
        """
        if identity not in self.objects:
            raise UsageError(f"there is no object {identity}; known objects are {list(self.objects)}")
        return identity

    def free_id(self, used: Set[int]) -> int:
        """The smallest id that no object has, one that is not in `used` if possible.

        Raises:
            UsageError: all are in use.
        """
        free = [identity for identity in range(MIN_ID, MAX_ID + 1) if identity not in self.objects]
        if free:
            return next((identity for identity in free if identity not in used), free[0])
        raise UsageError(f"there are {len(self.objects)} objects, the most that a mask can hold; remove one first")


class History:
    """The current sheet, and the earlier ones.

    Attributes:
        sheet: the current one.
    """

    def __init__(self) -> None:
        self.sheet = Sheet()
        self._past: list[Sheet] = []
        self._future: list[Sheet] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether an undone step can be done again."""
        return bool(self._future)

    def take(self, sheet: Sheet) -> None:
        """Make `sheet` the current one, as one step."""
        if sheet == self.sheet:
            return
        self._past = [*self._past, self.sheet][-MAX_STEPS:]
        self._future = []
        self.sheet = sheet

    def undo(self) -> None:
        """Go back one step.

        Raises:
            UsageError: there is none.
        """
        if not self._past:
            raise UsageError("there is nothing to undo")
        self._future.append(self.sheet)
        self.sheet = self._past.pop()

    def redo(self) -> None:
        """Do the step again that was undone last.

        Raises:
            UsageError: there is none.
        """
        if not self._future:
            raise UsageError("there is nothing to redo")
        self._past.append(self.sheet)
        self.sheet = self._future.pop()
