"""YOLO segmentation text: a file per frame, a line per polygon, ``class x1 y1 x2 y2 ...`` in shares of the size.

This format loses things, whoever writes it: corners are the centres of border pixels with five decimals, parts with
fewer than three corners vanish (an object of which nothing is left becomes a box), holes are cut off by a bridge, and
there is no track. Here the class is the object's id minus one (or its place, where names are no ids), so
that objects keep their identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.labels import MAX_ID
from vos_zoo.types import VOSError
from vos_zoo.video.formats.track_masks import TrackMasks

_CORNERS, _BOX = 3, 4


def to_yolo(video: TrackMasks) -> dict[str, str]:
    """File name -> text: one file per frame (empty without objects), and ``data.yaml`` with the objects' names."""
    classes = _classes(list(video.objects))
    files = {}
    for frame in video.frames:
        lines = [line for name, index in classes.items() for line in _lines(index, video.mask(name, frame))]
        files[f"{frame}.txt"] = "".join(f"{line}\n" for line in lines)
    count = max(classes.values(), default=-1) + 1
    titles = [str(index + 1) for index in range(count)]
    for name, index in classes.items():
        titles[index] = name
    listed = ", ".join(f"object_{title}" for title in titles)
    return {**files, "data.yaml": f"nc: {count}\nnames: [{listed}]\n"}


def _classes(names: list[str]) -> dict[str, int]:
    """Object -> class: the id minus one where all names are ids, else its place."""
    if all(name.isascii() and name.isdecimal() and 0 < int(name) <= MAX_ID for name in names):
        return {name: int(name) - 1 for name in names}
    return {name: index for index, name in enumerate(names)}


def _lines(index: int, mask: NDArray[np.bool_]) -> list[str]:
    """An object's polygons, or the box of its pixels where no part has three corners; nothing where it is absent."""
    if not mask.any():
        return []
    height, width = mask.shape
    found = [(polygon / np.array([width, height])).ravel() for polygon in polygons(mask)]
    if not found:
        rows, columns = np.nonzero(mask)
        left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
        box = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
        found = [np.array(box)]
    return [" ".join([str(index), *(f"{value:.5f}" for value in values)]) for values in found]


def polygons(mask: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Outlines of a mask, ``(H, W)``, as corners (x, y) at pixel centres, ``(N, 2)``; holes are joined by bridges."""
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return []
    points = [np.asarray(contour, dtype=np.int64).reshape(-1, 2) for contour in contours]
    parents = [int(row[3]) for row in np.asarray(tree)[0]]
    found = []
    for index, outline in enumerate(points):
        if parents[index] >= 0 or len(outline) < _CORNERS:
            continue
        joined = outline
        for inner, parent in zip(points, parents, strict=True):
            if parent == index and len(inner) >= _CORNERS:
                joined = _bridged(joined, inner)
        found.append(joined)
    return found


def _bridged(outline: NDArray[np.int64], hole: NDArray[np.int64]) -> NDArray[np.int64]:
    """One closed line around an outline and, by way of the shortest bridge, around a hole."""
    distances = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    at, inner = (int(one) for one in np.unravel_index(int(distances.argmin()), distances.shape))
    around = np.concatenate([hole[inner:], hole[: inner + 1]])
    return np.concatenate([outline[: at + 1], around, outline[at:]])


def from_yolo(files: Mapping[str, str], name: str, size: tuple[int, int], names: Sequence[str] = ()) -> TrackMasks:
    """The video of text files.

    Args:
        files: file name -> text, one per frame; other endings than ``.txt`` are passed over.
        name: name of the video.
        size: (height, width), which the format does not hold.
        names: names of the objects by class; "1", "2", ... unless given.

    Raises:
        VOSError: a line is neither a polygon nor a box.
    """
    texts = {file.removesuffix(".txt"): text for file, text in files.items() if file.endswith(".txt")}
    video = TrackMasks(name, size, tuple(texts))
    for frame, text in texts.items():
        masks: dict[int, NDArray[np.uint8]] = {}
        for line in text.splitlines():
            index, polygon = _read_line(line, size, f"{name}/{frame}.txt")
            mask = masks.setdefault(index, np.zeros(size, dtype=np.uint8))
            cv2.fillPoly(mask, [polygon.astype(np.int32)], 1)
        for index, mask in sorted(masks.items()):
            video.add(names[index] if index < len(names) else str(index + 1), frame, mask)
    return video


def _read_line(line: str, size: tuple[int, int], where: str) -> tuple[int, NDArray[np.int64]]:
    try:
        index, values = int(line.split()[0]), np.array([float(one) for one in line.split()[1:]])
    except (ValueError, IndexError) as error:
        raise VOSError(f"{where}: {line[:40]!r} is no line of YOLO segmentation ({error})") from error
    if len(values) == _BOX:
        low, high = values[:2] - values[2:] / 2, values[:2] + values[2:] / 2
        values = np.array([low[0], low[1], high[0], low[1], high[0], high[1], low[0], high[1]])
    if len(values) < 2 * _CORNERS or len(values) % 2:
        raise VOSError(f"{where}: {line[:40]!r} is neither a polygon nor a box")
    return index, np.rint(values.reshape(-1, 2) * [size[1], size[0]]).astype(np.int64)
