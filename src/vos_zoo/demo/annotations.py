"""The objects of a video and what is drawn of them, with every change as one step that can be undone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vos_zoo.demo.drawing import Drawing, Stroke
from vos_zoo.demo.history import MAX_NAME, History, Sheet
from vos_zoo.types import LabelMap, UsageError


class Annotations:
    """What the user gives of one video.

    Args:
        size: (height, width) of the frames.
        length: number of frames.
    """

    def __init__(self, size: tuple[int, int], length: int) -> None:
        self.size, self.length = size, length
        self.history = History()
        self._used: set[int] = set()

    @property
    def sheet(self) -> Sheet:
        """The current objects and drawings."""
        return self.history.sheet

    def add_object(self) -> int:
        """Add an object and return its id, one that no object ever had where there is one.

        Raises:
            UsageError: there are as many as masks can hold.
        """
        identity = self.sheet.free_id(self._used)
        self._used.add(identity)
        self.history.take(self.sheet.with_objects({identity: default_name(identity)}))
        return identity

    def rename_object(self, identity: int, name: str) -> None:
        """Give an object another name; an empty one stands for "object ID".

        Raises:
            UsageError: there is no such object.
        """
        chosen = " ".join(name.split())[:MAX_NAME] or default_name(identity)
        self.history.take(self.sheet.with_objects({self.sheet.check_known(identity): chosen}))

    def remove_object(self, identity: int) -> None:
        """Remove an object with its drawings.

        Raises:
            UsageError: there is no such object.
        """
        self.history.take(self.sheet.without_object(self.sheet.check_known(identity)))

    def draw(self, frame: int, identity: int, stroke: Stroke, tracked: LabelMap | None) -> None:
        """Add a stroke to an object in a frame, or erase it there.

        Args:
            frame: number of the frame.
            identity: the object.
            stroke: the stroke.
            tracked: label map of the frame without drawings, uint8 ``(H, W)``; None: nothing.

        Raises:
            UsageError: there is no such frame or object, or the stroke is invalid.
        """
        self.sheet.check_known(identity)
        self.history.take(self.sheet.with_drawing(frame, self._drawing(frame).with_stroke(stroke, identity, tracked)))

    def set_masks(self, frame: int, masks: Mapping[int, NDArray[np.bool_]]) -> None:
        """Draw whole masks, bool ``(H, W)``, instead of what a frame showed of these objects; adds unknown objects.

        Raises:
            UsageError: there is no such frame.
        """
        drawing = self._drawing(frame).with_masks(masks)
        self._used |= masks.keys()
        new = {identity: default_name(identity) for identity in masks if identity not in self.sheet.objects}
        self.history.take(self.sheet.with_objects(new).with_drawing(frame, drawing))

    def clear(self, frame: int) -> None:
        """Remove what is drawn in a frame; what was tracked there counts again.

        Raises:
            UsageError: nothing is drawn in it.
        """
        if self.check_frame(frame) not in self.sheet.drawings:
            raise UsageError(f"nothing is drawn on frame {frame}")
        self.history.take(self.sheet.with_drawing(frame, None))

    def check_frame(self, frame: int) -> int:
        """The number of a frame of the video.

        Raises:
            UsageError: there is none.
        """
        if not 0 <= frame < self.length:
            raise UsageError(f"there is no frame {frame}; the video has {self.length}, numbered from 0")
        return frame

    def shown(self, frame: int, tracked: LabelMap | None) -> LabelMap | None:
        """The label map of a frame, uint8 ``(H, W)``: drawings over what was tracked; None: nothing is known."""
        drawing = self.sheet.drawings.get(self.check_frame(frame))
        return tracked if drawing is None else drawing.over(tracked)

    def _drawing(self, frame: int) -> Drawing:
        return self.sheet.drawings.get(self.check_frame(frame), Drawing(self.size))


def default_name(identity: int) -> str:
    """Name of an object that was given none."""
    return f"object {identity}"
