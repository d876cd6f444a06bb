"""What the user points at: ``--mask`` and ``--box`` of the command line, checked and turned into prompts per frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vos_zoo.files.names import list_files
from vos_zoo.types import Box, LabelMap, Prompt, UsageError, VOSError
from vos_zoo.video.masks import read_mask

_BOX = re.compile(r"\s*([+-]?\d+)\s*:\s*([^,]+),([^,]+),([^,]+),([^,]+)")
_VOID = 255


def parse_prompts(
    masks: Sequence[str | Path] = (),
    boxes: Sequence[str] | Mapping[int, Box] = (),
    *,
    size: tuple[int, int],
    names: Sequence[str] | None = None,
    length: int | None = None,
) -> dict[int, Prompt]:
    """Turn the command line's masks and boxes into prompts.

    Args:
        masks: mask files (given for the first frame) and folders of masks named as their frames. In a mask 0 means "no
            label": a later mask adds its objects (or corrects known ones) and says nothing about the others.
        boxes: texts ``ID:X,Y,W,H`` in pixels, or boxes by object id, for the first frame.
        size: (height, width) of the frames.
        names: stems of the frames, None for videos, where ``00012.png`` belongs to frame 12.
        length: number of frames where it is known.

    Returns:
        Frame index -> label map uint8 ``(H, W)`` or ``{object id: Box}``, sorted by frame.

    Raises:
        UsageError: nothing is given, a mask cannot be read or belongs to no frame, an id is not in 1..254 or is given
            twice, a box leaves the frame, or one frame gets a mask as well as boxes.
    """
    if not masks and not boxes:
        raise UsageError("nothing says which object to follow; give --mask FILE or --box ID:X,Y,W,H")
    prompts: dict[int, Prompt] = {}
    for source in masks:
        for index, path in _mask_files(Path(source), names, length):
            if index in prompts:
                raise UsageError(f"mask {path}: frame {index} already has a mask; draw all its objects into one file")
            labels = read_prompt_mask(path, size)
            if labels.any():
                prompts[index] = labels
    if masks and not prompts:
        raise UsageError(
            f"mask {masks[0]}: holds no object (only background); give every object's pixels its id, from 1 on"
        )
    if boxes:
        if 0 in prompts:
            raise UsageError("--box: the first frame already has a mask; give either a mask or boxes for a frame")
        first = dict(boxes) if isinstance(boxes, Mapping) else parse_boxes(boxes)
        check_boxes(first, size)
        prompts[0] = first
    return dict(sorted(prompts.items()))


def _mask_files(source: Path, names: Sequence[str] | None, length: int | None) -> Iterable[tuple[int, Path]]:
    """Frame index and file of every mask behind one ``--mask``."""
    if not source.exists():
        raise UsageError(f"mask {source}: there is no such file or folder; check the name")
    if not source.is_dir():
        return [(0, source)]
    files = list_files(source, (".png",))
    if not files:
        raise UsageError(f"mask {source}: the folder holds no PNG; give PNGs named as their frames")
    return [(_frame_index(path, names, length), path) for path in files]


def _frame_index(path: Path, names: Sequence[str] | None, length: int | None) -> int:
    if names is not None:
        if path.stem not in names:
            raise UsageError(
                f"mask {path}: no frame is called {path.stem!r}; name it as its frame (first: {names[0]!r})"
            )
        return names.index(path.stem)
    if not path.stem.isdecimal():
        raise UsageError(f"mask {path}: its name is no frame number; name it after its frame, for example 00000.png")
    index = int(path.stem)
    if length is not None and index >= length:
        raise UsageError(f"mask {path}: there is no frame {index}; the video's last frame is {length - 1}")
    return index


def read_prompt_mask(path: str | Path, size: tuple[int, int]) -> LabelMap:
    """Read a mask that is given to a tracker, uint8 ``(H, W)`` of ids 1..254 and 0 = "no label".

    A black-and-white mask (only 0 and 255) is object 1; 255 beside other ids is void and becomes 0.

    Args:
        path: palette or grey PNG.
        size: (height, width) of the frames.

    Raises:
        UsageError: the file cannot be read as a mask of this size.
    """
    try:
        labels = read_mask(path, size=size)
    except VOSError as error:  # a wrong file is a wrong request here
        raise UsageError(str(error)) from error
    void = labels == _VOID
    if not void.any():
        return labels
    only_void = not ((labels > 0) & ~void).any()
    return np.where(void, np.uint8(1 if only_void else 0), labels)


def parse_boxes(texts: Iterable[str]) -> dict[int, Box]:
    """Parse ``ID:X,Y,W,H`` texts (left, top, width, height in pixels) into boxes by object id.

    Raises:
        UsageError: a text has another form, or an id comes twice.
    """
    boxes: dict[int, Box] = {}
    for text in texts:
        match = _BOX.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            identity, box = int(match[1]), Box(*(float(match[group]) for group in (2, 3, 4, 5)))
        except ValueError:
            raise UsageError(f"--box {text}: is not of the form ID:X,Y,W,H, for example 1:40,30,120,80") from None
        if identity in boxes:
            raise UsageError(f"--box {text}: object {identity} already has a box; give every object its own id")
        boxes[identity] = box
    return boxes


def check_boxes(boxes: Mapping[int, Box], size: tuple[int, int]) -> None:
    """Refuse boxes that cannot be objects of a frame of `size` (height, width).

    Raises:
        UsageError: an id is not in 1..254, or a box is empty, not finite, or leaves the frame.
    """
    height, width = size
    for identity, box in boxes.items():
        where = f"--box {identity}:" + ",".join(f"{side:g}" for side in box)
        if not 1 <= identity < _VOID:
            raise UsageError(f"{where}: id {identity} is not an object; ids go from 1 to 254 (0 is the background)")
        if not all(math.isfinite(side) for side in box) or box.w <= 0 or box.h <= 0:
            raise UsageError(f"{where}: the box is empty; give finite numbers, width and height greater than 0")
        if box.x < 0 or box.y < 0 or box.x + box.w > width or box.y + box.h > height:
            raise UsageError(f"{where}: leaves the frame of {width}x{height} pixels; {_clipped(identity, box, size)}")


def _clipped(identity: int, box: Box, size: tuple[int, int]) -> str:
    """The advice for a box that leaves the frame: its part inside, if there is one."""
    height, width = size
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.w, float(width)), min(box.y + box.h, float(height))
    if right <= left or bottom <= top:
        return "give x,y,w,h in pixels of the frame"
    return f"its part inside is {identity}:{left:g},{top:g},{right - left:g},{bottom - top:g}"
