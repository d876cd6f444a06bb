"""What users give a tracker, checked by one parser for all: frames, masks, boxes, points.

A parsed prompt is a label map, uint8 ``(H, W)`` of ids 1..254 and 0 for "nothing said", or a `Box` or `Points` per id.
A prompt that names no object says nothing; a request of such prompts alone is refused.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import (
    MAX_ID,
    MIN_ID,
    SOFT_CURE,
    VOID,
    as_label_map,
    check_threshold,
    has_soft_edges,
    objects_of,
    over_threshold,
    shows_ids,
    shows_one_object,
    to_array,
)
from vos_zoo.types import Box, Frame, LabelMap, Points, Prompt, UsageError

WANTED = "give a mapping from frame numbers to label maps or boxes: {0: label_map} or {0: {1: (x, y, w, h)}}"
ObjectPrompt: TypeAlias = "NDArray[np.bool_] | Box | Points"
"""What is given of one object: its mask, bool ``(H, W)``, a box, or points."""
_BOX = re.compile(r"\s*([+-]?\d+)\s*:\s*([^,]+),([^,]+),([^,]+),([^,]+)")
_SLACK = 1e-3  # tolerance in pixels for the sum of a box's numbers


def check_frame(frame: Any, size: tuple[int, int] | None, index: int) -> Frame:
    """Frame number `index` of a video of `size` (H, W; None: the first one).

    Raises:
        UsageError: it is not a uint8 RGB array, or of another size.
    """
    if not isinstance(frame, np.ndarray):
        raise UsageError(f"frame {index} is a {type(frame).__name__}; frames are uint8 RGB arrays (H, W, 3)")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise UsageError(f"frame {index} is {frame.dtype} {frame.shape}; frames are uint8 RGB (H, W, 3)")
    if size is not None and frame.shape[:2] != size:
        raise UsageError(f"frame {index} has size {frame.shape[:2]}, the video {size}; resize it, or start a new video")
    return frame


class PromptParser:
    """Parses the prompts of one video.

    The meaning of 255 is decided by all masks of a call together, and by those of earlier calls.

    Args:
        mask_threshold: turns masks into one object, id 1, where they reach this level, 1..255; None reads ids.

    Raises:
        UsageError: a threshold out of range.
    """

    def __init__(self, mask_threshold: int | None = None) -> None:
        self.threshold = check_threshold(mask_threshold)
        self._ids_seen = False

    def parse(self, prompts: Any, length: int | None = None) -> dict[int, Prompt]:
        """The prompts of a video, by frame, sorted; prompts without objects are left out.

        Args:
            prompts: frame number -> label map ``(H, W)`` of integers 0..255, or object id -> box (x, y, w, h) or
                `Points`.
            length: frames of the video where known.

        Raises:
            UsageError: another type, an invalid id or frame, or no object at all.
        """
        if not isinstance(prompts, Mapping):
            raise UsageError(f"prompts is a {type(prompts).__name__}; {WANTED}")
        numbers = [(_frame_number(key, length), prompt) for key, prompt in prompts.items()]
        parsed = self._decide({index: _typed(prompt, index) for index, prompt in sorted(numbers, key=_first)})
        if not parsed:
            empty = f"; {_said_nothing(next(iter(sorted(numbers, key=_first)))[0])}" if numbers else ""
            raise UsageError(f"nothing to track{empty}: give a mask or a box in at least one frame; {WANTED}")
        return parsed

    def parse_one(self, prompt: Any, index: int, size: tuple[int, int], needed: bool = False) -> Prompt | None:
        """The prompt of frame `index` of a video of `size` (H, W); None if it has no object.

        Args:
            prompt: a label map, or boxes and points by id, see `parse`.
            index: number of the frame.
            size: height and width of the frame.
            needed: whether there is no other object to track.

        Raises:
            UsageError: the prompt is invalid or does not fit the frame, or has no object although one is needed.
        """
        typed = _typed(prompt, index)
        check_fit(typed, index, size)
        parsed = self._decide({index: typed}).get(index)
        if parsed is None and needed:
            raise UsageError(f"nothing to track; {_said_nothing(index)}: give every object's pixels its id, from 1 on")
        return parsed

    def _decide(self, typed: Mapping[int, Prompt]) -> dict[int, Prompt]:
        """Label maps with their meaning of 255 decided, beside the others; without prompts that name no object."""
        maps = {index: prompt for index, prompt in typed.items() if not isinstance(prompt, Mapping)}
        if self.threshold is not None:
            decided = {index: over_threshold(labels, self.threshold) for index, labels in maps.items()}
        else:
            for index, labels in maps.items():
                if has_soft_edges(labels):
                    raise UsageError(
                        f"the mask given in frame {index} has soft edges instead of object ids; {SOFT_CURE}"
                    )
            one_object = not self._ids_seen and shows_one_object(maps.values())
            decided = {index: objects_of(labels, one_object) for index, labels in maps.items()}
            self._ids_seen = self._ids_seen or any(shows_ids(labels) for labels in maps.values())
            if not one_object:
                _warn_of_void(maps)
        parsed = {index: decided.get(index, prompt) for index, prompt in typed.items()}
        return {index: prompt for index, prompt in parsed.items() if _names_an_object(prompt)}


def _warn_of_void(maps: Mapping[int, LabelMap]) -> None:
    """Warn of masks with ids in which 255, void, covers more than the objects: it may be meant as an object."""
    for index, labels in maps.items():
        void, objects = int((labels == VOID).sum()), int(((labels > 0) & (labels < VOID)).sum())
        if void > objects:
            warnings.warn(
                f"the mask given in frame {index} has {void} pixels of {VOID} and {objects} of object ids; {VOID} "
                f"with ids is void and ignored: if it is an object, give it an id from {MIN_ID} to {MAX_ID}",
                stacklevel=5,
            )


def objects_in(prompt: Prompt) -> dict[int, ObjectPrompt]:
    """What a parsed prompt gives of each object, by id."""
    if isinstance(prompt, Mapping):
        return {identity: hint if isinstance(hint, Points) else Box(*hint) for identity, hint in prompt.items()}
    return {int(identity): prompt == identity for identity in np.unique(prompt) if identity != 0}


def check_fit(prompt: Prompt, index: int, size: tuple[int, int]) -> None:
    """Check the size of a parsed prompt of frame `index` against the frame's (H, W).

    Raises:
        UsageError: a mask of another size, or a box or point that leaves the frame.
    """
    if isinstance(prompt, Mapping):
        for identity, hint in prompt.items():
            where = f"frame {index}, object {identity}"
            if isinstance(hint, Points):
                _check_points(hint, size, where)
            else:
                check_box(identity, Box(*hint), size, f"{where}: box {_shown(Box(*hint))}")
    elif prompt.shape != tuple(size):
        raise UsageError(f"the mask given in frame {index} is {prompt.shape}, the frame {tuple(size)} (height, width)")


def parse_boxes(texts: Iterable[str]) -> dict[int, Box]:
    """Parse ``ID:X,Y,W,H`` texts (left, top, width, height in pixels) into boxes by object id.

    Raises:
        UsageError: a text has another form, an id is not in 1..254 or is given twice, or a box is empty.

    Examples:
        >>> parse_boxes(["1:40,30,120,80"])
        {1: Box(x=40.0, y=30.0, w=120.0, h=80.0)}
    """
    boxes: dict[int, Box] = {}
    for text in texts:
        match = _BOX.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            identity, box = int(match[1]), Box(*(float(match[group]) for group in (2, 3, 4, 5)))
        except ValueError:
            raise UsageError(f"--box: {text!r} is not of the form ID:X,Y,W,H, for example 1:40,30,120,80") from None
        check_box(identity, box, None, f"--box {text}")
        if identity in boxes:
            raise UsageError(f"--box {text}: object {identity} already has a box; every object needs its own id")
        boxes[identity] = box
    return boxes


def check_id(identity: int, where: str) -> None:
    """Check that an object id is in 1..254.

    Raises:
        UsageError: it is not.
    """
    if not MIN_ID <= identity <= MAX_ID:
        raise UsageError(
            f"{where}: id {identity} is not an object; ids go from {MIN_ID} to {MAX_ID} (0 is the background, "
            f"{VOID} void)"
        )


def check_box(identity: int, box: Box, size: tuple[int, int] | None, where: str) -> None:
    """Check that a box is valid in a frame of `size` (height, width; None: any size).

    Raises:
        UsageError: its id is not in 1..254, or it is empty, not finite, or is not inside the frame.
    """
    check_id(identity, where)
    if not all(math.isfinite(side) for side in box) or box.w <= 0 or box.h <= 0:
        raise UsageError(f"{where}: the box is empty; x,y,w,h must be finite, width and height must be greater than 0")
    if size is None:
        return
    height, width = size
    right, bottom = box.x + box.w, box.y + box.h
    if box.x < 0 or box.y < 0 or right > width + _SLACK or bottom > height + _SLACK:
        raise UsageError(
            f"{where}: is not inside the frame of {width}x{height} pixels; {_clipped(identity, box, size)}"
        )


def _check_points(points: Points, size: tuple[int, int], where: str) -> None:
    """Refuse points outside of a frame of `size` (height, width)."""
    height, width = size
    for x, y in (*points.positive, *points.negative):
        if not (0 <= x < width and 0 <= y < height):
            raise UsageError(
                f"{where}: point ({x:g}, {y:g}) lies outside of the frame of {width}x{height} pixels; give (x, y) in "
                "pixels of the frame"
            )


def _shown(box: Box) -> str:
    return ",".join(f"{side:g}" for side in box)


def _clipped(identity: int, box: Box, size: tuple[int, int]) -> str:
    """The fix for a box that is not inside the frame: its inner part, if there is one."""
    height, width = size
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.w, float(width)), min(box.y + box.h, float(height))
    if right <= left or bottom <= top:
        return "give x,y,w,h in pixels of the frame"
    return f"its part inside is {identity}:{left:g},{top:g},{right - left:g},{bottom - top:g}"


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _said_nothing(index: int) -> str:
    return f"the prompt of frame {index} holds no object (only background)"


def _names_an_object(prompt: Prompt) -> bool:
    return bool(prompt) if isinstance(prompt, Mapping) else bool(prompt.any())


def _whole(value: Any) -> bool:
    """Whether a value is an integer, Python's or NumPy's, but not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _frame_number(key: Any, length: int | None) -> int:
    if not _whole(key):
        raise UsageError(f"prompts has the key {key!r}, which is not a frame number; {WANTED}")
    if key < 0:
        raise UsageError(f"a prompt was given for frame {key}; frames are numbered from 0")
    if length is not None and key >= length:
        raise UsageError(f"a prompt was given for frame {key}, but the video has {length} frames, numbered from 0")
    return int(key)


