"""Prompts of the command line: ``--mask`` and ``--box``, read, checked and assigned to frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vos_zoo.prompts import PromptParser, check_box, parse_boxes
from vos_zoo.types import Box, LabelMap, Prompt, UsageError, VOSError
from vos_zoo.video.mask_reader import background_doubt, list_masks
from vos_zoo.video.masks import read_mask


def parse_prompts(
    masks: Sequence[str | Path] = (),
    boxes: Sequence[str] | Mapping[int, Box] = (),
    *,
    size: tuple[int, int],
    names: Sequence[str] | None = None,
    length: int | None = None,
    mask_threshold: int | None = None,
) -> dict[int, Prompt]:
    """Parse the command line's masks and boxes to prompts.

    Args:
        masks: mask files (given for the first frame) and folders of masks named as their frames. In a mask 0 means "no
            label": a later mask adds its objects (or corrects known ones) and leaves the others unchanged.
        boxes: texts ``ID:X,Y,W,H`` in pixels, or boxes by object id, for the first frame.
        size: (height, width) of the frames.
        names: stems of the frames, None for videos, where ``00012.png`` belongs to frame 12.
        length: number of frames if it is known.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges; None reads object ids.

    Returns:
        Frame index -> label map uint8 ``(H, W)`` or ``{object id: Box}``, sorted by frame.

    Raises:
        UsageError: nothing is given, a mask cannot be read or has no frame, an id is not in 1..254 or is given
            twice, a box leaves the frame, or one frame gets a mask as well as boxes.

    Warns:
        of a mask whose background may not be value 0.
    """
    if not masks and not boxes:
        raise UsageError("nothing to track; give --mask FILE or --box ID:X,Y,W,H")
    parser = PromptParser(mask_threshold)
    maps: dict[int, LabelMap] = {}
    for source in masks:
        for index, path in _mask_files(Path(source), names, length):
            if index in maps:
                raise UsageError(f"mask {path}: frame {index} already has a mask; put all its objects into one file")
            maps[index] = _read(path, size, parser.threshold)
    if masks and not any(labels.any() for labels in maps.values()):
        raise UsageError(
            f"mask {masks[0]}: holds no object (only background); give every object's pixels its id, from 1 on"
        )
    prompts: dict[int, Prompt] = PromptParser().parse(maps) if maps else {}
    if boxes:
        if 0 in prompts:
            raise UsageError("--box: the first frame already has a mask; give either a mask or boxes for a frame")
        first = dict(boxes) if isinstance(boxes, Mapping) else parse_boxes(boxes)
        for identity, box in first.items():
            check_box(identity, box, size, f"--box {identity}:" + ",".join(f"{side:g}" for side in box))
        prompts[0] = first
    return dict(sorted(prompts.items()))


def _read(path: Path, size: tuple[int, int], threshold: int | None) -> LabelMap:
    """The stored values of a prompt's mask, uint8 ``(H, W)``; errors of the file are usage errors here."""
    try:
        labels = read_mask(path, size=size, threshold=threshold)
        doubt = background_doubt(path)
    except VOSError as error:
        raise UsageError(str(error)) from error
    if doubt is not None and labels.any():
        warnings.warn(doubt, stacklevel=3)
    return labels


def _mask_files(source: Path, names: Sequence[str] | None, length: int | None) -> Iterable[tuple[int, Path]]:
    """Frame index and file of every mask of one ``--mask``."""
    if not source.exists():
        raise UsageError(f"mask {source}: there is no such file or folder; check the name")
    if not source.is_dir():
        return [(0, source)]
    files = list_masks(source)
    if not files:
        raise UsageError(f"mask {source}: the folder holds no PNG; give PNGs named as their frames")
    return [(_frame_index(path, names, length), path) for path in files.values()]


def _frame_index(path: Path, names: Sequence[str] | None, length: int | None) -> int:
    if names is not None:
        if path.stem not in names:
            raise UsageError(
                f"mask {path}: no frame is called {path.stem!r}; name it as its frame (first: {names[0]!r})"
            )
        return names.index(path.stem)
    if not path.stem.isdecimal():
        raise UsageError(f"mask {path}: its name is not a frame number; name it after its frame, for example 00000.png")
    index = int(path.stem)
    if length is not None and index >= length:
        raise UsageError(f"mask {path}: there is no frame {index}; the video's last frame is {length - 1}")
    return index