def _typed(prompt: Any, index: int) -> Prompt:
    """A prompt as label map, uint8 ``(H, W)``, or boxes and points by id; sizes are not looked at."""
    if isinstance(prompt, Mapping):
        return dict(_object_hint(key, value, index) for key, value in prompt.items())
    what = f"the mask given in frame {index}"
    if isinstance(prompt, str | bytes | None) or not (hasattr(prompt, "__len__") or hasattr(prompt, "shape")):
        raise UsageError(f"{what} is {prompt!r}; {WANTED}")
    labels = to_array(prompt, what)
    if labels.shape == (4,):
        raise UsageError(f"{what} is {prompt!r}; a box needs the id of its object: {{{index}: {{1: (x, y, w, h)}}}}")
    return as_label_map(labels, what)


def _object_hint(key: Any, value: Any, index: int) -> tuple[int, Box | Points]:
    """Object id and box or points of an entry of a prompt."""
    if not _whole(key):
        raise UsageError(f"frame {index} has the object id {key!r}; ids are whole numbers from {MIN_ID} to {MAX_ID}")
    where = f"frame {index}, object {int(key)}"
    check_id(int(key), where)
    if isinstance(value, Points):
        return int(key), Points(_clicks(value.positive, where, least=1), _clicks(value.negative, where))
    sides = None if isinstance(value, str | bytes | Mapping | None) else to_array(value, where)
    if sides is None or sides.dtype.kind not in "iuf" or sides.shape != (4,):
        shown = f"{sides.dtype} {sides.shape}" if isinstance(sides, np.ndarray) and sides.ndim > 1 else repr(value)
        raise UsageError(
            f"{where}: {shown} is not a box x,y,w,h; masks are given as one label map per frame, "
            f"such as np.where(mask, {int(key)}, 0)"
        )
    box = Box(*(float(side) for side in sides))
    check_box(int(key), box, None, f"{where}: box {_shown(box)}")
    return int(key), box


def _clicks(points: Any, where: str, least: int = 0) -> tuple[tuple[float, float], ...]:
    """Points of an object, each (x, y), as numbers; at least so many."""
    found = to_array(points, where) if len(points) else np.zeros((0, 2))
    if found.dtype.kind not in "iuf" or found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise UsageError(f"{where}: {points!r} are no points; give Points(positive=[(x, y), ...], negative=[...])")
    if len(found) < least:
        raise UsageError(f"{where}: no point lies on the object; give at least one positive point (x, y)")
    return tuple((float(x), float(y)) for x, y in found)
